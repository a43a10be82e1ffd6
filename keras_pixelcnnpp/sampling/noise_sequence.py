"""The inputs of the sampler, batch by batch."""

import math

import keras
import numpy as np


class NoiseSequence(keras.utils.PyDataset):
    """Batches of labels, uniform noise and, for completion, known pixels.

    The noise of a picture depends on the seed and the picture's index alone, so batch size and
    backend don't change what is drawn. Every batch has the same size (the last one is filled up),
    so that the sampler is compiled once.

    Args:
        inputs: Dict of arrays of length N: what varies from picture to picture.
        count: Integer, N.
        noise_shape: Shape of one picture's noise.
        seed: Integer.
        batch_size: Integer.
    """

    def __init__(self, inputs, count, noise_shape, seed, batch_size):
        super().__init__()
        self.inputs = inputs
        self.count = count
        self.noise_shape = noise_shape
        self.seed = seed
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(self.count / self.batch_size)

    def __getitem__(self, index):
        indices = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        noise = np.stack([self._noise(picture) for picture in indices])
        rows = np.minimum(indices, self.count - 1)
        return ({"noise": noise, **{name: value[rows] for name, value in self.inputs.items()}},)

    def _noise(self, picture):
        generator = np.random.default_rng([self.seed, int(picture)])
        # Open at both ends: the logarithms of 0 and of 1 - 1 are infinite.
        tiny, below_one = np.float32(2.0**-32), np.float32(1.0 - 2.0**-24)
        return np.clip(generator.random(self.noise_shape, dtype="float32"), tiny, below_one)
