import io
import json
import signal

import pictures
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.train import fusion as training_of_fusion
from keras_pixelcnnpp.train.fusion import Trial, fusion_png, plan, summarize
from keras_pixelcnnpp.train.stopping import TrainingStopped

PRESET = {
    "model": {"image_shape": [4, 4, 1], "num_classes": 3, "num_levels": 5, **tiny.MODEL},
    "training": {"epochs": 2, "batch_size": 12, "learning_rate": 0.01, "warmup_epochs": 1},
}


def result(strategy, seed, accuracy, seconds=2.0):
    return {
        "strategy": strategy,
        "objective": "hybrid",
        "seed": seed,
        "parameters": 7,
        "seconds_per_epoch": seconds,
        "count": 10,
        "accuracy": accuracy,
        "accuracy_ci95": [0.0, 1.0],
        "log_loss": 1.0,
        "ece": 0.1,
        "bits_per_dim": 3.0 + seed,
    }


def test_every_strategy_gets_the_same_seeds_and_objectives():
    trials = plan(["bias", "film+spatial"], ["likelihood", "hybrid"], seeds=2)
    assert len(set(trials)) == 8
    assert trials[0] == Trial("bias", "likelihood", 0)
    assert [trial.seed for trial in trials] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("strategies", "objectives", "message"),
    [
        (["bias", "biass"], ["hybrid"], "biass"),
        (["none"], ["hybrid"], "without labels"),
        (["bias"], ["hybrids"], "Expected one of: likelihood, hybrid. Received: hybrids"),
    ],
)
def test_unknown_names(strategies, objectives, message):
    with pytest.raises(UserError, match=message):
        plan(strategies, objectives, 1)


def test_rows_are_means_over_seeds():
    results = [result("bias", 0, 0.5), result("film", 0, 0.9, None), result("bias", 1, 0.7)]
    bias, film = summarize(results)
    assert bias["strategy"] == "bias"
    assert bias["accuracy"] == pytest.approx(0.6)
    assert bias["accuracies"] == [0.5, 0.7]
    assert bias["bits_per_dim"] == pytest.approx(3.5)
    # Wilson's interval of 6 of 10, from its formula.
    assert bias["accuracy_ci95"] == pytest.approx([0.3127, 0.8318], abs=1e-4)
    assert film["seconds_per_epoch"] is None


def test_figure_is_a_png():
    rows = summarize([result("bias", 0, 0.5), result("film", 0, 0.9)])
    with Image.open(io.BytesIO(fusion_png(rows))) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200


def test_crops_of_the_preset_come_from_larger_pictures(tmp_path, pixelcnnpp, monkeypatch):
    data = pictures.write_course_folder(tmp_path / "data")
    training = {**PRESET["training"], "crop_margin": 2}
    model = {**PRESET["model"], "image_shape": [4, 4, 3], "num_classes": 2, "num_levels": 256}
    write_json(tmp_path / "preset" / "config.json", {"model": model, "training": training})
    sizes = []

    def train(dataset, *arguments, larger, **options):
        sizes.append((dataset.image_shape, larger.images.shape))
        raise TrainingStopped(signal.SIGINT)

    monkeypatch.setattr(training_of_fusion, "train_pixelcnnpp", train)
    command = ("train", "fusion", "--data", data, "--run", tmp_path, "--image-size", 4)
    status, _, _ = pixelcnnpp(*command, "--preset", tmp_path / "preset")
    assert status == 130
    assert sizes == [((4, 4, 3), (20, 6, 6, 3))]


@pytest.mark.parametrize(("checkpoint", "expected"), [(False, 2), (True, 1)])
def test_epochs_by_likelihood_of_a_trial_that_was_killed(
    tmp_path, pixelcnnpp, monkeypatch, checkpoint, expected
):
    """With a checkpoint they stay what they were; without one half of the epochs asked now."""
    write_json(tmp_path / "preset" / "config.json", PRESET)
    data = tiny.save_npz(tmp_path / "data.npz")
    trained = []

    def train(dataset, folder, model_options, training, data_config, *, resume, **_):
        trained.append((training["warmup_epochs"], resume))
        options = {**model_options, **training}
        config = {"pixelcnnpp": {"options": options}, "data": data_config}
        write_json(folder.config_json, config)
        if checkpoint:
            write_json(folder.checkpoints("pixelcnnpp") / "epoch-0001.json", {})
        raise TrainingStopped(signal.SIGKILL)

    monkeypatch.setattr(training_of_fusion, "train_pixelcnnpp", train)
    command = ["train", "fusion", "--data", data, "--run", tmp_path / "run"]
    command += ["--preset", tmp_path / "preset", "--strategy", "bias", "--objective", "hybrid"]
    pixelcnnpp(*command)
    pixelcnnpp(*command, "--epochs", 4)
    assert trained == [(1, False), (expected, checkpoint)]


@pytest.mark.slow
def test_command_writes_a_table_and_keeps_what_is_finished(tmp_path, pixelcnnpp):
    write_json(tmp_path / "preset" / "config.json", PRESET)
    data = tiny.save_npz(tmp_path / "data.npz")
    run = tmp_path / "run"
    command = ["train", "fusion", "--data", data, "--run", run, "--preset", tmp_path / "preset"]
    command += ["--strategy", "bias"]

    status, out, _ = pixelcnnpp(*command, "--objective", "hybrid")
    assert status == 0
    assert "bias, hybrid, seed 0" in out
    first = json.loads((run / "reports" / "fusion.json").read_text())
    weights = run / "trials" / "bias-hybrid-0" / "model.keras"
    written = weights.stat().st_mtime_ns

    status, out, _ = pixelcnnpp(*command)
    assert status == 0
    assert "bias, hybrid, seed 0" not in out
    assert weights.stat().st_mtime_ns == written
    report = json.loads((run / "reports" / "fusion.json").read_text())
    assert [row["objective"] for row in report["rows"]] == ["likelihood", "hybrid"]
    assert report["rows"][1] == first["rows"][0]
    assert first["options"]["objective"] == ["hybrid"]
    assert report["options"]["strategy"] == ["bias"]
    assert report["rows"][0]["seconds_per_epoch"] > 0
    likelihood, hybrid = (
        json.loads((run / "trials" / f"bias-{name}-0" / "config.json").read_text())
        for name in ("likelihood", "hybrid")
    )
    assert likelihood["pixelcnnpp"]["options"]["candidates"] == 1
    assert hybrid["pixelcnnpp"]["options"]["candidates"] == 3
    assert hybrid["pixelcnnpp"]["options"]["label_loss_weight"] == 0.05
    assert (run / "reports" / "fusion.png").exists()

    one_line(pixelcnnpp(*command, "--split", "test"), "no labelled picture to measure on")
    status, _, err = pixelcnnpp(*command, "--batch-size", 6)
    assert status == 2
    assert "another configuration" in err
