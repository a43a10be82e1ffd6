import errno
import io
import os
import re
import shlex
from functools import partial

import keras
import numpy as np
import pytest
import tiny
from command_line import SMALL_OPTIONS, done, one_line
from images import write_course_folder
from layer_checks import flat_weights
from PIL import Image

import keras_pixelcnnpp as kp
import pixelcnnpp as program
from keras_pixelcnnpp.data.images import image_grid
from keras_pixelcnnpp.models.archive import copy_initial_weights
from keras_pixelcnnpp.recipes.recipe import COMMANDS, BaselineRecipe, PixelCNNRecipe
from keras_pixelcnnpp.train import run_training
from keras_pixelcnnpp.train.run_training import Start, train_baseline, train_pixelcnnpp
from keras_pixelcnnpp.training import train as training
from keras_pixelcnnpp.training.optimizers import averaged_weights
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

TRAINING = {"epochs": 2, "batch_size": 12, "learning_rate": 0.01, "ema_momentum": 0.5}
MODEL = {"filters": 4, "num_blocks": 1, "num_mixtures": 1, "dropout_rate": 0.3}
PRESET = PixelCNNRecipe(**MODEL, **TRAINING, network="pixelcnn", data="digits")
HYBRID = {"label_loss_weight": 0.5, "likelihood_epochs": 1, "learning_rate_decay": 0.99}


def train(path, given=(), dataset=None, **how):
    dataset = dataset or tiny.tiny_dataset()
    recipe = PixelCNNRecipe(**dict(given)).for_data(PRESET, dataset.num_classes)
    return train_pixelcnnpp(dataset, recipe, Start(RunFolder(path), verbose=0, **how))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model after one likelihood-only and one hybrid epoch, and its run."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    return train(run.path, HYBRID), run


def test_saved_model_has_the_averaged_weights(finished):
    model, run = finished
    loaded = keras.models.load_model(run.model_keras)
    with averaged_weights(model):
        expected = flat_weights(model.network)
    np.testing.assert_array_equal(flat_weights(loaded.network), expected)


def test_what_is_written(finished):
    run = finished[1]
    section = run.read_config()["pixelcnnpp"]
    assert section["model"]["label_loss_weight"] == 0.5
    assert section["options"]["likelihood_epochs"] == 1
    assert run.listing() == tiny.tiny_dataset().listing()
    rows = run.history("pixelcnnpp")
    assert [row["epoch"] for row in rows] == [1, 2]
    measured = {"bits_per_dim", "val_accuracy", "val_bits_per_dim", "val_cross_entropy"}
    assert all(measured <= set(row) for row in rows)


def test_tensorboard_has_the_first_training_images(finished):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(finished[1].logs("pixelcnnpp") / "train")).Reload()
    (event,) = events.Images("images/training")
    order = np.random.default_rng([0, 0]).spawn(3)[0].permutation(24)
    grid = image_grid(tiny.tiny_dataset().split("train").images[order[:12]])
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        assert (np.asarray(image) == grid).all()


@pytest.mark.slow
def test_images_without_a_label_are_trained_on(tmp_path):
    dataset, seen = tiny.tiny_dataset(), []
    dataset.split("train").labels[15:] = -1
    options = {**HYBRID, "unlabeled_weight": 0.5, "batch_size": 5, "epochs": 2}
    options["learning_rate_warmup"] = 1
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: seen.append(step))
    trained = train(tmp_path, options, dataset, callbacks=[count])
    assert len(seen) == 10
    # 5 of 10 steps are on the likelihood alone.
    assert trained.optimizer._learning_rate.again_at == 5
    assert trained.unlabeled_weight == 0.5
    rows = RunFolder(tmp_path).history("pixelcnnpp")
    assert all(np.isfinite(row["bits_per_dim"]) for row in rows)


