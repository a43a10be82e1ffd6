import json

import keras
import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.run import RunFolder, read_history
from keras_pixelcnnpp.train import monitors
from keras_pixelcnnpp.train.monitors import (
    FrechetMonitor,
    HistoryFile,
    ValidationMonitor,
    measure,
    validation_limit,
)
from keras_pixelcnnpp.train.options import resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp


class LogMore(keras.callbacks.Callback):
    """Adds to the logs, as `ValidationMonitor` does."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_accuracy"] = float("nan") if epoch == 1 else epoch / 10


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(model, path, epochs, initial_epoch=0):
    x = np.arange(12.0).reshape(4, 3) / 12
    return model.fit(
        x,
        x[:, :1],
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[LogMore(), HistoryFile(path)],
    )


def test_file_has_what_keras_has(model, tmp_path):
    path = tmp_path / "logs" / "history.json"
    kept = fit(model, path, epochs=3).history
    rows = json.loads(path.read_text())
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == pytest.approx(kept["loss"])
    # NaN is no JSON.
    assert [row["val_accuracy"] for row in rows] == [0.0, None, 0.2]
    assert all(row["seconds"] > 0 for row in rows)


def test_resumed_run_goes_on_with_the_file(model, tmp_path):
    path = tmp_path / "history.json"
    fit(model, path, epochs=3)
    first = read_history(path)
    # Killed after epoch 3 was logged and before its checkpoint was there: epoch 3 comes again.
    fit(model, path, epochs=4, initial_epoch=2)
    rows = read_history(path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[:2] == first[:2]
    assert rows[2]["loss"] != first[2]["loss"]
    fit(model, path, epochs=1)
    assert [row["epoch"] for row in read_history(path)] == [1]


@pytest.mark.parametrize("content", ["[{", "{}", "[1]", '[{"loss": 1}]', "\xff"])
def test_damaged_file_counts_as_none(model, tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content, encoding="latin-1")
    assert read_history(path) == []
    fit(model, path, epochs=1)
    assert len(read_history(path)) == 1


def test_no_file(tmp_path):
    assert read_history(tmp_path / "history.json") == []


@pytest.mark.parametrize("use_ema", [True, False])
def test_raw_weights_are_measured_now_and_then(use_ema):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(0.1, use_ema=use_ema, ema_momentum=0.5)
    model.compile(optimizer, loss="mse")

    def weight():
        return float(variable_value(model.trainable_variables[0])[0, 0])

    raw = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: raw.append(weight()))
    monitor = ValidationMonitor(lambda _: ({"weight": weight()}, None), tiny.tiny_split(3))
    history = {}
    write = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: history.update({epoch + 1: dict(logs)})
    )
    data = np.array([[1.0]], "float32"), np.array([[3.0]], "float32")
    model.fit(*data, epochs=7, verbose=0, callbacks=[look, monitor, write])

    average, averages = raw[0], []
    for value in raw:
        average = 0.5 * average + 0.5 * value
        averages.append(average)
    expected = averages if use_ema else raw
    assert [row["val_weight"] for row in history.values()] == pytest.approx(expected, rel=1e-5)
    measured = {epoch: row.get("val_raw_weight") for epoch, row in history.items()}
    # Every fifth epoch and the last.
    wanted = {5: raw[4], 7: raw[6]} if use_ema else {}
    assert {epoch: value for epoch, value in measured.items() if value is not None} == wanted


class DrawingModel:
    """What the callback needs of a model."""

    num_classes = 3
    num_levels = 5
    optimizer = keras.optimizers.SGD()

    def sample(self, labels, **_):
        return np.broadcast_to(np.uint8(labels)[:, None, None, None], (len(labels), 2, 2, 1))


def logged(distance):
    """What five epochs log."""
    monitor = FrechetMonitor(distance, ("a", "b", "c"), every=2, per_class=4)
    monitor.set_model(DrawingModel())
    logs = [{} for _ in range(5)]
    for epoch, row in enumerate(logs):
        monitor.on_epoch_end(epoch, row)
    return logs


def test_every_second_epoch_from_as_many_pictures_of_each_class():
    logs = logged(lambda samples: np.bincount(samples.levels[:, 0, 0, 0]).tolist())
    expected = {"val_frechet_distance": [4, 4, 4]}
    assert logs == [{}, expected, {}, expected, {}]


TRAINING = {"epochs": 2, "batch_size": 12, "learning_rate": 0.01, "ema_momentum": 0.5}


def test_without_a_baseline(tmp_path):
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": TRAINING}
    model, training = resolve_options(preset, {"frechet_every": 1}, dataset.num_classes)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="pixelcnnpp train baseline"):
        train_pixelcnnpp(dataset, run, model, training, tiny.tiny_data_config(dataset), verbose=0)
    assert not run.path.exists()


@pytest.mark.slow
def test_last_distance_is_that_of_the_evaluation(tmp_path, pixelcnnpp):
    import keras

    preset = {"model": {**tiny.MODEL, "image_shape": [4, 4, 1]}, "training": TRAINING}
    write_json(tmp_path / "preset" / "config.json", preset)
    data = tiny.save_npz(tmp_path / "data.npz")
    run = RunFolder(tmp_path / "run")
    status, _, _ = pixelcnnpp(
        *("train", "baseline", "--data", data, "--run", run.path),
        *("--epochs", 1, "--batch-size", 12),
    )
    assert status == 0
    train = ("train", "pixelcnnpp", "--data", data, "--preset", tmp_path / "preset")
    status, _, _ = pixelcnnpp(*train, "--run", run.path, "--frechet-every", 2, "--sample-every", 0)
    assert status == 0
    first, last = json.loads(run.history_json("pixelcnnpp").read_text())
    assert "val_frechet_distance" not in first

    status, _, _ = pixelcnnpp(
        *("evaluate", "generation", "--run", run.path),
        *("--temperatures", "", "--completions", 0),
    )
    assert status == 0
    report = json.loads((run.reports / "generation.json").read_text())
    evaluated = report["metrics"]["all"]["frechet_distance"]
    assert last["val_frechet_distance"] == pytest.approx(evaluated, rel=1e-4)

    # What is looked at doesn't change what is trained.
    other = RunFolder(tmp_path / "other")
    status, _, _ = pixelcnnpp(*train, "--run", other.path, "--sample-every", 0)
    assert status == 0
    watched, unwatched = (keras.models.load_model(each.model_keras) for each in (run, other))
    for variable, expected in zip(watched.weights, unwatched.weights, strict=True):
        assert (variable_value(variable) == variable_value(expected)).all()


@pytest.mark.parametrize(("verbose", "begun"), [(0, None), (1, "\n"), (2, "")])
def test_estimate_is_printed_once(model, monkeypatch, capsys, verbose, begun):
    # The first two steps take a minute each, all others 45 seconds.
    seconds = iter([0, 60, 60, 120, *(90 * (index + 1) // 2 for index in range(200))])
    monkeypatch.setattr(monitors.time, "perf_counter", lambda: next(seconds))
    estimate = monitors.TimeEstimate()
    estimate.set_params({"verbose": verbose, "epochs": 4, "steps": 7})
    for epoch in range(1, 4):
        estimate.on_epoch_begin(epoch)
        for batch in range(7):
            estimate.on_train_batch_begin(batch)
            estimate.on_train_batch_end(batch)
    # After ten steps: four of this epoch and seven of the last are left.
    line = "About 8 min to the end of epoch 4, at 45 s a step; measuring comes on top.\n"
    assert capsys.readouterr().out == ("" if begun is None else begun + line)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5_300, "88 min"), (6_815, "1 h 54 min")],
)
def test_time_left_in_words(seconds, text):
    assert monitors.in_words(seconds) == text


@pytest.mark.parametrize(
    ("chosen", "training_pictures", "num_classes", "expected"),
    [
        (None, 64, 10, 19),  # 190 forward passes; 64 steps of three passes each
        (None, 2, 10, 10),  # one of each class at least
        (None, 64, 0, 192),
        (7, 64, 10, 7),
        (0, 64, 10, None),
    ],
)
def test_measuring_takes_no_longer_than_the_epoch(chosen, training_pictures, num_classes, expected):
    assert validation_limit(chosen, training_pictures, num_classes) == expected


def test_some_of_the_validation_pictures_are_measured_and_said():
    seen, split = [], tiny.tiny_split(60)
    monitor = ValidationMonitor(
        lambda pictures: seen.append(pictures) or ({}, None), split, limit=20
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.zeros((2, 1), "float32")
    model.fit(data, data, epochs=2, verbose=0, callbacks=[monitor])
    assert [len(pictures) for pictures in seen] == [20, 20]
    # The same ones, of every class, or the curve would show the choice.
    assert seen[0].paths == seen[1].paths
    assert len(set(seen[0].paths)) == 20
    assert set(seen[0].labels) == set(split.labels)
    assert list(monitor.labels) == list(seen[0].labels)
    text = monitor.describe(has_averages=True, has_classes=True)
    assert "val_…: 20 (--validation-limit) of 60 " in text
    assert "val_raw_" in text
    text = ValidationMonitor(measure, split).describe(has_averages=False, has_classes=False)
    assert "val_…: all 60 " in text
    assert "val_raw_" not in text
    assert "accuracy" not in text


def test_a_long_measurement_shows_a_bar(capsys):
    model, split = tiny.tiny_model(), tiny.tiny_split(12)
    measure(model, split, batch_size=12, verbose=1)
    assert capsys.readouterr().out == ""
    measure(model, split, batch_size=4, verbose=1)
    assert "Measuring on 12 pictures\n" in capsys.readouterr().out
