import subprocess
import sys
import textwrap

import hostile
import numpy as np
import pytest
import tiny
from scipy.stats import chisquare

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.images import png_bytes, read_image, to_levels, to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import (
    ExportedModel,
    SavedModelClassifier,
    sample_exported,
    version_folder,
)
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def test_signatures(savedmodel):
    signatures = tf.saved_model.load(str(savedmodel / "1")).signatures
    inputs = {
        name: {
            argument: (spec.dtype.name, spec.shape.as_list())
            for argument, spec in signature.structured_input_signature[1].items()
        }
        for name, signature in signatures.items()
    }
    images = {"images": ("uint8", [None, 4, 4, 1])}
    assert inputs == {
        "serving_default": images,
        "classify": images,
        "classify_bytes": {"image_bytes": ("string", [None])},
        "log_prob": {**images, "labels": ("int32", [None])},
        "sample": {
            "labels": ("int32", [None]),
            "seed": ("int32", []),
            "temperature": ("float32", []),
        },
    }
    outputs = {
        name: (spec.dtype.name, spec.shape.as_list())
        for name, spec in signatures["serving_default"].structured_outputs.items()
    }
    assert outputs == {
        "class_id": ("int32", [None]),
        "probabilities": ("float32", [None, 3]),
        "log_likelihood": ("float32", [None, 3]),
        "bits_per_dim": ("float32", [None]),
    }


@pytest.mark.parametrize("at_once", [1, 3 * 16 * 4, 2**16], ids=["singly", "by four", "together"])
def test_classifier_agrees_with_the_model(trained, tmp_path, monkeypatch, at_once):
    """Whatever the size of the parts that a batch is worked through in."""
    from keras_pixelcnnpp.export import endpoints

    monkeypatch.setattr(endpoints, "_PIXELS_AT_ONCE", at_once)
    trained.export(tmp_path / "1")
    images = tiny.tiny_split(10).images
    classifier = SavedModelClassifier(tmp_path)
    scores, probabilities = PixelCNNClassifier(trained).class_scores(images)
    result = classifier.classify(images)
    assert classifier.class_names == ("Class0", "Class1", "Class2")
    # Of hundreds of nats, float32 has 3e-5 steps, and sums of another order.
    assert result["log_likelihood"] == pytest.approx(scores, rel=1e-6, abs=1e-4)
    assert result["probabilities"] == pytest.approx(probabilities, abs=1e-4)
    assert result["bits_per_dim"] == pytest.approx(trained.bits_per_dim(images), abs=1e-5)
    assert (result["class_id"] == probabilities.argmax(axis=1)).all()
    assert (classifier.predict(images) == result["class_id"]).all()


def test_bytes_agree_with_levels(savedmodel):
    images = tiny.tiny_split(5).images
    contents = [png_bytes(pixels) for pixels in to_pixels(images, 5)]
    classifier = SavedModelClassifier(savedmodel)
    expected = classifier.classify(images)["probabilities"]
    assert classifier.classify_bytes(contents)["probabilities"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("resize", ["crop", "squeeze"])
def test_reads_other_shapes_as_its_run_did(trained, tmp_path, resize):
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    run = {} if resize == "squeeze" else {"resize": resize}  # runs of before squeezed
    export_saved_model(trained, tmp_path / "1", config={"data": run})
    wide = np.random.default_rng(0).integers(0, 256, (4, 12, 1), dtype="uint8")
    classifier = SavedModelClassifier(tmp_path)
    assert classifier.resize == resize
    levels = to_levels(read_image(png_bytes(wide), (4, 4, 1), resize), 5)
    expected = trained.class_log_likelihoods(levels[None])[0]
    scores = classifier.classify_bytes([png_bytes(wide)])["log_likelihood"][0]
    assert scores == pytest.approx(expected, rel=1e-4)


def test_bad_picture_in_a_batch(savedmodel):
    good = [hostile.png(4, 4, data=bytes([0, row, 9, 99, 200] * 4)) for row in range(3)]
    bad = [b"", good[0][:40], hostile.png(60_000, 60_000)]
    classifier = SavedModelClassifier(savedmodel)
    expected = classifier.classify_bytes(good)
    received = classifier.classify_bytes([bad[0], good[0], bad[1], good[1], good[2], bad[2]])
    for name, values in received.items():
        assert values[[1, 3, 4]] == pytest.approx(expected[name], abs=1e-4)
        nothing = -1 if name == "class_id" else np.nan
        np.testing.assert_array_equal(values[[0, 2, 5]], np.full_like(values[[0, 2, 5]], nothing))
    assert (classifier.classify_bytes(bad)["class_id"] == -1).all()


def test_no_pictures(savedmodel):
    classifier = SavedModelClassifier(savedmodel)
    assert classifier.predict_proba(np.zeros((0, 4, 4, 1), "uint8")).shape == (0, 3)
    assert classifier.classify_bytes([])["class_id"].shape == (0,)
    assert sample_exported(ExportedModel(savedmodel), np.zeros(0, int)).levels.shape == (0, 4, 4, 1)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 4, 5, 1), "uint8")]
)
def test_classifier_refuses_other_arrays(savedmodel, images):
    with pytest.raises(ValueError, match=r"`images`. Expected"):
        SavedModelClassifier(savedmodel).classify(images)


IMAGES = np.zeros((2, 4, 4, 1), "uint8")


@pytest.mark.parametrize(
    ("endpoint", "changes", "message"),
    [
        ("classify", {"images": IMAGES[0]}, r"images.* \[4,4,1\] .*expected shape \[\?,4,4,1\]"),
        (
            "classify",
            {"images": IMAGES.reshape(1, 4, 8, 1)},
            r"images.* \[1,4,8,1\] .*\[\?,4,4,1\]",
        ),
        (
            "classify",
            {"images": IMAGES.reshape(4, 2, 4, 1)},
            r"images.* \[4,2,4,1\] .*\[\?,4,4,1\]",
        ),
        ("classify", {"images": IMAGES + 5}, "images must be levels from 0 to 4"),
        ("classify_bytes", {"image_bytes": b"one"}, r"image_bytes.* \[\] .*expected shape \[\?\]"),
        ("log_prob", {"images": IMAGES[:, :3]}, r"images.* \[2,3,4,1\] .*\[\?,4,4,1\]"),
        ("log_prob", {"labels": np.zeros((2, 1), "int32")}, r"labels.* \[2,1\] .*shape \[\?\]"),
        ("log_prob", {"labels": np.int32([0, 1, 2])}, "Expected one label for each picture"),
        ("log_prob", {"labels": np.int32([0, 3])}, "labels must be from 0 to 2"),
        ("sample", {"labels": np.int32(1)}, r"labels.* \[\] .*expected shape \[\?\]"),
        ("sample", {"labels": np.int32([-1])}, "labels must be from 0 to 2"),
        ("sample", {"seed": np.int32([1, 2])}, r"seed.* \[2\] .*expected shape \[\]"),
        ("sample", {"temperature": np.float32([1])}, r"temperature.* \[1\] .*expected shape \[\]"),
        ("sample", {"temperature": np.float32(0)}, "temperature must be positive"),
        ("sample", {"temperature": np.float32(np.nan)}, "temperature must be positive"),
    ],
)
def test_the_graph_says_what_it_refuses(exported, endpoint, changes, message):
    good = {
        "images": IMAGES,
        "image_bytes": [b""],
        "labels": np.int32([0, 1]),
        "seed": np.int32(0),
        "temperature": np.float32(1),
    }
    inputs = {name: {**good, **changes}[name] for name in exported.inputs(endpoint)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        exported.call(endpoint, **inputs)


def test_names_and_configuration_travel_along(trained, tmp_path):
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    export_saved_model(trained, tmp_path, ["a", "b", "ü"], {"pixelcnnpp": {"options": {"seed": 0}}})
    assert (tmp_path / "assets" / "class_names.txt").read_text(encoding="utf-8") == "a\nb\nü\n"
    config = ExportedModel(tmp_path).config
    assert config["pixelcnnpp"] == {"options": {"seed": 0}}
    assert config["num_levels"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0, "conditioning": "none"}, "without labels cannot be exported"),
        ({"image_shape": (4, 4, 2)}, "1 or 3 channels.*has 2"),
    ],
)
def test_what_cannot_be_exported(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        tiny.untrained_model(**arguments).export(tmp_path / "1")
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("arguments", "backend", "message"),
    [
        ({"format": "onnx"}, "tensorflow", "Expected 'tf_saved_model'.*format='onnx'"),
        ({"class_names": ["one"]}, "tensorflow", r"Expected 3 names.*class_names=\['one'\]"),
        ({}, "jax", "this process runs jax.*KERAS_BACKEND=tensorflow"),
    ],
)
def test_bad_exports(trained, tmp_path, monkeypatch, arguments, backend, message):
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    with pytest.raises(UserError, match=message):
        trained.export(tmp_path / "1", **arguments)
    assert not (tmp_path / "1").exists()


def test_newest_version_is_taken(tmp_path):
    folder = tmp_path / "savedmodel"
    for version in ("1", "2", "10", "other"):
        (folder / version / "assets").mkdir(parents=True)
        (folder / version / "assets" / "config.json").touch()
        (folder / version / "saved_model.pb").touch()
    for path in (tmp_path, folder):
        assert version_folder(path) == folder / "10"
    assert version_folder(folder / "2") == folder / "2"
    with pytest.raises(UserError, match="No SavedModel of this package"):
        version_folder(folder / "1" / "assets")


# Where this package, and scikit-learn, are not.
BLOCKED = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("keras_pixelcnnpp", "sklearn"):
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Blocker())
    import numpy as np
    import tensorflow as tf
