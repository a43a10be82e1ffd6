"""The arguments of public methods are the fields of the options, with their defaults."""

import inspect
from dataclasses import fields

import pytest

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
        assert f"    {field.name}: " in method.__doc__
