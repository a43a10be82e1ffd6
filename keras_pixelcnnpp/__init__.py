"""Conditional PixelCNN++ for Keras 3: generates, classifies and scores pictures."""

from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

__all__ = ["PixelCNNPlusPlus"]