def test_images_whose_loss_is_not_finite_are_named(tmp_path):
    """The first 16 of a batch, by the paths of the data."""

    def spoil(epoch, logs):
        weight = callback.model.trainable_variables[0]
        weight.assign(np.full(weight.shape, np.nan))

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=spoil)
    with pytest.raises(UserError, match="no longer finite") as error:
        train(tmp_path, {"batch_size": 20, "seed": 3}, callbacks=[callback])
    order = np.random.default_rng([3, 0]).spawn(3)[0].permutation(24)
    paths = tiny.tiny_dataset().split("train").paths
    shown = ", ".join(paths[row] for row in order[:16])
    assert f"(epoch 1, batch 1, of the images {shown} and 4 more)" in str(error.value)


def train_cnn(path, dataset):
    recipe = BaselineRecipe(data="digits", epochs=1, horizontal_flip=False, crop_margin=0)
    return train_baseline(dataset, recipe.with_defaults(), Start(RunFolder(path), verbose=0))


@pytest.mark.parametrize("train_model", [train, train_cnn])
def test_nothing_to_measure_on_is_said_before_training(tmp_path, train_model):
    dataset = tiny.tiny_dataset()
    dataset.splits["validation"] = tiny.tiny_split(4, labels=False)
    with pytest.raises(UserError, match="validation has no labeled image"):
        train_model(tmp_path / "run", dataset=dataset)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def source():
    """A model whose weights, class biases and logit scale all differ from a new model."""
    arguments = {"label_loss_weight": 0.5, "initial_logit_scale": 0.5}
    model = tiny.tiny_model(tiny.untrained_pixelcnn, **arguments)
    model.posterior.class_bias.assign([3.0, 0.0, -3.0])
    model.posterior.log_logit_scale.assign(0.7)
    return model


def test_the_model_then_answers_as_its_source(source, tmp_path, capsys):
    source.save_to_preset(tmp_path)
    # Options that concern only the training may differ.
    others = {"learn_logit_scale": False, "dropout_rate": 0.1, "class_names": tiny.NAMES}
    model = tiny.tiny_model(tiny.untrained_pixelcnn, label_loss_weight=0.2, **others)
    images = tiny.tiny_split(9).images
    expected = source.class_probabilities(images)
    assert not np.allclose(model.class_probabilities(images), expected, atol=1e-3)
    copy_initial_weights(str(tmp_path), model)
    said = "(Class0, Class1, Class2) are used, in this order, for: dark, gray, "
    assert said in capsys.readouterr().out
    np.testing.assert_allclose(model.class_probabilities(images), expected, atol=1e-6)


VALUES = np.random.default_rng(0).uniform(1, 2, (9, 2))


@pytest.mark.parametrize(
    ("conditions", "bounds", "values"),
    [
        (kp.Vectors(2), {"low": 1, "high": 2}, VALUES),
        (kp.Maps((2, 2, 1)), {"low": 1, "high": 2}, np.stack([VALUES, VALUES], 2)[..., None]),
    ],
)
def test_numbers_also_start_from_weights(conditions, bounds, values, tmp_path):
    """Those of a model whose bounds are learned from its data."""
    plain = {"num_classes": None, "dropout_rate": 0.0}
    given = type(conditions)(**{**conditions.config(), **bounds})
    source = tiny.tiny_model(tiny.untrained_pixelcnn, conditions=given, **plain)
    source.save(tmp_path / "model.keras")
    model = tiny.untrained_pixelcnn(conditions=conditions, **plain)
    copy_initial_weights(str(tmp_path), model)
    images = tiny.tiny_split(9).images
    expected = source.log_prob(images, values)
    np.testing.assert_allclose(model.log_prob(images, values), expected, rtol=1e-6)
    assert np.ptp(source.log_prob(np.repeat(images[:1], 9, axis=0), values)) > 1e-4


def test_training_starts_from_them(source, tmp_path):
    """With a learning rate of 0, the weights do not change."""
    source.save(tmp_path / "model.keras")  # like a run folder
    options = {"initial_weights": str(tmp_path), "learning_rate": 0.0, "epochs": 1}
    options["num_levels"] = source.num_levels
    model = train(tmp_path / "run", options)
    np.testing.assert_array_equal(flat_weights(model.network), flat_weights(source.network))


