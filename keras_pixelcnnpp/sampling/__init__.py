"""Sampling of images pixel by pixel from cached features."""
