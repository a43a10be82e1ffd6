import keras
import pytest
import tiny

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.sampling import sampler
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


@pytest.mark.parametrize("device", ["cpu:0", "gpu:0", "cuda:0"])
def test_xla_by_device(monkeypatch, device):
    monkeypatch.setattr(backend, "device_name", lambda: device)
    name, many = keras.backend.backend(), sampler.XLA_PAYS_FROM
    expected = {"jax": [True, True], "torch": [False, False]}
    at_once = device != "cpu:0"
    chosen = [sampler._jit_compile(count) for count in (many - 1, many)]
    assert chosen == expected.get(name, [at_once, True])
