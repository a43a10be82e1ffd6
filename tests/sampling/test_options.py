"""The arguments of public methods are the fields of the options, with their defaults and limits."""

import inspect
from dataclasses import fields
from types import SimpleNamespace

import pytest
from refused import each

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions

pytestmark = pytest.mark.once

Model, Tiled = kp.AutoregressiveModel, kp.TiledModel
METHODS = [
    *((method, SamplingOptions) for method in (Model.sample, Model.complete, Tiled.sample)),
    (Model.class_log_likelihoods, ScoringOptions),
    (Model.class_probabilities, ScoringOptions),
    (Model.bits_per_dim, ScoringOptions),
]


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_methods_have_every_field(method, options):
    parameters = inspect.signature(method).parameters
    for field in fields(options):
        # A progress bar for each wave of blocks would be too much.
        if (method, field.name) != (Tiled.sample, "verbose"):
            assert parameters[field.name].default == field.default


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
