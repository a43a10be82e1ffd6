import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.sampling.class_samples import ClassSamples, image_names

pytestmark = pytest.mark.once


@pytest.mark.parametrize("class_names", [("?", "/", ":"), ("a", "A"), ("?", "_", "__1", "/")])
def test_no_two_classes_have_a_file_in_common(class_names):
    names = image_names(np.tile(np.arange(len(class_names)), 2), class_names)
    assert len({name.casefold() for name in names}) == 2 * len(class_names)
    assert not set("/?:") & set("".join(names))


def test_unconditional_model_has_one_class():
    model = tiny.untrained_pixelcnn(num_classes=0)
    samples = ClassSamples.sample(model, per_class=2)
    assert [(name, len(pixels)) for name, pixels in samples.by_class()] == [("any", 2)]
