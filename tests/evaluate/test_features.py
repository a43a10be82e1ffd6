import sys

import numpy as np
import pytest
import tiny
from scipy.special import log_softmax

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.features import BaselineFeatures, InceptionFeatures
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN


class TestBaselineFeatures:
    @pytest.fixture
    def model(self):
        return BaselineCNN((4, 4, 1), 3, num_levels=5, filters=(8,), num_blocks=1)

    def test_the_logits_are_made_of_them(self, model):
        images = tiny.tiny_split(7).images
        features = BaselineFeatures(model, batch_size=3)
        found = features(images)
        assert list(found) == [features.dimensions] == [8]
        kernel, bias = (np.asarray(weight, "float64") for weight in model.logits.get_weights())
        np.testing.assert_allclose(
            log_softmax(found[8] @ kernel + bias, axis=1),
            np.log(model.class_probabilities(images)),
            atol=1e-5,
        )

    def test_no_pictures(self, model):
        assert BaselineFeatures(model)(np.zeros((0, 4, 4, 1), "uint8"))[8].shape == (0, 8)

    def test_pictures_that_do_not_fit(self, model):
        with pytest.raises(ValueError, match="Invalid shape of `images`"):
            BaselineFeatures(model)(np.zeros((2, 3, 3, 1), "uint8"))


def test_torch_fidelity_is_not_installed(monkeypatch, tmp_path):
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'keras-pixelcnnpp\[fid\]'"):
        InceptionFeatures(tmp_path / "weights.pth")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestInceptionFeatures:
    @pytest.fixture(scope="class")
    def weights(self, tmp_path_factory):
        """A file like that of the trained weights, of random ones."""
        torch = pytest.importorskip("torch")
        module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
        network = module.FeatureExtractorInceptionV3
        torch.manual_seed(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "load", lambda *_, **__: None)
            patch.setattr(network, "load_state_dict", lambda *_: None)
            state = network("random", ["2048"], "weights.pth").state_dict()
        path = tmp_path_factory.mktemp("inception") / "weights.pth"
        torch.save(state, path)
        return path

    def test_fid_is_torch_fidelitys(self, weights, rng):
        import torch
        import torch_fidelity

        from keras_pixelcnnpp.evaluate.metrics.pictures import frechet_distance

        # A darker set, or random weights would see no difference.
        sets = [rng.integers(0, limit, (5, 8, 8, 3), dtype="uint8") for limit in (256, 60)]
        features = InceptionFeatures(weights, batch_size=4)
        ours = [features(images)[192] for images in sets]
        expected = torch_fidelity.calculate_metrics(
            input1=pictures(torch, sets[0]),
            input2=pictures(torch, sets[1]),
            fid=True,
            feature_layer_fid="192",
            feature_extractor_weights_path=str(weights),
            cuda=False,
            cache=False,
            verbose=False,
        )["frechet_inception_distance"]
        assert frechet_distance(*ours) == pytest.approx(expected, rel=1e-3)

    def test_grey_levels_are_seen_as_colour_pixels(self, weights, rng):
        levels = rng.integers(0, 5, (2, 8, 8, 1), dtype="uint8")
        # Of five levels, 4 is white.
        pixels = np.uint8([0, 64, 128, 191, 255])[levels].repeat(3, axis=-1)
        grey = InceptionFeatures(weights, num_levels=5)(levels)
        colour = InceptionFeatures(weights)(pixels)
        for size in (192, 2048):
            np.testing.assert_allclose(grey[size], colour[size], rtol=1e-6)

    def test_no_pictures(self, weights):
        found = InceptionFeatures(weights)(np.zeros((0, 8, 8, 3), "uint8"))
        assert [features.shape for features in found.values()] == [(0, 192), (0, 2048)]

    def test_two_channels(self, weights):
        with pytest.raises(UserError, match="1 or 3 channels"):
            InceptionFeatures(weights)(np.zeros((1, 8, 8, 2), "uint8"))

    def test_bad_files(self, weights, tmp_path):
        import torch

        with pytest.raises(UserError, match="does not exist"):
            InceptionFeatures(tmp_path / "none.pth")
        (tmp_path / "text.pth").write_text("no weights")
        torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
        for name in ("text.pth", "other.pth"):
            with pytest.raises(UserError, match="does not hold"):
                InceptionFeatures(tmp_path / name)


def pictures(torch, images):
    """A torch `Dataset` of uint8 `(channels, height, width)`, as torch-fidelity takes them."""

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return torch.from_numpy(np.moveaxis(images[index], -1, 0).copy())

    return Pictures()
