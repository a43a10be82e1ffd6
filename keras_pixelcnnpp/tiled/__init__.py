"""Models applied to frames that are larger than their images."""
