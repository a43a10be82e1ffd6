"""Limits of the options of sampling and scoring, and values in place of `None`."""

from types import SimpleNamespace

import pytest
from refused import each

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions

pytestmark = pytest.mark.once


def sampling(**arguments):
    model = SimpleNamespace(conditions=kp.Labels(3), logit_scale=0.5)
    return SamplingOptions(**arguments).checked(model)


REFUSED = each(
    (
        sampling,
        {},
        {
            "seed": [1.5, -1],
            "temperature": [0, float("nan")],
            "guidance": [-0.5, float("inf"), "3"],
            "guidance_logit_scale": [-1],
            "batch_size": [0],
        },
    ),
    (ScoringOptions, {}, {"seed": [-1], "num_particles": [0, 1.5], "batch_size": [2.5]}),
)


@pytest.mark.parametrize(("options", "arguments", "name"), REFUSED)
def test_refused(options, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        options(**arguments)


def test_values_in_place_of_none():
    assert sampling(guidance=1.0).guidance_logit_scale == 0.25
    assert sampling(guidance=1.0, guidance_logit_scale=0).guidance_logit_scale == 0
    assert sampling().seed >= 0
