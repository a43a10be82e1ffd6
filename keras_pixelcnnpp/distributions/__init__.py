"""Distributions of a pixel, also as a TensorFlow Probability distribution."""