@pytest.fixture
def not_trained(monkeypatch):
    """Trainings claim their run folder, and end."""
    monkeypatch.setattr(run_training, "_train_into", lambda *_: None)


@pytest.mark.usefixtures("not_trained")
def test_refused_weights_leave_the_old_run_as_it_was(tmp_path):
    train(tmp_path)
    RunFolder(tmp_path).model_keras.touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="Unknown preset"):
        train(tmp_path, {"initial_weights": "cpne455"}, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_cnn_trains_on_crops_of_image_files(tmp_path, pixelcnnpp, monkeypatch):
    """By default; images of an array have nothing around them."""
    seen = []
    monkeypatch.setattr(run_training, "_train_into", lambda *given: seen.append(given))
    for name, margin in (("folder", 4), ("digits.npz", 0)):
        write = write_course_folder if name == "folder" else tiny.save_npz
        options = ["--data", write(tmp_path / name), "--image-size", 4, "--epochs", 1]
        done(pixelcnnpp("train-baseline", "--run", tmp_path / f"run-{margin}", *options))
        config = RunFolder(tmp_path / f"run-{margin}").read_config()
        assert config["baseline"]["options"]["crop_margin"] == margin
    (_, _, of_files, *_), (_, _, of_arrays, *_) = seen
    assert of_files.larger.shape == (len(of_files), 8, 8, 3)
    assert of_arrays.larger is None


@pytest.mark.usefixtures("not_trained")
def test_options_that_are_not_given_are_those_of_the_run(tmp_path, pixelcnnpp, trained):
    """Missing options come from the run, not from a preset or the command."""
    training = {"epochs": 4, "likelihood_epochs": 1, "learning_rate_schedule": "cosine"}
    trained.save_to_preset(tmp_path / "preset", {"training": training})
    run = RunFolder(tmp_path / "run")
    data = ["--data", tiny.save_npz(tmp_path / "my data.npz"), "--image-size", 4]
    data += ["--max-examples", 20]
    data += ["--channels", 1, "--resize", "stretch", "--skip-corrupted", "--seed", 3]
    ways = {
        "pixelcnnpp": ["--preset", tmp_path / "preset", "--precision", "mixed_bfloat16"],
        "baseline": ["--epochs", 3, "--learning-rate", 0.01, "--weight-decay", 0],
    }
    for section, options in ways.items():
        command = [COMMANDS[section], "--run", run.path]
        done(pixelcnnpp(*command, *data, *options))
        before = run.read_config()
        given = ["pixelcnnpp", *map(str, [*command, *data, *options])]
        assert shlex.split(before[section]["command"]) == given
        keras.utils.clear_session(free_memory=False)  # Keras numbers the names of models
        done(pixelcnnpp(*command, "--resume"))
        keras.utils.clear_session(free_memory=False)
        out = done(pixelcnnpp(*command, "--resume", "--epochs", 9))
        found = run.read_config()
        assert found["data"] == before["data"]
        assert found[section]["command"] == before[section]["command"]
        again = f"pixelcnnpp {COMMANDS[section]} --run {run.path} --resume"
        assert found[section]["resumed"] == [again, f"{again} --epochs 9"]
        assert found[section]["options"] == before[section]["options"] | {"epochs": 9}
        assert section == "baseline" or "Recipe of the run" in out


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, pixelcnnpp, monkeypatch):
    run, savez = RunFolder(tmp_path / "run"), np.savez
    data = tiny.save_npz(tmp_path / "tiny.npz")

    def on_a_full_disk(file, **state):
        if run.has_checkpoint("pixelcnnpp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        savez(file, **state)

    command = ("train", "--data", data, "--run", run.path, *SMALL_OPTIONS, "--epochs", 2)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", on_a_full_disk)
        kept = "The checkpoint after 1 epoch is kept"
        one_line(pixelcnnpp(*command), os.strerror(errno.ENOSPC), kept, "--resume")
    files = [file.name for file in run.checkpoints("pixelcnnpp").iterdir()]
    assert files == ["epoch-0001.npz"]
    keras.utils.clear_session(free_memory=False)
    assert "Continuing after 1 epoch" in done(pixelcnnpp("train", "--run", run.path, "--resume"))
    assert [row["epoch"] for row in run.history("pixelcnnpp")] == [1, 2]


@pytest.mark.slow
def test_a_model_of_random_crops_and_its_cnn(tmp_path, pixelcnnpp, monkeypatch, trained):
    """A resumed training crops the images again, and both models are evaluated on centers."""
    trained.save_to_preset(tmp_path / "preset", {"training": TRAINING})
    run, npz = RunFolder(tmp_path / "run"), tiny.save_npz(tmp_path / "data.npz")
    crops, steps = training.RandomCrops, []

    def counted(*given, **how):
        found = crops(*given, **how)
        steps.append(len(found))
        return found

    monkeypatch.setattr(training, "RandomCrops", counted)
    command = ["train", "--run", run.path, "--epochs", 1]
    data = ["--data", npz, "--image-size", 2, "--random-crops", "--preset", tmp_path / "preset"]
    assert "images of 2×2×1" in done(pixelcnnpp(*command, *data))
    assert steps == [8]  # four crops of each of 24 images, in batches of 12
    keras.utils.clear_session(free_memory=False)
    done(pixelcnnpp(*command[:-1], 2, "--resume"))
    assert len(run.history("pixelcnnpp")) == 2
    assert run.load_data().split("validation").images.shape == (9, 2, 2, 1)
    done(pixelcnnpp("train-baseline", *data[:-2], "--run", run.path, "--epochs", 1))


class Seen(keras.callbacks.Callback):
    """A callback of a user, who needs the results of the validation."""

    def on_epoch_end(self, epoch, logs=None):
        logs["seen"] = float("val_accuracy" in logs)


def test_the_cnn_of_a_script_that_gives_callbacks(tmp_path, pixelcnnpp, monkeypatch):
    """They see the results of the validation, and may log."""
    main = partial(program.main, callbacks=[Seen()])
    monkeypatch.setattr(program, "main", main)
    npz, run = tiny.save_npz(tmp_path / "a.npz"), RunFolder(tmp_path / "run")
    done(pixelcnnpp("train-baseline", "--data", npz, "--run", run.path, "--epochs", 1))
    (row,) = run.history("baseline")
    assert row["seen"] == 1
    split = tiny.tiny_dataset().split("validation")
    probabilities = keras.models.load_model(run.baseline_keras).class_probabilities(split.images)
    cross_entropy = -np.log(np.take_along_axis(probabilities, split.labels[:, None], 1)).mean()
    assert row["val_cross_entropy"] == pytest.approx(cross_entropy, rel=1e-4)


@pytest.mark.usefixtures("not_trained")
def test_callbacks_that_a_resumed_run_lacks_are_told(tmp_path, pixelcnnpp, monkeypatch):
    """A script has begun it. Every command that goes on without the callbacks says so."""
    npz, run = tiny.save_npz(tmp_path / "a.npz"), RunFolder(tmp_path / "run")
    command = ("train-baseline", "--run", run.path, "--epochs", 1)
    with monkeypatch.context() as patch:
        patch.setattr(program, "main", partial(program.main, callbacks=[Seen()]))
        for more in (("--data", npz), ("--resume",)):
            assert "Note:" not in done(pixelcnnpp(*command, *more))
    note = f"Note: {run.path} was begun by another command, pixelcnnpp train-baseline --run "
    for _ in range(2):
        (found,) = re.findall("Note: .*", done(pixelcnnpp(*command, "--resume")))
        assert found.startswith(note)
        assert found.endswith(f"{npz}. This one goes on without its callbacks: Seen")


def test_a_run_and_its_data_are_apart(tmp_path, pixelcnnpp):
    """`split.csv` in the data would be the list of the images, and a run replaces its folders."""
    data = write_course_folder(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    for run, images in ((data, data), (data / "run", data), (tmp_path, data)):
        command = ("train", "--run", run, "--data", images, "--epochs", 1)
        one_line(pixelcnnpp(*command), "`run`. Expected a folder outside the data", str(run))
    assert sorted(tmp_path.rglob("*")) == before
