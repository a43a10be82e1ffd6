import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.fidelity import Comparison, RealPictures
from keras_pixelcnnpp.evaluate.metrics.pictures import frechet_distance
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

NAMES = ("dark", "grey", "bright")


class FirstPixels:
    """Features that a test can see through: the first two pixels."""

    name = "baseline_cnn"
    title = "distance"
    dimensions = 2

    def __call__(self, images):
        return {2: images.reshape(len(images), -1)[:, :2].astype("float64")}


class TwoSizes(FirstPixels):
    """As of Inception: two sets of features."""

    name = "inception"
    dimensions = 3

    def __call__(self, images):
        return {size: images.reshape(len(images), -1)[:, :size] / 1.0 for size in (2, 3)}


def real_pictures(reference=None, train=None, names=NAMES):
    splits = {
        "train": tiny.tiny_split(90, 0) if train is None else train,
        "validation": tiny.tiny_split(60, 1) if reference is None else reference,
    }
    return RealPictures.of(Dataset("tiny", names, 5, splits), "validation")


def drawn(per_class=10, seed=2, names=NAMES):
    split = tiny.tiny_split(3 * per_class, seed)
    order = np.argsort(split.labels, kind="stable")
    return ClassSamples(split.images[order], split.labels[order], names, 5)


def compare(samples, real, features=None, **options):
    return Comparison(
        real, features or FirstPixels(), samples.labels, samples.class_names, **options
    )


def pixels(images):
    return images.reshape(len(images), -1)[:, :2]


def test_by_class_and_all_together():
    samples, real = drawn(), real_pictures()
    report = compare(samples, real).report(samples)
    assert report["features"] == {"name": "baseline_cnn", "dimensions": 2}
    assert report["reference"] == {"split": "validation", "count": 60}
    assert list(report["metrics"]) == ["all", *NAMES]
    assert "fid" not in report
    reference = real.reference
    assert report["metrics"]["all"]["frechet_distance"] == pytest.approx(
        frechet_distance(pixels(reference.images), pixels(samples.levels))
    )
    for label, name in enumerate(NAMES):
        assert report["metrics"][name]["frechet_distance"] == pytest.approx(
            frechet_distance(
                pixels(reference.images[reference.labels == label]),
                pixels(samples.levels[samples.labels == label]),
            )
        )


