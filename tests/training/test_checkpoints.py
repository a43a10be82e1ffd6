import signal
from unittest import mock

import keras
import numpy as np
import pytest

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.training.checkpoints import (
    Checkpoints,
    EpochCheckpoint,
    Progress,
    recorded_signals,
)
from keras_pixelcnnpp.training.optimizers import use_averages
from keras_pixelcnnpp.utils.backend import variable_value
from keras_pixelcnnpp.utils.errors import UserError


def model():
    """A model with random state (dropout), optimizer state and averages."""
    layers = [keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dropout(0.5)]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.Adam(0.1, use_ema=True)
    model.compile(optimizer, loss="mse", run_eagerly=True)
    return model


def train(model, epochs=1):
    x = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)
    y = np.ones((4, model.output_shape[-1]), "float32")
    # Under torch, dropout and building the model use the same global generator.
    seed = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: keras.utils.set_random_seed(epoch)
    )
    model.fit(x, y, epochs=epochs, batch_size=2, shuffle=False, verbose=0, callbacks=[seed])
    use_averages(model)  # as copies, because JAX deletes arrays in training


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [variable_value(variable) for variable in variables]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def test_broken_weights_are_not_kept(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    trained.trainable_variables[0].assign(np.full((2, 3), np.nan))
    with pytest.raises(UserError, match=r"after 1 epoch and 2 steps .*checkpoint after 1 epoch is"):
        checkpoints.save(trained, Progress(1, 2))
    assert checkpoints.saved() == [Progress(1)]


def truncate(content):
    return content[:-100]


def flip_a_bit(content):
    place = content.index(b"\n", content.index(b"NUMPY")) + 1  # the data of the first array
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.once
@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_torn_checkpoint_is_passed_over(checkpoints, damage):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    saved = state(trained)
    train(trained)
    checkpoints.save(trained, Progress(2))
    path = checkpoints.folder / "epoch-0002.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert checkpoints.restore(trained) == Progress(1)
    assert same(state(trained), saved)


@pytest.mark.once
def test_a_checkpoint_that_cannot_be_opened_is_not_taken_for_damage(checkpoints):
    trained = model()
    train(trained)
    for epoch in (1, 2):
        checkpoints.save(trained, Progress(epoch))
    path = checkpoints.folder / "epoch-0002.npz"
    path.unlink()
    path.symlink_to(path)  # opening it fails, even for root
    with pytest.raises(OSError, match=r"epoch-0002\.npz"):
        checkpoints.restore(trained)


@pytest.mark.once
def test_last_two_are_kept_and_files_of_other_names(checkpoints):
    trained, names = model(), {"epoch-2.npz", "epoch-\u0662.npz", "epoch-0002-step-1.npz"}
    train(trained)
    checkpoints.folder.mkdir()
    for name in names:
        (checkpoints.folder / name).touch()
    assert checkpoints.restore(trained) == Progress()
    for epoch in range(1, 4):
        checkpoints.save(trained, Progress(epoch))
    assert checkpoints.saved() == [Progress(2), Progress(3)]
    names |= {"epoch-0002.npz", "epoch-0003.npz"}
    assert {path.name for path in checkpoints.folder.iterdir()} == names


@pytest.mark.once
def test_the_batch_whose_loss_is_not_finite_is_named(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    images = np.zeros((24, 2, 2, 1), "uint8")
    batches = ImageBatches(images, np.zeros(24), batch_size=4, seed=3)
    batches.set_epoch(1)
    paths = [f"images/{row}.png" for row in range(24)]
    callback = EpochCheckpoint(checkpoints, batches.from_step(2), [], paths)
    callback.set_model(trained)
    callback.on_epoch_begin(1)
    callback.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(UserError) as error:
        callback.on_train_batch_end(1, {"loss": float("inf")})
    message = str(error.value)
    order = np.random.default_rng([3, 1]).spawn(3)[0].permutation(24)
    shown = ", ".join(f"images/{row}.png" for row in order[12:16])
    assert f"(epoch 2, batch 4, of the images {shown})" in message
    assert f"The checkpoint after 1 epoch is kept in {checkpoints.folder}." in message
    assert "\n" not in message


@pytest.fixture
def ctrl_c():
    """Python's default handler of SIGINT, which background jobs of a shell do not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.once
@pytest.mark.usefixtures("ctrl_c")
def test_a_closed_pipe_does_not_stop_the_training_but_a_second_signal_does():
    # With os.kill, another thread may get the signal, and two pending signals may become one.
    with recorded_signals() as signals:
        with mock.patch("builtins.print", side_effect=BrokenPipeError):
            signal.raise_signal(signal.SIGINT)
        assert signals == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
