"""Foreign pictures: what a density can tell of inputs unlike all that it was trained on."""

from keras_pixelcnnpp.foreign.detection import Detection
from keras_pixelcnnpp.foreign.inputs import foreign_inputs

__all__ = ["Detection", "foreign_inputs"]
