import numpy as np
import pytest

from keras_pixelcnnpp.sampling.class_samples import image_names

pytestmark = pytest.mark.once


@pytest.mark.parametrize("class_names", [("?", "/", ":"), ("a", "A"), ("?", "_", "__1", "/")])
def test_no_two_classes_have_a_file_in_common(class_names):
    names = image_names(np.tile(np.arange(len(class_names)), 2), class_names)
    assert len({name.casefold() for name in names}) == 2 * len(class_names)
    assert not set("/?:") & set("".join(names))
