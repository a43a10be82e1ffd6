import signal
import threading

import keras
import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.train.loop import Phase, train_phases
from keras_pixelcnnpp.train.stopping import StopOnSignal, TrainingStopped

COUNT, BAD = 24, 17


class Fragile(keras.Model):
    """Breaks at a picture of zeros: its loss is infinite, or only the gradient is NaN."""

    def __init__(self, breaks):
        super().__init__()
        self.breaks = breaks
        self.weight = self.add_weight(shape=(), initializer="ones", name="weight")
        self.other = self.add_weight(shape=(3,), initializer="ones", name="other")
        self.build({"image": (None, 2, 2, 1)})

    def build(self, input_shape):
        self.built = True

    def call(self, inputs):
        return self.weight * ops.mean(ops.cast(inputs["image"], "float32"), axis=(1, 2, 3))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **_):
        # d sqrt(w² · 0) / dw = ∞ · 0.
        outputs = ops.log(y_pred) if self.breaks == "loss" else ops.sqrt(ops.square(y_pred))
        return ops.mean(outputs) + ops.mean(ops.square(self.other))


def train(folder, breaks, **optimizer):
    images = np.ones((COUNT, 2, 2, 1), "uint8")
    images[BAD] = 0
    batches = ImageSequence(images, np.zeros(COUNT), batch_size=4, num_classes=1, seed=3)
    model = Fragile(breaks)
    model.compile(keras.optimizers.SGD(1e-3, **optimizer))
    good = batches.from_step(0)
    good.images = np.ones_like(images)
    train_phases(model, [Phase(good, 1), Phase(batches, 3)], Checkpoints(folder), verbose=0)


@pytest.mark.parametrize("breaks", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_very_step_and_its_pictures_are_named(tmp_path, breaks, clip):
    with pytest.raises(UserError) as error:
        train(tmp_path, breaks, global_clipnorm=clip)
    order = np.random.default_rng([3, 1]).spawn(3)[0].permutation(COUNT).reshape(6, 4)
    (batch,) = np.flatnonzero((order == BAD).any(axis=1))
    # Under JAX a gradient is noticed one step later.
    if breaks == "gradient" and keras.backend.backend() == "jax":
        batch, breaks = batch + 1, "loss"
    message = str(error.value)
    assert f"The {breaks} is no longer finite in step {6 + batch + 1} (epoch 2, " in message
    assert f"batch {batch + 1}: training pictures {', '.join(map(str, order[batch]))})" in message
    assert f"The checkpoint after 1 epoch is kept in {tmp_path}." in message
    assert "\n" not in message

    intact = Fragile(breaks)
    intact.compile(keras.optimizers.SGD(1e-3, global_clipnorm=clip))
    assert Checkpoints(tmp_path).restore(intact) == Progress(1)
    assert np.isfinite(variable_value(intact.weight))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted(number):
    before = signal.getsignal(number)
    with StopOnSignal() as stop:
        stop.stop()
        signal.raise_signal(number)
        with pytest.raises(TrainingStopped) as stopped:
            stop.stop()
    assert stopped.value.signal == number
    assert signal.getsignal(number) is before


@pytest.fixture
def ctrl_c():
    """Python's own answer to SIGINT, which a shell takes from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_second_signal_is_not_held_back():
    # Not os.kill: another thread may get it, and two that wait for Python become one.
    with StopOnSignal():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
def test_without_signals_they_keep_their_meaning():
    with StopOnSignal(signals=()), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_threads_are_left_alone():
    failures = []

    def use():
        try:
            with StopOnSignal():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == []
