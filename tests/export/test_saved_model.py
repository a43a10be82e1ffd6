"""A SavedModel agrees with its model, rejects invalid input, and works without the package."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import enumeration
import hostile
import keras
import numpy as np
import pytest
import tiny
from layer_checks import randomize
from sklearn.base import clone

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.images import png_bytes, read_image
from keras_pixelcnnpp.estimators.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier, version_folder
from keras_pixelcnnpp.savedmodel.serving import predict
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import write_json

tf = pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.once]


RANDOM = {"seed": "int32 []", "temperature": "float32 []"}


def test_signatures(exported):
    def described(specs):
        return {
            name: f"{spec.dtype.name} {spec.shape.as_list()}".replace("None", "B")
            for name, spec in specs.items()
        }

    images = {"images": "uint8 [B, 4, 4, 1]"}
    assert {name: described(exported.inputs(name)) for name in exported.endpoints} == {
        "serving_default": images,
        "classify": images,
        "classify_bytes": {"image_bytes": "string [B]"},
        "log_prob": {**images, "labels": "int32 [B]"},
        "sample": {"labels": "int32 [B]", **RANDOM},
        "complete": {**images, "labels": "int32 [B]", "observed_rows": "int32 []", **RANDOM},
    }
    outputs = exported._loaded.signatures["serving_default"].structured_outputs
    assert described(outputs) == {
        "class_id": "int32 [B]",
        "probabilities": "float32 [B, 3]",
        "log_likelihood": "float32 [B, 3]",
        "bits_per_dim": "float32 [B]",
    }


def test_classifier_agrees_with_the_model(trained, exported):
    """The graph scores four images at a time."""
    images = tiny.tiny_split(10).images
    scores = trained.class_log_likelihoods(images)
    probabilities = PixelCNNClassifier(trained).predict_proba(images)
    result = exported.classify(images)
    # At hundreds of nats, float32 has a resolution of 3e-5, and sums have another order.
    assert result["log_likelihood"] == pytest.approx(scores, rel=1e-6, abs=1e-4)
    assert result["probabilities"] == pytest.approx(probabilities, abs=1e-4)
    assert result["bits_per_dim"] == pytest.approx(trained.bits_per_dim(images), rel=2e-6)
    assert (result["class_id"] == probabilities.argmax(axis=1)).all()
    assert (exported.predict(images) == result["class_id"]).all()
    one = exported.call("log_prob", images=images, labels=np.full(10, 1, "int64"))
    assert one["log_likelihood"] == pytest.approx(scores[:, 1], rel=1e-6, abs=1e-4)
    for wrong in (images / 255, images.astype("int32") + 256):
        with pytest.raises(UserError, match=r"`images`\. Expected integers in the range of uint8"):
            exported.call("log_prob", images=wrong, labels=np.full(10, 1))


def test_samples_are_the_same_in_parts_of_any_size(exported):
    """The graph samples three images at a time."""
    labels = np.arange(8) % 3
    together = exported.sample(labels, seed=5)
    np.testing.assert_array_equal(exported.sample(labels[:4], seed=5), together[:4])
    np.testing.assert_array_equal(exported.sample(["dark", "gray"], seed=5), together[:2])
    with pytest.raises(ValueError, match="Expected 1 integers"):
        exported.sample([0.9])
    with pytest.raises(ValueError, match="integers from -1 to 2"):
        exported.sample([-2])
    any_class = exported.sample([-1] * 8, seed=5)  # each image is a sample of some class
    each = np.stack([exported.sample([label] * 8, seed=5) for label in range(3)])
    same = np.all(each == any_class, axis=(2, 3, 4))
    assert (same.any(axis=0)).all()
    assert len(set(same.argmax(axis=0))) > 1
    images = tiny.tiny_split(8).images
    completed = exported.complete(images, 2, labels, seed=5)
    again = exported.complete(images[:2], 2, labels[:2], seed=5)
    np.testing.assert_array_equal(again, completed[:2])
    np.testing.assert_array_equal(completed[:, :2], images[:, :2])
    np.testing.assert_array_equal(exported.complete(images, 0, labels, seed=5), together)
    np.testing.assert_array_equal(exported.complete(images, 4, "dark"), images)
    for wrong in ({"temperature": 0.0}, {"seed": -1}, {"seed": 2**31}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            exported.sample([0], **wrong)


def test_reads_other_shapes_as_its_run_did_and_knows_names(pixelcnnpp, savedmodel, tmp_path):
    """The second export replaces the first."""
    folder = tmp_path / "savedmodel"
    shutil.copytree(savedmodel, folder)
    data = tiny.tiny_data_config(tiny.tiny_dataset()) | {"resize": "stretch"}
    config = {"data": data, "pixelcnnpp": {"options": {"seed": 0}}}
    write_json(tmp_path / "config.json", config)
    trained = tiny.tiny_model(tiny.untrained_pixelcnn, class_names=["a", "b", "ü"])
    trained.save(tmp_path / "model.keras")
    assert pixelcnnpp("export", "--run", tmp_path)[0] == 0
    names = folder / "1" / "assets" / "class_names.txt"
    assert names.read_text(encoding="utf-8") == "a\nb\nü\n"
    classifier = SavedModelClassifier(folder)
    assert classifier.class_names == ("a", "b", "ü")
    assert classifier.config["pixelcnnpp"] == {"options": {"seed": 0}}
    wide = np.random.default_rng(0).integers(0, 256, (4, 12, 1), dtype="uint8")
    image = read_image(png_bytes(wide), (4, 4, 1), "stretch")
    expected = trained.class_log_likelihoods(image[None])[0]
    scores = classifier.classify_bytes([png_bytes(wide)])["log_likelihood"][0]
    assert scores == pytest.approx(expected, rel=1e-4)


def test_bad_image_in_a_batch(exported):
    good = [hostile.png(4, 4, data=bytes([0, row, 9, 99, 200] * 4)) for row in range(3)]
    bad = [b"", good[0][:40], hostile.png(60_000, 60_000)]
    expected = exported.classify_bytes(good)
    received = exported.classify_bytes([bad[0], good[0], bad[1], good[1], good[2], bad[2]])
    for name, values in received.items():
        assert values[[1, 3, 4]] == pytest.approx(expected[name], abs=1e-4)
        nothing = -1 if name == "class_id" else np.nan
        np.testing.assert_array_equal(values[[0, 2, 5]], np.full_like(values[[0, 2, 5]], nothing))
    assert (exported.classify_bytes(bad)["class_id"] == -1).all()


def test_no_images(exported):
    with pytest.raises(ValueError, match="0 sample"):  # like the classifiers of scikit-learn
        exported.predict_proba(np.zeros((0, 4, 4, 1), "uint8"))
    assert exported.classify_bytes([])["class_id"].shape == (0,)
    assert exported.sample([]).shape == (0, 4, 4, 1)


IMAGES = np.zeros((2, 4, 4, 1), "uint8")


@pytest.mark.parametrize(
    ("endpoint", "changes", "message"),
    [
        ("classify", {"images": IMAGES[0]}, r"images.* \[4,4,1\] .*expected shape \[\?,4,4,1\]"),
        ("classify_bytes", {"image_bytes": b"one"}, r"image_bytes.* \[\] .*expected shape \[\?\]"),
        ("log_prob", {"labels": np.int32([0, 1, 2])}, "Expected one label for each image"),
        ("log_prob", {"labels": np.int32([0, 3])}, "labels must be from 0 to 2"),
        ("sample", {"labels": np.int32([-2])}, "labels must be from -1 to 2"),
        ("sample", {"temperature": np.float32(0)}, "temperature must be positive"),
        ("sample", {"temperature": np.float32(np.nan)}, "temperature must be positive"),
        ("complete", {"observed_rows": np.int32(5)}, "observed_rows must be from 0 to 4"),
        ("complete", {"labels": np.int32([-1, 0])}, "labels must be from 0 to 2"),
    ],
)
def test_the_graph_says_what_it_refuses(exported, endpoint, changes, message):
    good = {
        "images": IMAGES,
        "image_bytes": [b""],
        "labels": np.int32([0, 1]),
        "observed_rows": np.int32(2),
        "seed": np.int32(0),
        "temperature": np.float32(1),
    }
    inputs = {name: {**good, **changes}[name] for name in exported.inputs(endpoint)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        exported.call(endpoint, **inputs)


@pytest.mark.parametrize(
    ("model", "arguments", "backend", "message"),
    [
        ({}, {"format": "onnx"}, "tensorflow", "Expected one of: tf_saved_model.*format='onnx'"),
        ({}, {}, "jax", "KERAS_BACKEND=tensorflow"),
    ],
)
def test_what_is_not_exported(tmp_path, monkeypatch, model, arguments, backend, message):
    made = tiny.untrained_pixelcnn(**model)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(UserError, match=message):
        made.export(tmp_path / "1", **arguments)
    assert not (tmp_path / "1").exists()


def test_without_classes_and_with_two_channels(tmp_path, rng):
    images = rng.integers(0, 256, (3, 4, 4, 2), dtype="uint8")
    none = np.full(3, -1, "int32")
    model = tiny.untrained_pixelcnn(image_shape=(4, 4, 2), num_classes=0)
    model.export(tmp_path / "1")
    exported = SavedModelClassifier(tmp_path)
    assert {*exported.endpoints} == {"serving_default", "log_prob", "sample", "complete"}
    found = exported.call("log_prob", images=images, labels=none)["log_likelihood"]
    assert found == pytest.approx(model.log_prob(images), rel=1e-5)
    sampled = exported.sample(3)
    assert (sampled.shape, sampled.dtype) == ((3, 4, 4, 2), np.uint8)
    completed = exported.complete(images, 0)  # with the noise of samples, of which none is known
    np.testing.assert_array_equal(completed, sampled)


def test_of_vectors(tmp_path):
    """Scores are the model's, samples follow them, and a server takes vectors."""
    conditions = kp.Vectors(2, low=[0.2, -0.3], high=[0.6, 0.3], names=["beta", "field"])
    options = {"conditions": conditions, "num_levels": 2, "filters": 4, "num_blocks": 1}
    model = randomize(kp.GatedPixelCNN((2, 2, 1), **options))
    model.export(tmp_path / "1")
    exported = SavedModelClassifier(tmp_path)
    assert {*exported.endpoints} == {"serving_default", "log_prob", "sample", "complete"}
    images = enumeration.binary_images((2, 2, 1))
    vectors = np.tile(np.float32([[0.3, 0.1], [0.6, -0.3]]), (8, 1))
    found = exported.call("log_prob", images=images, vectors=vectors)["log_likelihood"]
    np.testing.assert_allclose(found, model.log_prob(images, vectors), rtol=1e-5)
    inputs = {"images": images.tolist(), "vectors": vectors.tolist()}
    answer = predict(exported, {"inputs": inputs})["outputs"]
    np.testing.assert_allclose(answer, found, rtol=1e-6)
    samples = exported.sample(vectors[:2].repeat(4000, axis=0), seed=1)
    for some, vector in zip(np.split(samples, 2), vectors, strict=False):
        law = model.log_prob(images, vector).astype("float64")
        assert enumeration.chi_square_of_binary(some, law) > 1e-3
    # The first row of image 9 is known: numbers 8 to 11.
    completed = exported.complete(images[9:10].repeat(4000, axis=0), 1, vectors[0], seed=1)
    numbers = completed.reshape(4000, 4) // 255 @ [8, 4, 2, 1]
    law = model.log_prob(images[8:12], vectors[0]).astype("float64")
    assert enumeration.chi_square_of_numbers(numbers - 8, law - np.logaddexp.reduce(law)) > 1e-3
    with pytest.raises(UserError, match=r"Invalid vectors.*\(1, 2\).*beta, field"):
        exported.sample([[0.3]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="vectors must be finite"):
        exported.call("log_prob", images=images[:1], vectors=[[np.nan, 0]])
    with pytest.raises(UserError, match=r"Expected one of: complete, log_prob.*classify"):
        exported.classify(images)


def test_of_codes_and_logarithms(tmp_path):
    """The graph refuses numbers that are no codes, and those without a logarithm."""
    conditions = [
        kp.Vectors(2, low=[1, 0], high=[2, 1], scale=["log", "linear"]),
        kp.Maps.of_codes((2, 2, 2), (300, 200)),
    ]
    options = {"conditions": conditions, "num_levels": 2, "filters": 4, "num_blocks": 1}
    model = randomize(kp.GatedPixelCNN((2, 2, 1), **options))
    model.export(tmp_path / "1")
    exported = SavedModelClassifier(tmp_path)
    images, vector = np.zeros((1, 2, 2, 1), "uint8"), [[1.5, 0.0]]
    codes = np.reshape([0, 5, 7, 199, 298, 0, 299, 1], (1, 2, 2, 2))

    def log_prob(vectors, maps):
        found = exported.call("log_prob", images=images, vectors=vectors, maps=maps)
        return found["log_likelihood"]

    expected = model.log_prob(images, (vector, codes))
    np.testing.assert_allclose(log_prob(vector, codes), expected, rtol=1e-5)
    message = r"maps must be codes from 0 to 299 \(h0\), 199 \(h1\)"
    for wrong in (codes - 1, np.add(codes, [0, 1]), codes + 0.5, codes * np.nan):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            log_prob(vector, wrong)
    message = "vectors must be finite numbers, positive"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        log_prob([[1.5, np.nan]], codes)
    outside = pytest.warns(UserWarning, match="h0 are outside of the range 1 to 2")
    with outside, pytest.raises(tf.errors.InvalidArgumentError, match=message):
        log_prob([[-1.0, 0.5]], codes)


def test_only_a_savedmodel_is_replaced(trained, tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match=r"new, empty or a SavedModel.*such as mine\.txt"):
            trained.export(path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "saved_model.pb"}


def test_an_export_that_fails_leaves_the_old_one(trained, tmp_path, monkeypatch):
    def save(module, folder, **how):
        (Path(folder) / "assets").mkdir(parents=True)
        raise OSError

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("old")
    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OSError):  # noqa: PT011 - any
        trained.export(tmp_path / "1")
    assert [*tmp_path.rglob("*")] == [tmp_path / "1", tmp_path / "1" / "saved_model.pb"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "old"


def test_it_is_loaded_at_its_first_use(savedmodel, tmp_path, monkeypatch):
    loads = []
    load = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or load(path))
    classifier = clone(SavedModelClassifier(tmp_path, batch_size=2))
    assert classifier.get_params() == {"path": tmp_path, "batch_size": 2}
    for use in (lambda: classifier.predict(IMAGES), classifier.load):
        with pytest.raises(UserError, match="No SavedModel of this package"):
            use()
    classifier.set_params(path=savedmodel)
    assert classifier.image_shape == (4, 4, 1)
    assert not loads
    for _ in range(2):
        classifier.predict(IMAGES)
    assert loads == [str(savedmodel / "1")]
    with pytest.raises(UserError, match="No SavedModel of this package"):
        classifier.set_params(path=tmp_path).predict(IMAGES)


