"""Compares training and scoring under torch with and without `jit_compile=True`."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tiny
from layer_checks import flat_weights

from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNNetwork
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = [
    pytest.mark.torch,
    # Warnings when torch's compiler is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning"),
]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def trained(jit_compile):
    """Trains on three batches of 6 images and one of 2, with long steps; returns the history."""
    keras.utils.set_random_seed(0)
    model = tiny.tiny_model(
        filters=3,  # features are not a multiple of four bytes of dropout
        conditioning="one_hot+film+mixture_head",
        dropout_rate=0.3,
        label_loss_weight=0.3,
        unlabeled_weight=0.5,
    )
    model.compile(keras.optimizers.SGD(1e-2), jit_compile=jit_compile)
    split = tiny.tiny_split(20)
    labels = np.where(np.arange(20) % 5, split.labels, -1)
    history = model.fit(split.images, labels, batch_size=6, shuffle=False, verbose=0)
    return model, history.history


def assert_trained_alike(model, history):
    expected, expected_history = trained(jit_compile=False)
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    expected = flat_weights(expected.network)
    np.testing.assert_allclose(flat_weights(model.network), expected, rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.slow
def test_compiled_training_is_that_of_keras():
    model, history = trained(jit_compile=True)
    # The last, smaller batch is not compiled.
    (compiled,) = model.compiled_functions.get("network", None)._functions.values()
    assert compiled[0] is not None
    assert_trained_alike(model, history)


@needs_compiler
@pytest.mark.slow
def test_threads_share_what_is_compiled_to_score():
    keras.utils.set_random_seed(0)
    model = GatedPixelCNN((4, 4, 1), 0, num_levels=5, filters=4, num_blocks=1)
    split = tiny.tiny_split(20)
    expected = model.log_prob(split.images)
    model.compile("sgd", jit_compile=True)

    def score(_):
        return model.log_prob(split.images, batch_size=5)

    with ThreadPoolExecutor(2) as pool:
        received = list(pool.map(score, range(2)))
    (compiled,) = model.compiled_functions.get("network", None)._functions.values()
    assert compiled[0] is not None
    np.testing.assert_allclose(received, [expected, expected], rtol=1e-5)
    # The compiled function does not contain the weights.
    bias = model.network.head.bias
    bias.assign(np.linspace(-1, 1, bias.shape[0]))
    changed = model.log_prob(split.images, batch_size=5)
    np.testing.assert_allclose(changed, model.log_prob(split.images, batch_size=20), rtol=1e-5)
    assert np.abs(changed - expected).max() > 1e-3


def test_without_a_compiler_the_network_runs_as_it_is():
    from torch._inductor import config

    without = config.patch({"cpp.cxx": ("no-such-compiler",)})
    with without, pytest.warns(UserWarning, match="No working C\\+\\+ compiler found"):
        model, history = trained(jit_compile=True)
    assert_trained_alike(model, history)


def test_layers_of_one_path_do_not_share_a_kernel():
    from keras_pixelcnnpp.models.torch_network import CompiledNetwork

    class SameNames(PixelCNNNetwork):
        def make_block(self, index):
            return super().make_block(0)

    class Model(PixelCNN):
        _network_class = SameNames

    model = Model((4, 4, 1), 0, 5, filters=4, num_blocks=2)
    with pytest.raises(UserError, match=r"different names.*narrow_0'"):
        CompiledNetwork(model.network)


def test_other_errors_are_raised_and_compiling_is_tried_again(monkeypatch):
    import torch

    calls = []

    def standalone_compile(*_, **__):
        calls.append(1)
        torch.empty(10**14)

    monkeypatch.setattr(torch._inductor, "standalone_compile", standalone_compile)
    model = tiny.tiny_model()
    model.compile("sgd", jit_compile=True)
    images, labels = tiny.IMAGES, tiny.LABELS
    for _ in range(2):
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            model.fit(images, labels, batch_size=6, verbose=0)
    assert len(calls) == 2
