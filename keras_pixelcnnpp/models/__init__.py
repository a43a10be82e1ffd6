"""The models: PixelCNN++ and the CNN to compare it with."""