def test_version_folder(tmp_path):
    folder = tmp_path / "savedmodel"
    for version in ("1", "2", "10", "backup"):
        (folder / version / "assets").mkdir(parents=True)
        (folder / version / "assets" / "config.json").touch()
        (folder / version / "saved_model.pb").touch()
    for path in (tmp_path, folder):
        assert version_folder(path) == folder / "10"
    assert version_folder(folder / "2") == folder / "2"
    with pytest.raises(UserError, match="No SavedModel of this package"):
        version_folder(folder / "1" / "assets")


# In an environment without this package.
DEEP = """
    import sys

    sys.modules["keras_pixelcnnpp"] = None  # to import it is an error
    import numpy as np
    import tensorflow as tf

    given = dict(np.load("given.npz"))
    served = tf.saved_model.load("1")
    found = {}
    for name in ("classify", "log_prob", "sample", "complete"):
        signature = served.signatures[name]
        specs = signature.structured_input_signature[1]
        outputs = signature(**{n: tf.constant(given[n], spec.dtype) for n, spec in specs.items()})
        found |= {f"{name}_{key}": value.numpy() for key, value in outputs.items()}
    np.savez("found.npz", **found)
"""


def exported_alone(model, given, folder):
    """Returns the outputs of a SavedModel's endpoints in a process without this package."""
    model.export(folder / "1")
    np.savez(folder / "given.npz", **given)
    (folder / "alone.py").write_text(textwrap.dedent(DEEP))
    subprocess.run([sys.executable, "alone.py"], check=True, cwd=folder)
    return dict(np.load(folder / "found.npz"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "levels",
    [
        {"num_levels": 257},
        {"num_levels": 4096},
        {"num_levels": 600, "ordered_levels": False},
        {"num_levels": 200, "ordered_levels": False},
    ],
    ids=lambda levels: f"{levels['num_levels']}{' codes' * ('ordered_levels' in levels)}",
)
def test_more_levels_and_codes_where_this_package_is_not(tmp_path, rng, levels):
    """Scores are the model's, known pixels are kept, and values out of range are refused."""
    count, options = levels["num_levels"], {"filters": 4, "num_blocks": 1, "dropout_rate": 0.0}
    model = randomize(kp.GatedPixelCNN((2, 2, 1), 2, **options, **levels), scale=0.3)
    dtype = "uint8" if count <= 256 else "uint16"
    images = rng.integers(0, count, (6, 2, 2, 1)).astype(dtype)
    labels = np.int32([0, 1, 0, 1, 0, 1])
    random = {"seed": np.int32(1), "temperature": np.float32(1)}
    given = {"images": images, "labels": labels, "observed_rows": np.int32(1), **random}
    found = exported_alone(model, given, tmp_path)
    scores = model.class_log_likelihoods(images)
    np.testing.assert_allclose(found["classify_log_likelihood"], scores, rtol=1e-6, atol=1e-5)
    of_label = scores[np.arange(6), labels]
    np.testing.assert_allclose(found["log_prob_log_likelihood"], of_label, rtol=1e-6, atol=1e-5)
    for name in ("sample_images", "complete_images"):
        assert (found[name].dtype, found[name].shape) == (dtype, images.shape)
        assert found[name].max() < count
    np.testing.assert_array_equal(found["complete_images"][:, :1], images[:, :1])
    exported = SavedModelClassifier(tmp_path)
    assert "classify_bytes" not in exported.endpoints
    np.testing.assert_array_equal(exported.sample(labels, seed=1), found["sample_images"])
    answer = predict(exported, {"inputs": {"images": images.tolist()}})["outputs"]
    assert answer["class_id"] == found["classify_class_id"].tolist()
    for endpoint, more in (("classify", {}), ("log_prob", {"labels": labels})):
        wrong = {"images": np.full_like(images, count), **more}
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"from 0 to {count - 1}"):
            exported.call(endpoint, **wrong)
    with pytest.raises(UserError, match=r"Expected one of: classify, complete.*classify_bytes"):
        exported.classify_bytes([b""])


