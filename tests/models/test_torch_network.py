"""Under torch, training and scoring with `jit_compile=True` against the same without."""

import shutil

import keras
import numpy as np
import pytest
import tiny

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler"),
    # Torch's compiler, as it is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning"),
]


def trained(jit_compile):
    """Three batches of 6 images and one of 2, by steps as long as the gradient; and the model."""
    keras.utils.set_random_seed(0)
    model = tiny.random_model(
        filters=2,
        conditioning="bias+film",
        dropout_rate=0.3,
        label_dropout_rate=0.2,
        label_loss_weight=0.3,
    )
    model.compile(keras.optimizers.SGD(1e-2), jit_compile=jit_compile)
    split = tiny.tiny_split(20)
    history = model.fit(split.images, split.labels, batch_size=6, shuffle=False, verbose=0)
    return model, history.history, model.log_prob(split.images, split.labels, batch_size=5)


def test_compiled_training_and_scoring_are_those_of_keras():
    eager, expected_history, expected_scores = trained(jit_compile=False)
    model, history, scores = trained(jit_compile=True)
    # Of training and of scoring, the shape that came twice in a row.
    assert len(model._runners.network._functions) == 2
    assert eager._runners.network is None
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    pairs = zip(model.trainable_variables, eager.trainable_variables, strict=True)
    for variable, expected in pairs:
        np.testing.assert_allclose(variable.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)
    # The weights that it was compiled with are not in it.
    model.network.head.bias.assign(model.network.head.bias + 0.1)
    eager.network.head.bias.assign(eager.network.head.bias + 0.1)
    images, labels = tiny.tiny_split(20).images, tiny.tiny_split(20).labels
    changed = model.log_prob(images, labels, batch_size=5)
    np.testing.assert_allclose(changed, eager.log_prob(images, labels, batch_size=5), rtol=1e-5)
    assert np.abs(changed - scores).max() > 1e-3
