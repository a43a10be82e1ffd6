import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.evaluate.evidence import choose

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def test_half_of_the_images_are_mistakes_where_there_are_so_many():
    labels = np.array([0] * 5 + [1] * 4)
    predicted = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1])
    assert list(choose(labels, predicted, 4)) == [0, 2, 1, 3, 5, 6, 7, 8]
    assert list(choose(labels, predicted, 2)) == [0, 1, 5, 6]
    assert list(choose(labels, predicted, 1)) == [0, 5]
    assert list(choose(labels, np.ones(9, int), 3)) == [0, 1, 2, 5, 6, 7]


def test_what_is_shown(measured):
    report, model = measured.report("evidence"), measured.model
    pairs = np.reshape(measured.figures["evidence"][0].axes[:18], (9, 2))
    assert (report["split"], report["count"]) == ("validation", 9)
    assert report["logit_scale"] == pytest.approx(model.logit_scale)
    split = tiny.tiny_split(9, 1)
    for row, (left, right) in zip(report["images"], pairs, strict=True):
        index = split.paths.index(f"image/{row['path'].split('/')[-1].lstrip('0') or 0}")
        scores = model.class_log_likelihoods(split.images[index : index + 1])[0]
        probabilities = model.class_probabilities(split.images[index : index + 1])[0]
        label, order = split.labels[index], np.argsort(-probabilities).tolist()
        likeliest = next(other for other in order if other != label)
        names = [tiny.NAMES[each] for each in (label, likeliest, order[0])]
        assert [row["label"], row["against"], row["predicted"]] == names
        assert row["nats"] == pytest.approx(scores[label] - scores[likeliest], abs=1e-3)
        assert left.get_title(loc="left").endswith(f"against {names[1]}: {row['nats']:+.1f} nats")
        image = split.images[index]
        np.testing.assert_array_equal(left.images[0].get_array(), image[..., 0])
        of_classes = [model.pixel_log_probs(image[None], [n])[0] for n in (label, likeliest)]
        shown = right.images[0]
        np.testing.assert_allclose(shown.get_array(), np.subtract(*of_classes), atol=1e-4)
        assert shown.cmap.name == "RdBu"  # blue, the last color, is for the class
        assert shown.norm.vmin == -shown.norm.vmax
