"""What the version before the restructuring (52b0097) wrote, under TensorFlow, as users have it.

`git show c0ad6c8:tests/compatibility/write.py` is the script that wrote it, in a clone of that
version. All models have a few steps of training behind them; `pixelcnnpp.keras` and `preset/`, the
same one, have every strategy of conditioning at once. `run/` is what a Ctrl-C in the second of
three epochs left. `numbers.npz` holds inputs and what the models make of them, and what that
training gives that is not interrupted.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_pixelcnnpp as kp

FOLDER = Path(__file__).parent / "first_edition"
with np.load(FOLDER / "numbers.npz") as file:
    NUMBERS = dict(file)
IMAGES, LABELS = NUMBERS["images"], NUMBERS["labels"]
NO_LABEL = np.full_like(LABELS, 3)
OTHER_LABELS = (LABELS + 1) % 3
CLASS_NAMES = ("dark", "grey", "bright")

WROTE = "tensorflow"
TOLERANCE = 1e-5 if keras.backend.backend() == WROTE else 1e-4
TRAIN = (
    *("train", "pixelcnnpp", "--data", "digits", "--preset", "digits", "--limit", 60),
    *("--epochs", 3, "--warmup-epochs", 1, "--batch-size", 20, "--candidates", 2),
    *("--filters", 6, "--num-resolutions", 1, "--num-mixtures", 2, "--conditioning", "bias"),
    *("--label-dropout-rate", 0.1, "--learning-rate-warmup", 2, "--gradient-clip-norm", 10),
    *("--sample-every", 0, "--seed", 1),
)


def assert_close(received, name, tolerance=TOLERANCE):
    np.testing.assert_allclose(received, NUMBERS[name], rtol=tolerance, atol=tolerance)


def assert_equal(received, name):
    np.testing.assert_array_equal(received, NUMBERS[name])
    assert received.dtype == NUMBERS[name].dtype


@pytest.fixture(scope="module")
def model():
    return keras.saving.load_model(FOLDER / "pixelcnnpp.keras")


class TestPixelCNNPlusPlus:
    def test_class(self, model):
        assert type(model) is kp.PixelCNNPlusPlus

    def test_log_prob(self, model):
        assert_close(model.log_prob(IMAGES, LABELS), "log_prob")
        assert_close(model.log_prob(IMAGES, NO_LABEL), "log_prob_without_label")

    def test_class_probabilities(self, model):
        assert_close(model.class_log_likelihoods(IMAGES), "class_log_likelihoods")
        assert_close(model.class_probabilities(IMAGES), "class_probabilities")
        classifier = kp.PixelCNNClassifier(model)
        assert_close(classifier.predict_proba(IMAGES), "class_probabilities")

    def test_bits_per_dim(self, model):
        assert_close(model.bits_per_dim(IMAGES), "bits_per_dim")

    def test_evidence_map(self, model):
        # A difference of large numbers.
        received = model.evidence_map(IMAGES, LABELS, OTHER_LABELS)
        assert_close(received, "evidence_map", 10 * TOLERANCE)

    @pytest.mark.tensorflow
    def test_sample(self, model):
        assert_equal(model.sample(LABELS, seed=0), "sample")

    @pytest.mark.tensorflow
    def test_guided_sample(self, model):
        received = model.sample(LABELS, seed=1, temperature=0.8, guidance=0.5)
        assert_equal(received, "sample_guided")

    @pytest.mark.tensorflow
    def test_complete(self, model):
        assert_equal(model.complete(IMAGES, 2, LABELS, seed=0), "complete")

    def test_optimizer(self, model):
        assert isinstance(model.optimizer, kp.FusedAdam)
        assert int(model.optimizer.iterations) == 9
        received = float(model.optimizer.learning_rate)
        assert received == pytest.approx(3e-3 * 0.99**9, rel=1e-5)

    def test_preset(self, model):
        preset = kp.PixelCNNPlusPlus.from_preset(FOLDER / "preset")
        for one, other in zip(preset.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert_close(preset.log_prob(IMAGES, LABELS), "log_prob")


def test_baseline():
    model = keras.saving.load_model(FOLDER / "baseline.keras")
    assert type(model) is kp.BaselineCNN
    assert_close(model.class_probabilities(IMAGES), "baseline/class_probabilities")


@pytest.mark.tensorflow
class TestSavedModel:
    def test_endpoints(self):
        tf = pytest.importorskip("tensorflow")
        served = tf.saved_model.load(str(FOLDER / "savedmodel" / "1")).signatures
        images, labels = tf.constant(IMAGES), tf.constant(LABELS)
        encoded = tf.constant([tf.io.encode_png(pixels).numpy() for pixels in IMAGES * 32])
        received = {
            "classify": served["classify"](images=images),
            "classify_bytes": served["classify_bytes"](image_bytes=encoded),
            "log_prob": served["log_prob"](images=images, labels=labels),
        }
        for endpoint, result in received.items():
            assert {f"savedmodel/{endpoint}/{name}" for name in result} == {
                name for name in NUMBERS if name.startswith(f"savedmodel/{endpoint}/")
            }
            for name, value in result.items():
                assert_close(value.numpy(), f"savedmodel/{endpoint}/{name}")
        temperature = tf.constant(1.0)
        drawn = served["sample"](labels=labels, seed=tf.constant(0), temperature=temperature)
        assert_equal(drawn["images"].numpy(), "savedmodel/sample/images")

    @pytest.mark.parametrize("place", ["savedmodel", "savedmodel/1"])
    def test_classifier(self, place):
        classifier = kp.SavedModelClassifier(FOLDER / place, batch_size=4)
        assert tuple(classifier.class_names) == CLASS_NAMES
        assert tuple(classifier.image_shape) == IMAGES.shape[1:]
        assert (classifier.num_classes, classifier.num_levels) == (3, 8)
        assert classifier.config["pixelcnnpp"] == {"options": {"epochs": 3}}
        result = classifier.classify(IMAGES)
        for name, value in result.items():
            assert_close(value, f"savedmodel/classify/{name}")
        assert (classifier.predict(IMAGES) == NUMBERS["savedmodel/classify/class_id"]).all()


def read_history(run):
    return json.loads((run / "logs" / "pixelcnnpp" / "history.json").read_text())


def assert_same_history(history):
    for name in (name for name in NUMBERS if name.startswith("run/history_")):
        key = name.removeprefix("run/history_")
        for row, expected in zip(history, NUMBERS[name], strict=True):
            # The epoch that was broken off may be measured in more ways.
            if np.isfinite(expected):
                assert row[key] == pytest.approx(expected, rel=1e-4, abs=1e-4), key


class TestRun:
    @pytest.fixture
    def run(self, tmp_path):
        return Path(shutil.copytree(FOLDER / "run", tmp_path / "run"))

    @pytest.mark.parametrize("kept", ["within an epoch", "after an epoch"])
    def test_goes_on(self, pixelcnnpp, run, kept):
        if kept == "after an epoch":
            for path in (run / "checkpoints" / "pixelcnnpp").glob("epoch-0001-step-00002.*"):
                path.unlink()
        # The first edition measured on all pictures, however few it trained on.
        measuring = ("--validation-limit", 0)
        status, _, err = pixelcnnpp(*TRAIN, *measuring, "--run", run, "--resume")
        assert status == 0, err
        history = read_history(run)
        assert [row["epoch"] for row in history] == [1, 2, 3]
        assert history[0] == read_history(FOLDER / "run")[0]
        weights = keras.saving.load_model(run / "model.keras").get_weights()
        expected = [NUMBERS[name] for name in sorted(NUMBERS) if name.startswith("run/weight_")]
        assert [weight.shape for weight in weights] == [weight.shape for weight in expected]
        # Other backends draw other masks of dropout.
        if keras.backend.backend() == WROTE:
            for index, weight in enumerate(weights):
                assert_close(weight, f"run/weight_{index:03d}", 1e-4)
            assert_same_history(history)

    def test_other_options_are_refused(self, pixelcnnpp, run):
        before = (run / "config.json").read_text()
        status, _, err = pixelcnnpp(*TRAIN, "--run", run, "--resume", "--filters", 7)
        assert status == 2
        assert "filters was 6, now 7" in err
        assert (run / "config.json").read_text() == before