def test_the_reference_itself_has_no_distance():
    split = tiny.tiny_split(60, 1)
    samples = ClassSamples(split.images, split.labels, NAMES, 5)
    numbers = compare(samples, real_pictures()).report(samples)["metrics"]["all"]
    assert numbers["frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert numbers["coverage"] == 1
    assert numbers["floor"]["frechet_distance"] > 0


def test_floor_is_of_training_pictures_with_the_same_classes():
    samples, real = drawn(per_class=7), real_pictures()
    floor = real.floor(samples.labels, seed=3)
    assert sorted(floor.labels) == sorted(samples.labels)
    assert set(floor.paths) <= set(real.train.paths)
    assert len(set(floor.paths)) == 21
    assert floor.paths == real.floor(samples.labels, seed=3).paths
    assert floor.paths != real.floor(samples.labels, seed=4).paths
    numbers = compare(samples, real, seed=3).report(samples)["metrics"]["all"]["floor"]
    assert numbers["frechet_distance"] == pytest.approx(
        frechet_distance(pixels(real.reference.images), pixels(floor.images))
    )


def test_worse_pictures_are_further_than_the_floor():
    real, samples = real_pictures(), drawn()
    mixed_up = ClassSamples(samples.levels[::-1], samples.labels, NAMES, 5)
    comparison = compare(samples, real)
    good, bad = (comparison.report(each)["metrics"]["dark"] for each in (samples, mixed_up))
    assert good["frechet_distance"] < 1 < bad["frechet_distance"]
    assert good["precision"] > bad["precision"]
    assert bad["floor"] == good["floor"]


def test_fid_has_every_size():
    samples, real = drawn(), real_pictures()
    report = compare(samples, real, TwoSizes()).report(samples)
    assert report["features"] == {"name": "inception", "dimensions": 3}
    assert set(report["fid"]) == {"2", "3"}
    for size, numbers in report["fid"].items():
        flat = [
            x.reshape(len(x), -1)[:, : int(size)] for x in (real.reference.images, samples.levels)
        ]
        assert numbers["all"] == pytest.approx(frechet_distance(*flat))
    main = report["metrics"]["all"]
    assert report["fid"]["3"] == {
        "all": main["frechet_distance"],
        "floor": main["floor"]["frechet_distance"],
    }


def test_a_class_is_missing_in_the_reference():
    reference = tiny.tiny_split(60, 1)
    reference = reference.take(reference.labels != 1)
    samples = drawn()
    comparison = compare(samples, real_pictures(reference))
    numbers = comparison.report(samples)["metrics"]
    assert set(numbers["grey"].pop("floor").values()) == {None}
    assert set(numbers["grey"].values()) == {None}
    assert None not in numbers["dark"].values()
    (note,) = comparison.notes()
    assert "validation has no pictures of grey" in note


def test_the_reference_has_no_labels():
    samples = drawn()
    comparison = compare(samples, real_pictures(tiny.tiny_split(60, 1, labels=False)))
    numbers = comparison.report(samples)["metrics"]
    assert None not in numbers["all"].values()
    assert set(numbers["dark"].pop("floor").values()) == {None}
    assert set(numbers["dark"].values()) == {None}
    assert comparison.notes() == ["The split validation has no labels: no comparison by class."]


def test_pictures_without_labels_are_left_out():
    split = tiny.tiny_split(60, 1)
    labels = np.where(np.arange(60) < 20, -1, split.labels).astype("int32")
    partly = LabelledImages(split.images, labels, split.paths)
    assert len(real_pictures(partly).reference) == 40


def test_the_training_split_is_too_small_for_a_floor():
    samples = drawn()
    comparison = compare(samples, real_pictures(train=tiny.tiny_split(9)))
    numbers = comparison.report(samples)["metrics"]["all"]
    assert set(numbers.pop("floor").values()) == {None}
    assert None not in numbers.values()
    assert any("training split has fewer pictures" in note for note in comparison.notes())


def test_singular_covariances_are_noted():
    samples = drawn(per_class=3)
    notes = compare(samples, real_pictures(), TwoSizes()).notes()
    (note,) = [note for note in notes if "singular" in note]
    assert "3 dimensions" in note
    assert "dark, grey, bright" in note
    assert "all classes" not in note
    assert any("need more pictures" in note for note in notes)


def test_an_unconditional_models_pictures_have_no_classes():
    images = tiny.tiny_split(30, 2).images
    samples = ClassSamples(images, np.zeros(30, int), ("any",), 5)
    comparison = compare(samples, real_pictures())
    numbers = comparison.report(samples)["metrics"]
    assert list(numbers) == ["all"]
    assert numbers["all"]["floor"]["recall"] is not None
    assert not comparison.notes()


def test_a_class_called_all():
    names = ("all", "grey", "bright")
    samples, real = drawn(names=names), real_pictures(names=names)
    numbers = compare(samples, real).report(samples)["metrics"]
    assert list(numbers) == ["all", "grey", "bright"]
    assert numbers["all"]["frechet_distance"] == pytest.approx(
        frechet_distance(pixels(real.reference.images), pixels(samples.levels))
    )


@pytest.mark.parametrize(
    ("split", "message"),
    [("train", "wasn't trained on"), ("holdout", "no split 'holdout'"), ("empty", "no pictures")],
)
def test_bad_references(split, message):
    splits = {"train": tiny.tiny_split(6), "validation": tiny.tiny_split(6)}
    splits["empty"] = tiny.tiny_split(6).take(slice(0, 0))
    with pytest.raises(UserError, match=message):
        RealPictures.of(Dataset("tiny", NAMES, 5, splits), split)
