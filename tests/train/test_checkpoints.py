import keras
import numpy as np
import pytest

from keras_pixelcnnpp.errors import DiskFullError, UserError, is_disk_full
from keras_pixelcnnpp.optimizers import use_averages, variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress


def model(units=3):
    """A model with random state (dropout), optimizer state and averages."""
    layers = [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), loss="mse")
    return model


def train(model, epochs=1):
    x = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)
    y = np.ones((4, model.output_shape[-1]), "float32")
    # Under torch, dropout draws from the global generator, and so does building the model.
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
    assert len(list(checkpoints.folder.iterdir())) == 4


def test_step_comes_after_its_epoch(checkpoints):
    trained = model()
    train(trained)
    for progress in (Progress(2), Progress(10), Progress(10, 3), Progress(10, 20)):
        checkpoints.save(trained, progress)
    assert checkpoints.saved() == [Progress(10, 3), Progress(10, 20)]
    assert len(list(checkpoints.folder.iterdir())) == 4


def test_variables_that_lost_their_description_are_dropped_in_time(checkpoints):
    trained = model()
    train(trained)
    for epoch in range(1, 5):
        checkpoints.save(trained, Progress(epoch))
        (checkpoints.folder / "epoch-0001.json").unlink(missing_ok=True)
    assert len(list(checkpoints.folder.iterdir())) == 4


def test_torn_ones_do_not_push_out_the_good_one(checkpoints):
    trained = model()
    train(trained)
    for epoch in (5, 6):
        checkpoints.save(trained, Progress(epoch))
    for path in checkpoints.folder.glob("*.npz"):
        path.write_bytes(b"torn")
    checkpoints.save(trained, Progress(4, 1))
    assert checkpoints.restore(trained) == Progress(4, 1)


def test_metrics_are_kept_within_an_epoch(checkpoints):
    first, second = model(), model()
    train(first)
    (mean,) = first.metrics
    mean.reset_state()
    mean.update_state([2.0, 4.0])
    checkpoints.save(first, Progress(0, 2))
    checkpoints.restore(second)
    assert float(second.metrics[0].result()) == 3


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
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_variables(folder):
    (folder / "epoch-0002.npz").unlink()


def damage_description(folder):
    (folder / "epoch-0002.json").write_text('{"epoch": 2')


@pytest.mark.parametrize(
    "damage", [damage_variables, flip_a_bit, lose_variables, damage_description]
)
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


def test_variables_without_description_do_not_count(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    (checkpoints.folder / "epoch-0001.json").unlink()
    assert checkpoints.restore(trained) == Progress()


def test_no_intact_checkpoint(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(2))
    damage_variables(checkpoints.folder)
    with pytest.raises(UserError, match=r"No checkpoint .* is intact"):
        checkpoints.restore(trained)


def test_other_model(checkpoints):
    trained = model()
    train(trained)
    checkpoints.save(trained, Progress(1))
    with pytest.raises(UserError, match="belong to another model"):
        checkpoints.restore(model(units=4))


def test_full_disk_leaves_the_checkpoint_before(small_disk):
    checkpoints = Checkpoints(small_disk)
    small, large = model(), model(units=5000)
    train(small)
    checkpoints.save(small, Progress(1))
    large.optimizer.build(large.trainable_variables)
    with pytest.raises(DiskFullError) as error:
        checkpoints.save(large, Progress(1, 2))
    message = str(error.value)
    assert "epoch-0001-step-00002.npz was not written: no space left" in message
    assert "The checkpoint after 1 epoch is kept" in message
    assert "\n" not in message
    assert checkpoints.restore(small) == Progress(1)
    assert len(list(small_disk.iterdir())) == 2


@pytest.mark.tensorflow
def test_tensorflow_out_of_room_is_not_out_of_memory():
    import tensorflow as tf

    error = tf.errors.ResourceExhaustedError(None, None, "a; No space left on device")
    assert is_disk_full(error)
