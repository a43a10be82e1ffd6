import signal
import struct
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError, is_disk_full
from keras_pixelcnnpp.optimizers import use_averages, variable_value
from keras_pixelcnnpp.train.checkpoints import (
    Checkpoints,
    Progress,
    StopOnSignal,
)
from keras_pixelcnnpp.train.loop import train_epochs


def model(units=3):
    """A model with random state (dropout), optimizer state and averages."""
    layers = [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), loss="mse")
    return model


def train(model, epochs=1):
    x = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)
    y = np.ones((4, model.output_shape[-1]), "float32")
    # Under torch, dropout uses the global generator, and so does building the model.
    seed = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: keras.utils.set_random_seed(epoch)
    )
    model.fit(x, y, epochs=epochs, batch_size=2, shuffle=False, verbose=0, callbacks=[seed])
    use_averages(model)  # as copies, or JAX could not train the model again


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [variable_value(variable) for variable in variables]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def test_all_of_the_state_comes_back(checkpoints):
    first = model()
    train(first)
    checkpoints.save(first, Progress(1))
    saved = state(first)
    # More than the weights: the dropout's seed generator, the optimizer's moments and counter.
    assert len(saved) > len(first.weights)

    second = model()
    assert checkpoints.restore(second) == Progress(1)
    assert same(state(second), saved)
    train(first)
    train(second)
    assert same(state(first), state(second))


def test_last_two_are_kept(checkpoints):
    trained = model()
    train(trained)
    for epoch in range(1, 5):
        checkpoints.save(trained, Progress(epoch))
    assert checkpoints.saved() == [Progress(3), Progress(4)]
    assert len(list(checkpoints.folder.iterdir())) == 2


def test_broken_weights_are_not_kept(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    trained.trainable_variables[0].assign(np.full((2, 3), np.nan))
    with pytest.raises(UserError, match=r"after 1 epoch and 2 steps .*checkpoint after 1 epoch is"):
        checkpoints.save(trained, Progress(1, 2))
    assert checkpoints.saved() == [Progress(1)]


def damage_variables(folder):
    path = folder / "epoch-0002.npz"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder):
    path = folder / "epoch-0002.npz"
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
    content = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", content, first.header_offset + 26)
    content[first.header_offset + 30 + name + extra + first.file_size - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_variables, flip_a_bit])
def test_torn_checkpoint_is_passed_over(checkpoints, damage):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    saved = state(trained)
    train(trained)
    checkpoints.save(trained, Progress(2))
    damage(checkpoints.folder)
    assert checkpoints.restore(trained) == Progress(1)
    assert same(state(trained), saved)


def test_worker_that_only_reads(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    reader = Checkpoints(checkpoints.folder, writable=False)
    reader.save(trained, Progress(2))
    reader.clear()
    assert reader.restore(trained) == Progress(1)


def test_full_disk_leaves_the_checkpoint_before(small_disk):
    checkpoints = Checkpoints(small_disk)
    small, large = model(), model(units=5000)
    train(small)
    checkpoints.save(small, Progress(1))
    large.optimizer.build(large.trainable_variables)
    with pytest.raises(OSError, match="File too large") as error:
        checkpoints.save(large, Progress(1, 2))
    assert is_disk_full(error.value)
    assert checkpoints.restore(small) == Progress(1)
    assert len(list(small_disk.glob("epoch-*"))) == 1


COUNT, BAD = 24, 17


class Fragile(keras.Model):
    """Breaks at an image of zeros: its loss is infinite."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), initializer="ones", name="weight")
        self.build({"image": (None, 2, 2, 1)})

    def build(self, input_shape):
        self.built = True

    def call(self, inputs):
        return self.weight * ops.mean(ops.cast(inputs["image"], "float32"), axis=(1, 2, 3))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **_):
        return ops.mean(ops.log(y_pred))


def test_the_batch_whose_loss_is_not_finite_is_named(tmp_path):
    images = np.ones((COUNT, 2, 2, 1), "uint8")
    images[BAD] = 0
    batches = ImageSequence(images, np.zeros(COUNT), batch_size=4, num_classes=1, seed=3)
    good = batches.from_step(0)
    good.images = np.ones_like(images)
    fragile = Fragile()
    fragile.compile(keras.optimizers.SGD(1e-3))
    train_epochs(fragile, good, 1, tmp_path, verbose=0)
    with pytest.raises(UserError) as error:
        train_epochs(fragile, batches, 3, tmp_path, resume=True, verbose=0)
    order = np.random.default_rng([3, 1]).spawn(3)[0].permutation(COUNT).reshape(6, 4)
    (batch,) = np.flatnonzero((order == BAD).any(axis=1))
    message = str(error.value)
    shown = ", ".join(map(str, order[batch]))
    assert f"(epoch 2, batch {batch + 1}: training images {shown})" in message
    assert f"The checkpoint after 1 epoch is kept in {tmp_path}." in message
    assert "\n" not in message

    intact = Fragile()
    intact.compile(keras.optimizers.SGD(1e-3))
    assert Checkpoints(tmp_path).restore(intact) == Progress(1)
    assert np.isfinite(variable_value(intact.weight))


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
