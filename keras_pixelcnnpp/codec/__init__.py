"""Images to bytes and back, by what a model says of each pixel."""
