"""Drawing pictures, pixel by pixel, over cached features."""
