"""Drawing images, pixel by pixel, over cached features."""
