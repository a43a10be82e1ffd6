import json
import subprocess
import sys
import textwrap

import hostile
import keras
import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

CLASS_NAMES = ("dark", "grey", "bright")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with weights that aren't the initial ones, and where it was exported to."""
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    # This runs before the fixture that seeds every test.
    keras.utils.set_random_seed(0)
    model = tiny.tiny_model(label_loss_weight=1.0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = np.asarray(variable)
        variable.assign(value + 0.03 * rng.standard_normal(value.shape))
    path = tmp_path_factory.mktemp("run") / "savedmodel"
    export_saved_model(model, path / "1", CLASS_NAMES, {"pixelcnnpp": {"options": {"seed": 0}}})
    return model, path


def test_assets(exported):
    assets = exported[1] / "1" / "assets"
    assert (assets / "class_names.txt").read_text() == "dark\ngrey\nbright\n"
    config = json.loads((assets / "config.json").read_text())
    assert config["pixelcnnpp"] == {"options": {"seed": 0}}
    assert config["num_levels"] == 5


def test_signatures(exported):
    signatures = tf.saved_model.load(str(exported[1] / "1")).signatures
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


def test_classifier_agrees_with_the_model(exported):
    model, path = exported
    images = tiny.tiny_split(10).images
    classifier = SavedModelClassifier(path, batch_size=4)
    scores, probabilities = PixelCNNClassifier(model).class_scores(images)
    result = classifier.classify(images)
    assert classifier.class_names == CLASS_NAMES
    assert result["log_likelihood"] == pytest.approx(scores, abs=1e-4)
    assert result["probabilities"] == pytest.approx(probabilities, abs=1e-4)
    assert result["bits_per_dim"] == pytest.approx(model.bits_per_dim(images), abs=1e-5)
    assert (result["class_id"] == probabilities.argmax(axis=1)).all()
    assert (classifier.predict(images) == result["class_id"]).all()


def test_bytes_agree_with_levels(exported):
    import io

    from PIL import Image

    images = tiny.tiny_split(5).images
    contents = []
    for pixels in to_pixels(images, 5):
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0]).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    classifier = SavedModelClassifier(exported[1])
    expected = classifier.classify(images)["probabilities"]
    assert classifier.classify_bytes(contents)["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_bad_picture_in_a_batch(exported):
    good = [hostile.png(4, 4, data=bytes([0, row, 9, 99, 200] * 4)) for row in range(3)]
    bad = [b"", good[0][:40], hostile.png(60_000, 60_000)]
    classifier = SavedModelClassifier(exported[1])
    expected = classifier.classify_bytes(good)
    received = classifier.classify_bytes([bad[0], good[0], bad[1], good[1], good[2], bad[2]])
    for name, values in received.items():
        assert values[[1, 3, 4]] == pytest.approx(expected[name], abs=1e-4)
        nothing = -1 if name == "class_id" else np.nan
        np.testing.assert_array_equal(values[[0, 2, 5]], np.full_like(values[[0, 2, 5]], nothing))
    assert (classifier.classify_bytes(bad)["class_id"] == -1).all()


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 4, 5, 1), "uint8")]
)
def test_bad_images(exported, images):
    with pytest.raises(ValueError, match=r"Expected a uint8 array of shape \(count, 4, 4, 1\)"):
        SavedModelClassifier(exported[1]).classify(images)
    signature = tf.saved_model.load(str(exported[1] / "1")).signatures["classify"]
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        signature(images=tf.constant(images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0, "conditioning": "none"}, "without labels cannot be exported"),
        ({"image_shape": (4, 4, 2)}, "1 or 3 channels.*has 2"),
    ],
)
def test_what_cannot_be_exported(tmp_path, arguments, message):
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    model = tiny.untrained_model(**arguments)
    with pytest.raises(UserError, match=message):
        export_saved_model(model, tmp_path / "1", CLASS_NAMES, {})
    assert not (tmp_path / "1").exists()


def test_newest_version_is_taken(exported, tmp_path):
    from keras_pixelcnnpp.export.saved_model import version_folder

    for version in ("1", "2", "10", "other"):
        (tmp_path / version / "assets").mkdir(parents=True)
        (tmp_path / version / "assets" / "config.json").touch()
        (tmp_path / version / "saved_model.pb").touch()
    assert version_folder(tmp_path) == tmp_path / "10"
    assert version_folder(tmp_path / "2") == tmp_path / "2"
    with pytest.raises(UserError, match="No SavedModel of this package"):
        version_folder(tmp_path / "1" / "assets")


ALONE = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("keras_pixelcnnpp", "sklearn"):
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Blocker())
    import numpy as np
    import tensorflow as tf

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


def test_works_where_this_package_is_not(exported, tmp_path):
    model, path = exported
    images = tiny.tiny_split(64).images
    np.save(tmp_path / "images.npy", images)
    script = tmp_path / "alone.py"
    script.write_text(textwrap.dedent(ALONE))
    arguments = [script, path / "1", tmp_path / "images.npy", tmp_path / "result.npz"]
    subprocess.run([sys.executable, *map(str, arguments)], check=True)
    expected = model.class_log_likelihoods(images)
    with np.load(tmp_path / "result.npz") as result:
        for count in (1, 7, 64):
            assert result[str(count)] == pytest.approx(expected[:count], abs=1e-4)
