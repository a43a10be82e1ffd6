import html
import io
import json
import re
import subprocess
import sys
import time
import urllib.request
from functools import partial

import keras
import numpy as np
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.images import png_pixels
from keras_pixelcnnpp.evaluate.classification import partial_report
from keras_pixelcnnpp.evaluate.classification_figures import partial_png, reliability_png
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.train.monitors import ValidationMonitor, measure
from keras_pixelcnnpp.train.options import resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp
from keras_pixelcnnpp.train.tensorboard import (
    SummaryWriter,
    TensorBoardCurves,
    TensorBoardFigures,
    TensorBoardSamples,
    configuration_text,
    hyperparameters,
)

STRATEGIES = ("bias", "film")
SECONDS = 60


class TensorBoard:
    """The HTTP interface of a TensorBoard in a process of its own."""

    def __init__(self, log_dir, output):
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
        command += ["--host", "127.0.0.1", "--port", "0", "--load_fast=false"]
        with output.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        self.address = until(lambda: re.search(r"http://127\.0\.0\.1:\d+", output.read_text()))[0]

    def __call__(self, route, **body):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            f"{self.address}/data/plugin/{route}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read())

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=SECONDS)


def until(ask):
    """Asks until there is an answer."""
    deadline = time.monotonic() + SECONDS
    while not (answer := ask()):
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.3)
    return answer


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A TensorBoard over two trained runs, and their folders by strategy."""
    pytest.importorskip("tensorboard")
    path = tmp_path_factory.mktemp("runs")
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": {"epochs": 1, "batch_size": 12}}
    runs = {strategy: RunFolder(path / strategy) for strategy in STRATEGIES}
    for strategy, run in runs.items():
        overrides = {"conditioning": strategy, "histogram_every": 1}
        options = resolve_options(preset, overrides, dataset.num_classes)
        train_pixelcnnpp(dataset, run, *options, tiny.tiny_data_config(dataset), verbose=0)
    board = TensorBoard(path, tmp_path_factory.mktemp("output") / "tensorboard.txt")
    board.runs = runs
    try:
        until(lambda: len(session_groups(board)) == 2 and len(board("text/tags")) == 2)
        yield board
    finally:
        board.stop()


def session_groups(board):
    answer = board(
        "hparams/session_groups",
        experimentName="",
        allowedStatuses=["STATUS_UNKNOWN"],
        colParams=[],
        startIndex=0,
        sliceSize=10,
    )
    return answer.get("sessionGroups", [])


def name_of(strategy, part):
    return f"{strategy}/logs/pixelcnnpp/{part}"


@pytest.mark.tensorflow
@pytest.mark.slow
def test_hyperparameters_stand_beside_the_metrics(board):
    groups = {group["name"]: group for group in session_groups(board)}
    assert set(groups) == {name_of(strategy, "configuration") for strategy in STRATEGIES}
    for strategy, run in board.runs.items():
        group = groups[name_of(strategy, "configuration")]
        options = run.read_config()["pixelcnnpp"]["options"]
        assert group["hparams"]["conditioning"] == strategy
        assert group["hparams"]["learning_rate"] == pytest.approx(options["learning_rate"])
        (history,) = json.loads(run.history_json("pixelcnnpp").read_text())
        measured = {each["name"]["tag"]: each["value"] for each in group["metricValues"]}
        assert measured == {
            name: pytest.approx(history[name], rel=1e-5)
            for name in ("val_bits_per_dim", "val_accuracy")
        }


@pytest.mark.tensorflow
@pytest.mark.slow
def test_what_differs_is_known(board):
    experiment = board("hparams/experiment", experimentName="", includeMetrics=True)
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["conditioning"]["differs"]
    assert set(infos["conditioning"]["domainDiscrete"]) == set(STRATEGIES)
    assert not infos["batch_size"]["differs"]
    tags = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert tags == {"val_bits_per_dim", "val_accuracy"}


def tags(board, plugin, writer):
    """The tags of a plugin by run, once TensorBoard has read those of both."""
    found = board(f"{plugin}/tags")
    return found if all(name_of(strategy, writer) in found for strategy in STRATEGIES) else None


@pytest.mark.tensorflow
@pytest.mark.slow
def test_scalars_pictures_histograms_and_text(board):
    scalars, images, histograms = (
        until(lambda plugin=plugin, writer=writer: tags(board, plugin, writer))
        for plugin, writer in (
            ("scalars", "validation"),
            ("images", "pictures"),
            ("histograms", "train"),
        )
    )
    for strategy in STRATEGIES:
        assert {"epoch_bits_per_dim", "epoch_accuracy"} <= set(
            scalars[name_of(strategy, "validation")]
        )
        assert set(images[name_of(strategy, "pictures")]) == {
            "training_pictures",
            "confusion_matrix",
        }
        of_gains = [tag for tag in histograms[name_of(strategy, "train")] if "/gain/" in tag]
        # A gain for each weight-normalized layer, each under a name of its own.
        assert len(of_gains) == len(set(of_gains)) > 10
        run = name_of(strategy, "configuration").replace("/", "%2F")
        (text,) = board(f"text/text?run={run}&tag=configuration/text_summary")
        assert f"<code>{strategy}</code>" in text["text"]
        assert "<td>learning_rate</td>" in text["text"]


CLASS_NAMES = ("dark", "grey", "bright")


def events(folder):
    """What TensorBoard reads from the logs."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder), {"histograms": 0}).Reload()


def written(folder):
    """The pictures in the logs: `{tag: {step: pixels}}`."""
    found = events(folder)
    return {
        tag: {
            event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            for event in found.Images(tag)
        }
        for tag in found.Tags()["images"]
    }


