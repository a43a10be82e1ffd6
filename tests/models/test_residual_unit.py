import numpy as np
import pytest
from keras import ops
from serialization import check_config

from keras_pixelcnnpp.models.baseline_cnn import ResidualUnit


@pytest.mark.parametrize(("filters", "strides"), [(4, 1), (6, 1), (4, 2), (6, 2)])
def test_output_shape(filters, strides):
    unit = ResidualUnit(filters, strides)
    x = np.zeros((2, 7, 8, 4), "float32")
    assert (
        unit(x).shape
        == unit.compute_output_shape(x.shape)
        == (2, -(-7 // strides), 8 // strides, filters)
    )


def test_is_the_identity_when_its_branch_is_zero(rng):
    x = rng.normal(size=(2, 4, 4, 3)).astype("float32")
    unit = ResidualUnit(3)
    unit(x)
    unit.conv_2.kernel.assign(np.zeros(unit.conv_2.kernel.shape))
    np.testing.assert_array_equal(ops.convert_to_numpy(unit(x)), x)


def test_config():
    check_config(ResidualUnit, filters=3, strides=2, dropout_rate=0.3)


@pytest.mark.parametrize("arguments", [{"filters": 0}, {"strides": 0}, {"dropout_rate": 1.0}])
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        ResidualUnit(**{"filters": 4} | arguments)
