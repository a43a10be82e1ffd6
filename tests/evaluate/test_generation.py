import html
import shlex

import numpy as np
import pytest
import tiny
from command_line import done, one_line, report_of
from images import tiles
from PIL import Image
from samples import REFERENCE, TRAIN, FirstPixels, pixels, sampled
from scipy.special import log_softmax

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate import generation
from keras_pixelcnnpp.evaluate.generation import (
    baseline_features,
    compare,
    quantized_training_images,
    real_reference_images,
    reference_images,
)
from keras_pixelcnnpp.evaluate.measurements import SampledOptions
from keras_pixelcnnpp.evaluate.metrics.images import FIDELITY_METRICS, frechet_distance
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.utils.files import write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def compared(samples, real=REFERENCE, train=TRAIN, **options):
    return compare(FirstPixels(), real, train, samples, **options)


def test_logits_are_made_of_the_features():
    cnn = BaselineCNN((4, 4, 1), 3, filters=(8,), num_blocks=1)
    images = tiny.tiny_split(7).images
    features = baseline_features(cnn, images, batch_size=3)
    kernel, bias = (np.asarray(weight, "float64") for weight in cnn.probabilities.get_weights())
    expected = np.log(cnn.class_probabilities(images))
    found = log_softmax(features @ kernel + bias, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


class TestComparison:
    def test_with_real_images(self):
        samples = sampled()
        report = compared(samples)
        assert report["features"] == {"name": "baseline_cnn", "dimensions": 2}
        expected = frechet_distance(pixels(REFERENCE.images), pixels(samples.images))
        assert report["metrics"]["all"]["frechet_distance"] == pytest.approx(expected)
        named = report["class_consistency"]["sampled"]
        predicted = FirstPixels().class_probabilities(samples.images).argmax(axis=1)
        assert (named["count"], named["accuracy"]) == (30, np.mean(predicted == samples.labels))

    def test_a_class_that_collapsed_is_seen(self):
        """All samples of one class look like another one, and the others are real images."""
        samples = sampled(12, seed=1)
        samples.images[samples.labels == 1] = samples.images[samples.labels == 0]
        named = compared(samples)["class_consistency"]
        for part, images in (("sampled", samples), ("real", REFERENCE)):
            predicted = FirstPixels().class_probabilities(images.images).argmax(axis=1)
            for label, name in enumerate(tiny.NAMES):
                expected = np.mean(predicted[images.labels == label] == label)
                assert named[part]["classes"][name] == expected
        shares = named["sampled"]["classes"]
        assert shares["gray"] < 0.2 < min(shares["dark"], shares["bright"])

    def test_real_reference_is_of_training_images_with_the_same_classes(self):
        samples = sampled(per_class=7)
        reals = real_reference_images(TRAIN, samples.labels, seed=3)
        assert sorted(reals.labels) == sorted(samples.labels)
        assert len(set(reals.paths) & set(TRAIN.paths)) == 21
        numbers = compared(samples, seed=3)["metrics"]["all"]["real_reference"]
        expected = frechet_distance(pixels(REFERENCE.images), pixels(reals.images))
        assert numbers["frechet_distance"] == pytest.approx(expected)

    def test_what_is_missing_has_no_numbers(self):
        samples = sampled()
        unlabeled = compared(samples, tiny.tiny_split(60, 1, labels=False))
        assert None not in unlabeled["metrics"]["all"].values()
        assert "class_consistency" not in unlabeled
        few = compared(samples, train=tiny.tiny_split(9))["metrics"]["all"]
        assert few.pop("real_reference") == dict.fromkeys(FIDELITY_METRICS)
        assert None not in few.values()

    def test_an_unconditional_models_images_have_no_classes(self):
        samples = ClassSamples(tiny.tiny_split(30, 2).images, np.zeros(30, int), ("any",))
        report = compared(samples, by_class=False)
        assert list(report["metrics"]) == ["all"]
        assert report["metrics"]["all"]["real_reference"]["recall"] is not None
        assert "class_consistency" not in report


def test_images_without_labels_are_left_out_of_a_reference_if_others_have_them():
    mixed = tiny.tiny_split(60, 1)
    mixed.labels[:20] = -1
    splits = {"train": TRAIN, "mixed": mixed, "none": tiny.tiny_split(5, labels=False)}
    dataset = Dataset("tiny", tiny.NAMES, splits)
    assert len(reference_images(dataset, "mixed")) == 40
    assert len(reference_images(dataset, "none")) == 5


def test_beside_real_images(measured):
    figures, model = measured.figures["generation"], measured.model
    completions, by_class = (figure.axes[0] for figure in figures[:2])
    # For each class, the first real image, the same without its lower half, and completions.
    shown, real = (
        tiles(completions.images[0].get_array(), 6),
        tiny.tiny_split(9, 1).images[:3, ..., 0],
    )
    np.testing.assert_array_equal(shown[:, 0], real)
    np.testing.assert_array_equal(shown[:, :, :2], real[:, None, :2].repeat(6, axis=1))
    assert (shown[:, 1, 2:] == 200).all()
    given, labels = real[..., None].repeat(4, axis=0), np.repeat([0, 1, 2], 4)
    expected = model.complete(given, 2, labels, seed=0).reshape(3, 4, 4, 4)
    np.testing.assert_array_equal(shown[:, 2:], expected)
    sampled = model.sample(np.arange(12) // 4, seed=0).reshape(3, 4, 4, 4)
    np.testing.assert_array_equal(tiles(by_class.images[0].get_array(), 4), sampled)
    report = measured.report("generation")
    assert report["reference"] == {"split": "validation", "count": 9}
    assert None not in report["metrics"]["all"].values()
    named = report["class_consistency"]
    assert (named["sampled"]["count"], named["real"]["count"]) == (12, 9)
    bits = model.bits_per_dim(sampled.reshape(12, 4, 4, 1), np.arange(12) // 4).mean()
    assert report["bits_per_dim"] == pytest.approx(bits, rel=1e-4)
    shares = named["sampled"]["classes"]
    lowest = min(shares, key=shares.get)
    printed = f"Lowest class consistency: {lowest}, {shares[lowest]:.1%} of its samples, and"
    assert printed in measured.printed["generation"]
    samples = measured.run.reports / "samples"
    assert {path.name for path in samples.iterdir()} == {
        f"{name}_image_{number:02d}.png" for name in tiny.NAMES for number in (1, 2, 3, 4)
    }
    with Image.open(samples / "bright_image_02.png") as image:
        np.testing.assert_array_equal(image, sampled[2, 1])


def test_without_a_cnn_the_command_that_trains_it(pixelcnnpp, run_without_baseline):
    """It uses the images of the run, also where it read them in its own way."""
    run = run_without_baseline
    config = run.read_config()
    chosen = {"max_examples": 20, "seed": 3}
    config["pixelcnnpp"]["options"] |= chosen
    config["data"]["split_seed"] = 0
    write_json(run.config_json, config)
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 1)
    out = done(pixelcnnpp(*command))
    advice = out.split("baseline CNN. To train it: ")[1].splitlines()[0]
    page = (run.reports / "index.html").read_text(encoding="utf-8")
    assert advice in html.unescape(page)
    program, *words = shlex.split(advice)
    assert program == "pixelcnnpp"
    done(pixelcnnpp(*words, "--epochs", 1))
    options = run.read_config()["baseline"]["options"]
    assert {name: options[name] for name in chosen} == chosen
    out = done(pixelcnnpp(*command))
    assert "To train it" not in out
    assert "class_consistency" in report_of(run, "generation")


def test_real_images_have_the_levels_of_the_samples(run, tmp_path):
    config, path = run.read_config(), tmp_path / "own.npz"
    arrays = dict(np.load(config["data"]["source"]))
    brighter = np.minimum(arrays["x_train"].astype(int) + 5, 255).astype("uint8")  # same levels
    np.savez(path, **{**arrays, "x_train": brighter})
    known = {"source": str(path), "fingerprint": load_dataset(path).fingerprint()}
    write_json(run.config_json, {**config, "data": {**config["data"], **known}})
    found = quantized_training_images(Subject(SampledOptions(run=run.path)))
    np.testing.assert_array_equal(found.images, arrays["x_train"])


def test_training_images_are_no_reference(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path, "--split", "train")
    one_line(pixelcnnpp(*command), "wasn't trained on")
    assert not run.reports.exists()


def test_old_results_stay_until_new_ones_are_complete(
    pixelcnnpp, run_without_baseline, monkeypatch
):
    run = run_without_baseline
    old = [run.reports / "generation.json", run.reports / "completions.png"]
    old.append(run.reports / "samples" / "dark_image_09.png")
    for file in old:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 1)

    def interrupted(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(generation, "gallery_png", interrupted)
        with pytest.raises(RuntimeError):
            pixelcnnpp(*command)
    assert [file.read_text() for file in old] == ["old"] * 3
    assert [*old[2].parent.iterdir()] == old[2:]
    done(pixelcnnpp(*command))
    assert "metrics" not in report_of(run, "generation")
    assert len([*old[2].parent.iterdir()]) == 3  # not those of a larger set
