"""A run that is conditioned on a label and a map: trained from arrays, used by the commands."""

import json

import numpy as np
import pytest
from command_line import done, one_line, read_rows
from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.models.archive import load_trained_model

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

RNG = np.random.default_rng(0)
MAPS = RNG.integers(0, 256, (24, 4, 4)).astype("uint8")
LABELS = np.arange(24) % 2
IMAGES = np.where((MAPS > 127) == LABELS[:, None, None].astype(bool), 255, 0).astype("uint8")


@pytest.fixture(scope="module")
def run_of_both(run_of_arrays):
    splits = {"x_train": IMAGES, "maps_train": MAPS, "y_train": LABELS}
    splits |= {"x_val": IMAGES[:6], "maps_val": MAPS[:6], "y_val": LABELS[:6]}
    return run_of_arrays({**splits, "class_names": np.array(["inverse", "copy"])}, sample_every=1)


def test_a_run_is_conditioned_on_all_that_the_data_have(run_of_both):
    model = load_trained_model(run_of_both.model_keras)
    assert [part.kind for part in model.conditions] == ["labels", "maps"]
    assert model.class_names == ("inverse", "copy")
    data = run_of_both.load_data()
    images = data.split("validation")
    assert run_of_both.trained_on(images).all()  # they are also in the split train
    others = images.take(slice(None))
    others.given["map"] = 255 - images.given["map"]
    assert not run_of_both.trained_on(others).any()


def test_commands_take_a_label_and_a_map(run_of_both, pixelcnnpp, tmp_path):
    np.save(tmp_path / "map.npy", MAPS[0])
    images, scores = tmp_path / "images", tmp_path / "scores.csv"
    images.mkdir()
    Image.fromarray(IMAGES[0]).save(images / "one.png")
    named, given = ("--run", run_of_both.path), ("--map", tmp_path / "map.npy")
    model = load_trained_model(run_of_both.model_keras)
    samples = ("--label", "copy", "--seed", "0", "--count", "3", "--output", tmp_path / "s.npy")
    done(pixelcnnpp("sample", *named, *given, *samples))
    expected = model.sample((1, MAPS[:1].repeat(3, axis=0)), seed=0)
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), expected)
    every = done(
        pixelcnnpp("sample", *named, *given, "--count", "2", "--output", tmp_path / "s.png")
    )
    assert "inverse, copy" in every
    completed = "--output", tmp_path / "completed.png"
    done(pixelcnnpp("complete", images / "one.png", *named, *given, "--label", "copy", *completed))
    done(pixelcnnpp("score", *named, *given, "--data", images, "--output", scores))
    (row,) = read_rows(scores)
    log_prob = model.log_prob(IMAGES[:1, ..., None], MAPS[:1])[0]
    assert float(row["log_prob"]) == pytest.approx(log_prob, rel=1e-5)
    probabilities = model.class_probabilities(IMAGES[:1, ..., None], condition=MAPS[:1])[0]
    found = [float(row["p_0"]), float(row["p_1"])]
    np.testing.assert_allclose(found, probabilities, rtol=1e-5)
    printed = done(pixelcnnpp("classify", images, *named, *given))
    assert f"{probabilities.max():.1%}" in printed
    one_line(pixelcnnpp("sample", *named), "Missing option --map")
    one_line(pixelcnnpp("compress", images, *named, "--output", tmp_path / "i.pxc"), "maps")
    one_line(pixelcnnpp("evaluate", "generation", *named), "conditioned on 2 classes and maps")


def test_evaluate_classifies_given_the_map(run_of_both, pixelcnnpp):
    done(pixelcnnpp("evaluate", "classification", "--run", run_of_both.path))
    report = json.loads((run_of_both.reports / "classification.json").read_text())
    model = load_trained_model(run_of_both.model_keras)
    found = model.class_probabilities(IMAGES[:6, ..., None], condition=MAPS[:6]).argmax(axis=1)
    accuracy = report["models"]["pixelcnnpp"]["accuracy"]
    value = accuracy["value"] if isinstance(accuracy, dict) else accuracy
    assert value == pytest.approx(np.mean(found == LABELS[:6]))


@pytest.mark.tensorflow
def test_a_saved_model_takes_both(run_of_both, pixelcnnpp):
    done(pixelcnnpp("export", "--run", run_of_both.path))
    model = load_trained_model(run_of_both.model_keras)
    served = SavedModelClassifier(run_of_both.savedmodel)
    images, maps, labels = IMAGES[:3, ..., None], MAPS[:3, ..., None], LABELS[:3]
    found = served.call("log_prob", images=images, labels=labels, maps=maps)["log_likelihood"]
    np.testing.assert_allclose(found, model.log_prob(images, (labels, maps)), rtol=1e-5)
    classified = served.call("classify", images=images, maps=maps)["probabilities"]
    expected = model.class_probabilities(images, condition=maps)
    np.testing.assert_allclose(classified, expected, rtol=1e-4)
    assert served.sample((-1, maps), seed=0).shape == images.shape
    completed = served.complete(images, 2, (labels, maps))
    np.testing.assert_array_equal(completed[:, :2], images[:, :2])
    with pytest.raises(Exception, match="labels must be from 0 to 1"):
        served.call("log_prob", images=images, labels=labels + 1, maps=maps)


def test_pairs_in_folders_of_classes(tmp_path):
    for row in range(12):
        for kind, values in (("images", IMAGES), ("maps", MAPS)):
            folder = tmp_path / kind / ("copy" if LABELS[row] else "inverse")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values[row]).save(folder / f"{row}.png")
    dataset = load_dataset(tmp_path, channels=1, make_splits=False)
    split = dataset.split("all")
    assert dataset.class_names == ("copy", "inverse")
    assert dataset.conditions.description == "2 classes and maps (h0)"
    rows = np.array([int(path.rpartition("/")[2].removesuffix(".png")) for path in split.paths])
    np.testing.assert_array_equal(split.labels, 1 - LABELS[rows])
    np.testing.assert_array_equal(split.given["map"][..., 0], MAPS[rows])
