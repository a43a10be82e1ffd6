"""The models: PixelCNN++ and the baseline CNN."""
