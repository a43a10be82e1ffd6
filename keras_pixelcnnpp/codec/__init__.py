"""Lossless compression of images with the likelihood of a model."""
