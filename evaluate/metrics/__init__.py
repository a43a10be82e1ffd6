"""Metrics of classifiers and of images."""