def test_curves_and_histograms(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile("sgd", "mse")
    curves = TensorBoardCurves(tmp_path, histogram_every=2)
    curves.set_model(model)
    for epoch in range(3):
        curves.on_epoch_end(epoch, {"loss": float("nan"), "accuracy": epoch / 4, "val_loss": 2.5})
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    assert [(event.step, event.value) for event in train.Scalars("epoch_accuracy")] == [
        *((0, 0.0), (1, 0.25), (2, 0.5))
    ]
    assert "epoch_loss" not in train.Tags()["scalars"]  # not a number
    assert [event.value for event in validation.Scalars("epoch_loss")] == [2.5] * 3
    (name,) = (name for name in train.Tags()["histograms"] if "kernel" in name)
    assert [event.step for event in train.Histograms(name)] == [0, 2]
    kernel = variable_value(model.layers[0].kernel)
    histogram = train.Histograms(name)[0].histogram_value
    assert (histogram.num, histogram.min, histogram.max) == (
        *(kernel.size, pytest.approx(kernel.min()), pytest.approx(kernel.max())),
    )


@pytest.mark.tensorflow
def test_averaged_weights_draw_every_second_epoch(tmp_path):
    model = tiny.tiny_model()
    model.compile(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9))
    split = tiny.tiny_split(24)
    raw = []
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: raw.append(
            [variable_value(variable) for variable in model.trainable_variables]
        )
    )
    draw = TensorBoardSamples(SummaryWriter(tmp_path), CLASS_NAMES, every=2, per_class=4)
    data = {"image": split.images, "label": split.labels}
    model.fit(data, epochs=4, verbose=0, callbacks=[draw, remember])
    pictures = written(tmp_path)
    assert {tag: set(steps) for tag, steps in pictures.items()} == {
        f"samples/{name}": {1, 3} for name in CLASS_NAMES
    }

    def drawn_now():
        return ClassSamples.draw(model, CLASS_NAMES, 4, seed=0).grids()

    # At its end `fit` puts the averaged weights into the model.
    for name, grid in drawn_now().items():
        assert (pictures[f"samples/{name}"][3] == grid).all()
    for variable, value in zip(model.trainable_variables, raw[-1], strict=True):
        variable.assign(value)
    assert any((pictures[f"samples/{name}"][3] != grid).any() for name, grid in drawn_now().items())


@pytest.mark.tensorflow
def test_figures_are_those_of_evaluate_with_the_averaged_weights(tmp_path):
    model, split = tiny.tiny_model(), tiny.tiny_split(24)
    model.compile(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9))
    monitor = ValidationMonitor(partial(measure, model), tiny.tiny_split(9, seed=1))
    figures = TensorBoardFigures(SummaryWriter(tmp_path), monitor, "Gated PixelCNN", every=2)
    data = {"image": split.images, "label": split.labels}
    model.fit(data, epochs=4, verbose=0, callbacks=[monitor, figures])
    pictures = written(tmp_path)
    assert {tag: set(steps) for tag, steps in pictures.items()} == {
        "reliability": {1, 3},
        "accuracy_by_part_seen": {1, 3},
    }
    # At its end `fit` puts the averaged weights into the model.
    images, labels = monitor.validation.images, monitor.labels
    whole = PixelCNNClassifier(model).predict_proba(images)
    expected = reliability_png(labels, {"Gated PixelCNN, epoch 4": whole})
    # Of sums in another order a dot may lie a little beside.
    assert np.mean(pictures["reliability"][3] != png_pixels(expected)) < 0.005
    parts = np.stack([model.class_probabilities(images, known_rows=rows) for rows in range(5)], 1)
    report = partial_report(labels, np.arange(5), {"pixelcnnpp": parts})
    strip = pictures["accuracy_by_part_seen"]
    np.testing.assert_array_equal(
        strip[3], png_pixels(partial_png(report, {"pixelcnnpp": "Gated PixelCNN"}))
    )


def test_a_cnn_knows_no_parts(tmp_path):
    probabilities = np.eye(3)[[0, 1, 2, 0]][:, None]
    monitor = ValidationMonitor(lambda _: ({}, probabilities), tiny.tiny_split(4))
    monitor.probabilities = probabilities
    figures = TensorBoardFigures(SummaryWriter(tmp_path), monitor, "Baseline CNN", every=1)
    figures.on_epoch_end(0)
    assert set(written(tmp_path)) == {"reliability"}


OPTIONS = {"filters": [20, 40], "limit": None, "jit_compile": False, "frechet_every": 5}
CONFIG = {"options": OPTIONS, "parameters": 1234, "versions": {"keras": "3.15.1"}}
DATA = {"source": "/data/a|b", "class_names": ["x_1_", "*y*"]}


def test_hyperparameters_are_what_tensorboard_takes():
    assert hyperparameters("baseline", CONFIG, DATA) == {
        "model": "baseline",
        "data": "a|b",
        "parameters": 1234,
        "filters": "20,40",
        "jit_compile": False,
    }


def test_text_shows_values_as_they_are():
    markdown = pytest.importorskip("markdown")
    # As TensorBoard renders it.
    page = markdown.markdown(configuration_text(CONFIG, DATA), extensions=["tables"])
    rows = dict(re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td><code>(.*?)</code></td>", page, re.S))
    assert {name: html.unescape(value) for name, value in rows.items()} == {
        "filters": "20,40",
        "limit": "–",
        "jit_compile": "False",
        "frechet_every": "5",
        "parameters": "1,234",
        "source": "/data/a|b",
        "class_names": "x_1_,*y*",
        "keras": "3.15.1",
    }
