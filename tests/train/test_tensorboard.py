import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest
import tiny

from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.fusion import plan, run_trials

pytest.importorskip("tensorflow")
pytest.importorskip("tensorboard")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras's saving asks NumPy for copies in a way that NumPy 2 warns about.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

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
    """A TensorBoard over two trials of a comparison, and the trials' folders by strategy."""
    path = tmp_path_factory.mktemp("fusion")
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": {"epochs": 1, "batch_size": 12}}
    trials = plan(STRATEGIES, ["likelihood"], 1)
    data = tiny.tiny_data_config(dataset)
    overrides = {"histogram_every": 1}
    results = run_trials(trials, dataset, path, preset, overrides, data, verbose=0)
    assert len(list(results)) == 2
    board = TensorBoard(path, tmp_path_factory.mktemp("output") / "tensorboard.txt")
    board.trials = {trial.strategy: RunFolder(path / "trials" / trial.name) for trial in trials}
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
    return f"trials/{strategy}-likelihood-0/logs/pixelcnnpp/{part}"


def test_hyperparameters_stand_beside_the_metrics(board):
    groups = {group["name"]: group for group in session_groups(board)}
    assert set(groups) == {name_of(strategy, "configuration") for strategy in STRATEGIES}
    for strategy, run in board.trials.items():
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


def test_what_differs_is_known(board):
    experiment = board("hparams/experiment", experimentName="", includeMetrics=True)
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["conditioning"]["differs"]
    assert set(infos["conditioning"]["domainDiscrete"]) == set(STRATEGIES)
    assert not infos["batch_size"]["differs"]
    tags = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert tags == {"val_bits_per_dim", "val_accuracy"}


def tags(board, plugin, writer):
    """The tags of a plugin by run, once TensorBoard has read those of every trial."""
    found = board(f"{plugin}/tags")
    return found if all(name_of(strategy, writer) in found for strategy in STRATEGIES) else None


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
            "training pictures",
            "confusion matrix",
        }
        of_gains = [tag for tag in histograms[name_of(strategy, "train")] if "/gain/" in tag]
        # A gain for each weight-normalized layer, each under a name of its own.
        assert len(of_gains) == len(set(of_gains)) > 10
        run = name_of(strategy, "configuration").replace("/", "%2F")
        (text,) = board(f"text/text?run={run}&tag=configuration")
        assert f"<code>{strategy}</code>" in text["text"]
        assert "<td>learning_rate</td>" in text["text"]
