"""What a pixel's distribution sees of the picture, measured on the network itself."""

from keras_pixelcnnpp.receptive_field.influence import count_seen, pixel_influence, typical_targets

__all__ = ["count_seen", "pixel_influence", "typical_targets"]