"""

ALONE = (
    BLOCKED
    + """
    loaded = tf.saved_model.load(sys.argv[1])
    images = np.load(sys.argv[2])
    likelihoods = {}
    for count in (1, 7, 64):
        batch = tf.constant(images[:count])
        result = loaded.signatures["serving_default"](images=batch)
        likelihoods[str(count)] = result["log_likelihood"].numpy()
        alone = loaded.signatures["log_prob"](images=batch, labels=tf.ones(count, tf.int32))
        difference = alone["log_likelihood"] - result["log_likelihood"][:, 1]
        assert np.abs(difference).max() < 1e-4
    np.savez(sys.argv[3], **likelihoods)
    bad = loaded.signatures["classify_bytes"](image_bytes=tf.constant([b"no picture"]))
    assert bad["class_id"].numpy().tolist() == [-1]
    assert all(np.isnan(bad[name]).all() for name in bad if name != "class_id")
    assert not [name for name in sys.modules if name.startswith("keras_pixelcnnpp")]
"""
)


def test_works_where_this_package_is_not(trained, savedmodel, tmp_path):
    images = tiny.tiny_split(64).images
    np.save(tmp_path / "images.npy", images)
    script = tmp_path / "alone.py"
    script.write_text(textwrap.dedent(ALONE))
    arguments = [script, savedmodel / "1", tmp_path / "images.npy", tmp_path / "result.npz"]
    subprocess.run([sys.executable, *map(str, arguments)], check=True)
    expected = trained.class_log_likelihoods(images)
    with np.load(tmp_path / "result.npz") as result:
        for count in (1, 7, 64):
            assert result[str(count)] == pytest.approx(expected[:count], abs=1e-4)


COUNT = 20_000
NUM_LEVELS = 4

DRAWS_ALONE = (
    BLOCKED
    + """    loaded = tf.saved_model.load(sys.argv[1])

    def draw(count, seed, temperature=1.0):
        return loaded.signatures["sample"](
            labels=tf.range(count) % 2,
            seed=tf.constant(seed),
            temperature=tf.constant(temperature),
        )["images"].numpy()

    one, seven = draw(1, 5), draw(7, 5)
    assert one.shape == (1, 2, 2, 1) and one.dtype == np.uint8
    assert (one == seven[:1]).all()
    assert (draw(7, 5) == seven).all()
    assert (draw(64, 6) != draw(64, 5)).any()
    warm, cold = (draw(64, 5, temperature).reshape(32, 2, -1) for temperature in (1.0, 1e-6))
    assert (cold == cold[:1]).all() and (warm != warm[:1]).any()
    np.save(sys.argv[2], draw(int(sys.argv[3]), 5))
"""
)


@pytest.fixture(scope="module")
def few_pictures(tmp_path_factory):
    """A model of 2×2 pictures, few enough to list them all, and where it was exported to."""
    model = PixelCNNPlusPlus(
        (2, 2, 1), 2, NUM_LEVELS, filters=4, num_mixtures=2, num_resolutions=1, conditioning="bias"
    )
    rng = np.random.default_rng(0)
    model.initialize(rng.integers(0, NUM_LEVELS, (32, 2, 2, 1)), rng.integers(0, 2, 32))
    for variable in model.trainable_variables:
        variable.assign_add(0.2 * rng.standard_normal(variable.shape))
    path = tmp_path_factory.mktemp("run") / "savedmodel" / "1"
    model.export(path)
    return model, path


def test_draws_follow_log_prob_where_this_package_is_not(few_pictures, tmp_path):
    model, path = few_pictures
    script = tmp_path / "alone.py"
    script.write_text(textwrap.dedent(DRAWS_ALONE))
    result = tmp_path / "images.npy"
    arguments = [script, path, result, COUNT]
    subprocess.run([sys.executable, *map(str, arguments)], check=True)
    images = np.load(result).reshape(COUNT, 4)
    places = NUM_LEVELS ** np.arange(4)
    pictures = (np.arange(NUM_LEVELS**4)[:, None] // places % NUM_LEVELS).astype("uint8")
    for label in range(2):
        counts = np.bincount(images[label::2] @ places, minlength=NUM_LEVELS**4)
        log_prob = model.log_prob(pictures.reshape(-1, 2, 2, 1), label, batch_size=256)
        expected = np.exp(log_prob.astype("float64"))
        expected *= counts.sum() / expected.sum()
        rare = expected < 5
        counts = [*counts[~rare], counts[rare].sum()]
        expected = [*expected[~rare], expected[rare].sum()]
        assert chisquare(counts, expected).pvalue > 0.001


def test_batches_do_not_repeat(exported):
    levels = sample_exported(exported, np.zeros(96, int), seed=0, batch_size=32).levels
    first, second, third = levels.reshape(3, 32, -1)
    other = sample_exported(exported, np.zeros(32, int), seed=1).levels.reshape(32, -1)
    assert not any((a == b).all() for a, b in ((first, second), (second, third), (second, other)))
