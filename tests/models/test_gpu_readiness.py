"""What breaks on a first GPU is found without one.

JAX lowers each program for CUDA, and TensorFlow compiles it with XLA as on a GPU, so it has no
operation that only the CPU knows, and calls no Python. Under torch, loss and metrics are computed
on the device `meta`, whose tensors have no values that could be read, for which a GPU would wait,
and cannot be mixed with those of another device. Only seeds of random numbers are in the memory of
the host. The steps of sampling raise an error if they read a value; see test_torch_program.
"""

import re

import keras
import numpy as np
import pytest

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.sampling.choices import WholePixels
from keras_pixelcnnpp.sampling.sampler import PixelSampler

COUNT = 4
LABELS = np.arange(COUNT, dtype="int32") % 3
METHODS = {
    "sample": lambda model, images: model.sample(LABELS, seed=0, guidance=1.0),
    "complete": lambda model, images: model.complete(images, 2, LABELS, num_particles=4, seed=0),
    "pixel_statistics": lambda model, images: model.pixel_statistics(images, LABELS),
    "log_prob": lambda model, images: model.log_prob(images, LABELS),
}
OF_KERAS = {
    "predict": lambda model, images: model.predict(images, verbose=0),
    "evaluate": lambda model, images: model.evaluate(images, LABELS, verbose=0),
    "fit": lambda model, images: model.fit(images, LABELS, batch_size=2, verbose=0),
}
EVERY = {**METHODS, **OF_KERAS}


IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 3)).astype("uint8")


def build(width=4, **arguments):
    small = {"filters": 4, "num_blocks": 1, "num_mixtures": 2, "num_resolutions": 2}
    return kp.PixelCNNPlusPlus((4, width, 3), num_classes=3, **small, **arguments)


# --- JAX --------------------------------------------------------------------------------------


def lowered_for_cuda(compiled, *inputs):
    """Returns the program of a function for CUDA, which must not call Python."""
    import jax

    program = jax.export.export(compiled, platforms=("cuda",))(*inputs).mlir_module()
    assert "callback" not in program
    assert "stablehlo.custom_call" not in program  # a kernel that may not exist
    return program


class LoweredError(Exception):
    """Raised instead of running a compiled function."""


def lowers_for_cuda(monkeypatch, function):
    """Lowers the first function that a method of the model compiles, without running it."""
    import jax

    jit = jax.jit

    def lowering_jit(function, **options):
        def lower(*inputs):
            lowered_for_cuda(jit(function, **options), *inputs)
            raise LoweredError

        return lower

    monkeypatch.setattr(jax, "jit", lowering_jit)
    with pytest.raises(LoweredError):
        function()


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def model(request):
    model = build(dtype=request.param)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


@pytest.mark.jax
@pytest.mark.parametrize("method", METHODS)
def test_jax_lowers_methods_for_cuda(model, method, monkeypatch):
    lowers_for_cuda(monkeypatch, lambda: METHODS[method](model, IMAGES))


@pytest.mark.jax
def test_jax_lowers_a_training_step_and_an_evaluation_for_cuda(model):
    import jax

    model.optimizer.build(model.trainable_variables)
    parts = ("trainable_variables", "non_trainable_variables", "metrics_variables")
    trained, others, metrics = ([v.value for v in getattr(model, part)] for part in parts)
    optimizer = [variable.value for variable in model.optimizer.variables]
    data = jax.numpy.asarray(IMAGES), jax.numpy.asarray(LABELS)
    lowered_for_cuda(jax.jit(model.train_step), (trained, others, optimizer, metrics), data)
    lowered_for_cuda(jax.jit(model.test_step), (trained, others, metrics), data)


@pytest.mark.jax
def test_a_compiled_pixel_copies_no_row_of_inputs():
    """The loop over pixels writes the row that it caches in place."""
    import jax

    model = build(width=16)
    noise = np.zeros((COUNT, 4, 16, model.distribution.noise_size), "float32")
    inputs = {"values": {"label": LABELS}, "noise": noise, "temperature": noise[:, 0, 0, 0]}
    sampler = PixelSampler(model, WholePixels(model.distribution))
    program = jax.jit(sampler).lower(inputs).compile().as_text()
    loops = set(re.findall(r" body=%?([^\s,]+)", program))
    bodies = re.findall(r"^%?(\S+) \(.*\{\n((?: .*\n)*)", program, re.MULTILINE)
    over_pixels = [body for name, body in bodies if name in loops and " while(" not in body]
    assert over_pixels
    # The row has 16 pixels, and 8 at the lower resolution.
    assert not any(re.search(r"f32\[(?:16|8),\S+ copy\(", body) for body in over_pixels)


# --- TensorFlow -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("method", EVERY)
def test_tensorflow_compiles_with_xla(method, monkeypatch):
    # On a GPU, the sampler is compiled with XLA.
    monkeypatch.setattr("keras_pixelcnnpp.sampling.sampler.on_gpu", lambda: True)
    model = build()
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=True)
    EVERY[method](model, IMAGES)


# --- torch ------------------------------------------------------------------------------------


@pytest.mark.torch
def test_torch_computes_loss_and_scores_on_one_device():
    import torch

    with keras.device("meta"):
        model = kp.PixelCNNPlusPlus((4, 4, 3), num_classes=3, filters=4, num_blocks=1)
        images = torch.zeros((COUNT, 4, 4, 3), dtype=torch.uint8, device="meta")
        labels = torch.zeros((COUNT,), dtype=torch.int32, device="meta")
        others = {v.path: v.value.device.type for v in model.variables if not v.value.is_meta}
        assert all("seed_generator" in path for path in others)
        for training in (True, False):
            loss = model.compute_loss(images, labels, training=training)
            assert loss.device.type == "meta"
        for score in (model.log_likelihood, model.pixel_log_likelihood):
            assert score(images, labels[:, None]).device.type == "meta"
