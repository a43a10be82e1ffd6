import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.sampling.sampler import PixelSampler


@pytest.mark.tensorflow
@pytest.mark.jax
def test_later_calls_do_not_run_the_model_in_python(monkeypatch):
    """Neither with other labels nor with another number of them."""
    calls = []
    original = PixelSampler.__call__

    def counted(self, inputs):
        calls.append(self)
        return original(self, inputs)

    monkeypatch.setattr(PixelSampler, "__call__", counted)
    model = tiny.tiny_model()
    labels = np.arange(16) % 3
    images = model.sample(labels, seed=1)
    assert len(calls) == 1
    assert np.any(model.sample(labels[::-1], seed=1) != images)
    for count in (5, 9, 13):
        np.testing.assert_array_equal(model.sample(labels[:count], seed=1), images[:count])
    assert len(calls) == 1
