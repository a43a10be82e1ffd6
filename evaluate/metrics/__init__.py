"""Metrics of classifiers and of pictures."""
