"""Samples of the tiny data, and a CNN to compare them with."""

import numpy as np
import tiny

from keras_pixelcnnpp.sampling.class_samples import ClassSamples

TRAIN, REFERENCE = tiny.tiny_split(90, 0), tiny.tiny_split(60, 1)


class FirstPixels:
    """A simple CNN whose features are the first two pixels."""

    image_shape, widths = (4, 4, 1), (2,)

    def features(self, images, training):
        return images.reshape(len(images), -1)[:, :2].astype("float32")

    def class_probabilities(self, images):
        brightness = images.mean(axis=(1, 2, 3))
        return np.eye(3)[np.clip(np.rint(brightness / 63.75) - 1, 0, 2).astype(int)]


def sampled(per_class=10, seed=2, names=tiny.NAMES):
    split = tiny.tiny_split(3 * per_class, seed)
    order = np.argsort(split.labels, kind="stable")
    return ClassSamples(split.images[order], split.labels[order], names)


def pixels(images):
    return images.reshape(len(images), -1)[:, :2]
