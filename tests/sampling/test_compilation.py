import pytest
import tiny

from keras_pixelcnnpp.sampling.sampler import PixelSampler


@pytest.mark.tensorflow
@pytest.mark.jax
def test_second_call_does_not_run_the_model_in_python(monkeypatch):
    calls = []
    original = PixelSampler.call

    def counted(self, inputs):
        calls.append(self)
        return original(self, inputs)

    monkeypatch.setattr(PixelSampler, "call", counted)
    model = tiny.tiny_model()
    model.sample([0, 1, 2])
    assert len(calls) == 1
    model.sample([2, 1, 0], seed=1)
    assert len(calls) == 1
