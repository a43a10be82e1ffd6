from typing import get_args, get_type_hints

import pytest

from keras_pixelcnnpp.distributions.heads import HEADS
from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.train.options import PixelCNNOptions, resolve_options

PRESET = {
    "model": {"label_loss_weight": 0.3, "num_candidates": 2, "filters": 40},
    "training": {
        "epochs": 44,
        "likelihood_epochs": 26,
        "crop_margin": 4,
        "batch_size": 16,
        "learning_rate_schedule": "cosine",
    },
}
UNLABELED = {"unlabeled_weight": 1.0, "label_loss_weight": 0.1}


@pytest.mark.parametrize(
    ("given", "data", "expected"),
    [
        # The user's options override the preset.
        ({"filters": None, "epochs": 44}, {}, {"filters": 40, "epochs": 44, "batch_size": 16}),
        ({"filters": 20, "batch_size": 8}, {}, {"filters": 20, "epochs": 44, "batch_size": 8}),
        ({"learning_rate": 0.1}, {}, {"learning_rate_schedule": "cosine"}),
        # Values of the preset that do not apply to the data are dropped.
        ({}, {}, {"label_loss_weight": 0.3, "crop_margin": 4, "num_candidates": 2}),
        ({}, {"num_classes": 1}, {"label_loss_weight": 0.0}),
        ({"conditioning": "none"}, {}, {"label_loss_weight": 0.0}),
        ({}, {"from_files": False}, {"crop_margin": 0}),
        ({"crop_margin": 2}, {"from_files": False}, {"crop_margin": 2}),
        ({"learning_rate_decay": 0.9}, {}, {"learning_rate_schedule": "exponential"}),
        # With other epochs, the fraction of likelihood-only epochs is kept.
        ({}, {}, {"likelihood_epochs": 26}),
        ({"epochs": 44}, {}, {"likelihood_epochs": 26}),
        ({"epochs": 10}, {}, {"likelihood_epochs": 5}),
        ({"epochs": 1}, {}, {"likelihood_epochs": 0}),
        ({"epochs": 88}, {}, {"likelihood_epochs": 52}),
        ({"epochs": 10, "likelihood_epochs": 8}, {}, {"likelihood_epochs": 8}),
        # Unlabeled images contribute from the first epoch, with all candidates.
        (UNLABELED, {}, {"likelihood_epochs": 0, "num_candidates": None}),
        ({**UNLABELED, "likelihood_epochs": 4}, {}, {"likelihood_epochs": 4}),
        ({"unlabeled_weight": 0.0}, {}, {"likelihood_epochs": 26, "num_candidates": 2}),
    ],
)
def test_what_a_training_takes(given, data, expected):
    model, training = resolve_options(PRESET, given, **{"num_classes": 4, **data})
    assert model["network"] == "pixelcnnpp"
    assert {**model, **training}.items() >= expected.items()


def test_names_of_the_family():
    hints = get_type_hints(PixelCNNOptions)
    for option, known in (("network", NETWORKS), ("head", HEADS)):
        names, _none = get_args(hints[option])
        assert list(get_args(names)) == list(known)
