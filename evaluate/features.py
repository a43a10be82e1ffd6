"""What a trained network sees in pictures, for distances between sets of them."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.checks import checked_images
from keras_pixelcnnpp.data.batches import ArrayBatches, feed
from keras_pixelcnnpp.data.images import check_channels, to_pixels
from keras_pixelcnnpp.errors import UserError, without_retracing_advice
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN


class BaselineFeatures:
    """The penultimate features of a `BaselineCNN`: what its logits are made of.

    A Fréchet distance of them tells how pictures differ in what tells the classes apart. It is not
    the FID, and compares with others under the same classifier only.
    """

    name = "baseline_cnn"
    title = "Fréchet classifier distance"

    def __init__(self, model: BaselineCNN, batch_size: int = 128, verbose: int = 0):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self._runner = _Penultimate(model)

    @property
    def dimensions(self) -> int:
        """The number of features."""
        return int(self.model.filters[-1])

    @without_retracing_advice()
    def __call__(self, images: np.ndarray) -> dict[int, np.ndarray]:
        """By their number, the features of uint8 levels: float64 `[count, dimensions]`."""
        images = checked_images(images, self.model.image_shape, self.model.num_levels)
        if len(images) == 0:
            return {self.dimensions: np.zeros((0, self.dimensions))}
        batches = feed(ArrayBatches({"image": images}, self.batch_size))
        features = self._runner.predict(batches, verbose=self.verbose)[: len(images)]
        return {self.dimensions: features.astype("float64")}


class _Penultimate(keras.Model):
    """A model, so that `predict` does batching and compiling under any backend."""

    def __init__(self, model):
        super().__init__(name="penultimate")
        self.model = model
        self.compile(jit_compile=getattr(model, "jit_compile", "auto"))
        self.built = True

    def call(self, inputs):
        return ops.cast(self.model.features(inputs["image"], training=False), "float32")


INCEPTION_DIMENSIONS = (192, 2048)


class InceptionFeatures:
    """Features of the Inception network that FID is defined over, through torch-fidelity.

    2048, the last, which published FIDs are of, and 192, which need fewer pictures for a covariance
    that isn't singular. Nothing is downloaded: the weights are a file that you have.
    """

    name = "inception"
    title = "FID"
    dimensions = max(INCEPTION_DIMENSIONS)

    def __init__(
        self, weights: str | Path, num_levels: int = 256, batch_size: int = 32, verbose: int = 0
    ):
        self.num_levels = num_levels
        self.batch_size = batch_size
        self.verbose = verbose
        self._network = _load(Path(weights))

    def __call__(self, images: np.ndarray) -> dict[int, np.ndarray]:
        """By their number, the features of uint8 levels, grey ones shown as colour pictures."""
        import torch

        check_channels(images)
        pixels = np.moveaxis(to_pixels(images, self.num_levels), -1, 1)
        pixels = np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:]))
        starts, batches = range(0, len(pixels), self.batch_size), []
        tick = progress(len(starts), self.verbose)
        for start in starts:
            few = torch.from_numpy(pixels[start : start + self.batch_size].copy())
            batches.append(self._network(few))
            tick()
        return {
            dimensions: np.concatenate(
                [np.zeros((0, dimensions)), *(batch[place].numpy() for batch in batches)]
            )
            for place, dimensions in enumerate(INCEPTION_DIMENSIONS)
        }


Features = BaselineFeatures | InceptionFeatures


def _load(weights: Path):
    try:
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UserError(
            "Inception features need torch and torch-fidelity: pip install 'keras-pixelcnnpp[fid]'"
        ) from error
    if not weights.is_file():
        raise UserError(f"{weights} does not exist. It should be the weights of Inception.")
    try:
        # First without running what a pickle may hold; torch-fidelity itself isn't so careful.
        torch.load(weights, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3(
            InceptionFeatures.name,
            [str(dimensions) for dimensions in INCEPTION_DIMENSIONS],
            feature_extractor_weights_path=str(weights),
        )
    # Anything: a file that isn't the weights fails in unpickling, or in one of many ways after.
    except Exception as error:
        raise UserError(
            f"{weights} does not hold torch-fidelity's weights of Inception."
        ) from error
