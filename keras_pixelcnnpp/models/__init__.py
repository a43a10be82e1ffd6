"""The models: PixelCNN++, Gated PixelCNN, PixelCNN, and a CNN classifier as a baseline."""
