import numpy as np
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.sampling.class_samples import ClassSamples, image_names

pytestmark = pytest.mark.once


def samples(channels=1, per_class=3):
    """Images whose brightness is the label."""
    labels = np.repeat([0, 1, 2], per_class)
    images = np.uint8([0, 128, 255])[labels][:, None, None, None]
    images = np.broadcast_to(images, (len(labels), 4, 6, channels))
    return ClassSamples(images, labels, ("a/b", "two", "three"))


@pytest.mark.parametrize("channels", [1, 3])
def test_files(tmp_path, channels):
    samples(channels).write(tmp_path / "new")
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == [
        f"{name}_image_{number}.png"
        for name in ("a_b", "three", "two")
        for number in ("01", "02", "03")
    ]
    with Image.open(tmp_path / "new" / "two_image_03.png") as image:
        assert image.mode == {1: "L", 3: "RGB"}[channels]
        assert image.size == (6, 4)
        assert (np.asarray(image) == 128).all()


@pytest.mark.parametrize("class_names", [("?", "/", ":"), ("a", "A"), ("?", "_", "__1", "/")])
def test_no_two_classes_have_a_file_in_common(class_names):
    names = image_names(np.tile(np.arange(len(class_names)), 2), class_names)
    assert len({name.casefold() for name in names}) == 2 * len(class_names)
    assert not set("/?:") & set("".join(names))


def test_unconditional_model_has_one_class():
    model = tiny.tiny_model(num_classes=0, conditioning="none")
    samples = ClassSamples.sample(model, per_class=2)
    assert [(name, len(pixels)) for name, pixels in samples.by_class()] == [("any", 2)]
