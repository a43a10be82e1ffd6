import numpy as np
import pytest

from keras_pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.distributions.heads import HEADS, LogisticMixtureHead, make_head


class Single(LogisticMixtureHead):
    """A user's own: one logistic, whatever `num_mixtures` says."""

    def __init__(self, channels, num_levels, num_mixtures, tables):
        super().__init__(channels, num_levels, 1)


def test_a_head_of_the_users_own(monkeypatch):
    monkeypatch.setitem(HEADS, "single", Single)
    model = PixelCNNPlusPlus((4, 4, 1), 0, 4, filters=4, num_resolutions=1, head="single")
    assert isinstance(model.distribution, Single)
    assert model({"image": np.zeros((1, 4, 4, 1), "uint8")}).shape == (1, 1, 4, 4, 3)
    assert type(model).from_config(model.get_config()).head == "single"


@pytest.mark.parametrize("name", ["single", ["categorical"], None])
def test_an_unknown_head(name):
    with pytest.raises(ValueError, match="Expected one of: logistic_mixture, categorical"):
        make_head(name, 1, 4, 3, tables=True)


@pytest.mark.parametrize("name", HEADS)
def test_num_mixtures_is_checked_for_every_head(name):
    with pytest.raises(ValueError, match="num_mixtures"):
        make_head(name, 1, 4, 0, tables=True)
