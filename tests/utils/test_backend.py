"""Tests of the backend module that no other test covers."""

import os
import platform
import subprocess
import sys

import keras
import pytest
import tiny

from keras_pixelcnnpp.utils import backend, memory


def enabled():
    """Returns whether the backend computes in TF32."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()
    if keras.backend.backend() == "jax":
        import jax

        return jax.config.jax_default_matmul_precision == "tensorfloat32"
    import torch

    (state,) = {
        part.fp32_precision for part in (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    }
    return state == "tf32"


@pytest.mark.parametrize(
    ("name", "policy"), [("tf32", "float32"), ("mixed_bfloat16", "mixed_bfloat16")]
)
def test_precision(name, policy):
    before = keras.config.dtype_policy()
    with backend.precision(name):
        assert keras.config.dtype_policy().name == policy
    assert keras.config.dtype_policy() == before


SPLIT = tiny.tiny_split(6)
IMAGES, LABELS = SPLIT.images, SPLIT.labels


def test_scores_are_of_full_float32(monkeypatch):
    """Scoring ignores the outer setting, and restores it even after an error."""
    model = tiny.tiny_model()
    model.compile("sgd")
    seen, call = [], model.network.call_vertical_stack

    def watched(*arguments, **how):
        seen.append(enabled())
        return call(*arguments, **how)

    monkeypatch.setattr(model.network, "call_vertical_stack", watched)
    with backend.tensor_float32(True):
        for compute in (
            lambda: model.log_prob(IMAGES, LABELS),
            lambda: model.predict(IMAGES, verbose=0),
            lambda: model.sample([0, 1], seed=0),
            lambda: model.evaluate(IMAGES, LABELS, verbose=0),
        ):
            compute()
            assert enabled()
            assert seen
            assert not any(seen)
            seen.clear()
        with pytest.raises(ValueError, match="Invalid images"):
            model.predict(IMAGES / 255)
        assert enabled()


PAGE_FAULTS = """
import resource, runpy, sys

assert runpy.run_path(sys.argv[1])["keep_freed_memory"]()
size = 40_000_000
b"x" * size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(19):
    b"x" * size
found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# Either all pages are new or none; there are fewer with pages of 2 MiB.
assert found < size / resource.getpagesize(), found
"""


@pytest.mark.once
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_freed_memory_is_used_again():
    """Arrays of more than 32 MiB are tested, because glibc keeps smaller ones by itself."""
    environ = {**os.environ, "PIXELCNNPP_KEEP_FREED_MEMORY": "1"}
    subprocess.run([sys.executable, "-c", PAGE_FAULTS, memory.__file__], env=environ, check=True)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="counts JAX's compilations")
def test_compilations_do_not_follow_the_number_of_images():
    import jax

    compilations = []

    def listen(event, *_, **__):
        compilations.extend([event] if event.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(listen)
    model, images = tiny.tiny_model(), tiny.tiny_split(14).images
    for count in (1, 2, 4, 8, 14):
        model.class_probabilities(images[:count], batch_size=64)
    compilations.clear()
    for count in range(1, 14):
        model.class_probabilities(images[:count], batch_size=64)
    assert not compilations
