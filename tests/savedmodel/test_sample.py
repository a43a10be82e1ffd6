import subprocess
import sys
import textwrap

import numpy as np
import pytest
from command_line import one_line
from PIL import Image
from scipy.stats import chisquare

from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

COUNT = 20_000
NUM_LEVELS = 4

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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of 2×2 pictures, few enough to list them all, and where it was exported to."""
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    model = PixelCNNPlusPlus(
        (2, 2, 1), 2, NUM_LEVELS, filters=4, num_mixtures=2, num_resolutions=1, conditioning="bias"
    )
    rng = np.random.default_rng(0)
    model.initialize(rng.integers(0, NUM_LEVELS, (32, 2, 2, 1)), rng.integers(0, 2, 32))
    for variable in model.trainable_variables:
        variable.assign_add(0.2 * rng.standard_normal(variable.shape))
    path = tmp_path_factory.mktemp("run") / "savedmodel" / "1"
    export_saved_model(model, path, ("first", "second"), {})
    return model, path


def test_follows_log_prob_where_this_package_is_not(exported, tmp_path):
    model, path = exported
    script = tmp_path / "alone.py"
    script.write_text(textwrap.dedent(ALONE))
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


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported[1]))


@pytest.mark.parametrize(
    ("labels", "temperature", "message"),
    [
        ([0, 3], 1.0, "labels must be from 0 to 2"),
        ([-1], 1.0, "labels must be from 0 to 2"),
        ([0], 0.0, "temperature must be positive"),
        ([0], float("nan"), "temperature must be positive"),
    ],
)
def test_bad_input(loaded, labels, temperature, message):
    sample = loaded.signatures["sample"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        sample(
            labels=tf.constant(labels), seed=tf.constant(0), temperature=tf.constant(temperature)
        )


def test_seed_must_be_an_integer(loaded):
    sample = loaded.signatures["sample"]
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        sample(labels=tf.constant([0]), seed=tf.constant(0.5), temperature=tf.constant(1.0))


class TestCommand:
    def test_writes_pictures(self, pixelcnnpp, exported, loaded, tmp_path):
        command = ("savedmodel", "sample", exported[1].parent, "--output", tmp_path, "--seed", 7)
        status, out, _ = pixelcnnpp(
            *command, "--label", "second", "--label", 0, "--count", 3, "--batch-size", 4
        )
        assert status == 0
        assert f"Wrote 6 pictures to {tmp_path}" in out
        files = {path.name: np.asarray(Image.open(path)) for path in tmp_path.iterdir()}
        names = {f"{name}_image_0{i}.png" for name in ("first", "second") for i in (1, 2, 3)}
        assert set(files) == names
        drawn = loaded.signatures["sample"](
            labels=tf.constant([1, 1, 1, 0]), seed=tf.constant(7), temperature=tf.constant(1.0)
        )["images"]
        for name, levels in zip(("second_image_03", "first_image_01"), drawn[2:], strict=True):
            assert (files[f"{name}.png"] == 85 * levels[..., 0].numpy()).all()

    @pytest.mark.parametrize(
        ("options", "messages"),
        [
            (("--label", "third"), ("'third'", "first, second")),
            (("--label", 2), ("'2'", "0 to 1")),
            (("--label", 0, "--temperature", 0), ("temperature",)),
        ],
    )
    def test_bad_options(self, pixelcnnpp, exported, tmp_path, options, messages):
        output = tmp_path / "output"
        command = ("savedmodel", "sample", exported[1], "--output", output)
        one_line(pixelcnnpp(*command, *options), *messages)
        assert not output.exists()

    def test_batches_do_not_repeat(self, exported):
        from keras_pixelcnnpp.export.saved_model import ExportedModel, sample_exported

        model = ExportedModel(exported[1])
        levels = sample_exported(model, np.zeros(96, int), seed=0, batch_size=32).levels
        first, second, third = levels.reshape(3, 32, -1)
        other = sample_exported(model, np.zeros(32, int), seed=1).levels.reshape(32, -1)
        assert not any(
            (a == b).all() for a, b in ((first, second), (second, third), (second, other))
        )