def test_samples_of_many_levels_follow_the_model(tmp_path):
    """A histogram in 20 bins, of two pixels, against p(x | y) summed over all values."""
    options = {"num_levels": 600, "filters": 4, "num_blocks": 1, "ordered_levels": False}
    model = randomize(kp.GatedPixelCNN((1, 1, 1), 2, **options), scale=0.3)
    model.export(tmp_path / "1")
    sampled = SavedModelClassifier(tmp_path).sample(np.ones(20_000, int), seed=3)
    law = model.log_prob(np.arange(600).reshape(-1, 1, 1, 1), 1).astype("float64")
    assert enumeration.chi_square_of_numbers(sampled.ravel(), law) > 1e-3


# In an environment without this package and scikit-learn.
ALONE = """
    import sys

    sys.modules |= dict.fromkeys(("keras_pixelcnnpp", "sklearn"))  # to import None is an error
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(sys.argv[1])
    images = np.load(sys.argv[2])

    def sample(count, seed, temperature=1.0):
        return loaded.signatures["sample"](
            labels=tf.range(count) % 2,
            seed=tf.constant(seed),
            temperature=tf.constant(temperature),
        )["images"].numpy()

    scores = loaded.signatures["serving_default"](images=tf.constant(images))["log_likelihood"]
    log_probs = [
        loaded.signatures["log_prob"](images=tf.constant(images), labels=tf.fill(256, label))
        for label in (0, 1)
    ]
    log_probs = [outputs["log_likelihood"] for outputs in log_probs]
    bad = loaded.signatures["classify_bytes"](image_bytes=tf.constant([b"no image"]))
    assert bad["class_id"].numpy().tolist() == [-1]
    warm, cold = (sample(64, 5, temperature).reshape(32, 2, -1) for temperature in (1.0, 1e-6))
    assert (cold == cold[:1]).all() and (warm != warm[:1]).any()
    np.savez(sys.argv[3], scores=scores, log_probs=log_probs, sampled=sample(20_000, 5))
"""


@pytest.mark.slow
def test_works_where_this_package_is_not(tmp_path):
    """For an enumerable model, scores are the model's, and samples follow them."""
    model, images = enumeration.enumerable_model(), enumeration.all_images()
    model.export(tmp_path / "1")
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "alone.py").write_text(textwrap.dedent(ALONE))
    command = [sys.executable, "alone.py", "1", "images.npy", "result.npz"]
    subprocess.run(command, check=True, cwd=tmp_path)
    laws = [enumeration.log_law(model, label) for label in (0, 1)]
    with np.load(tmp_path / "result.npz") as result:
        np.testing.assert_allclose(result["scores"], np.transpose(laws), atol=1e-4)
        np.testing.assert_allclose(result["log_probs"], laws, atol=1e-4)
        for label in range(2):
            assert enumeration.chi_square(result["sampled"][label::2], laws[label]) > 1e-3
