"""The commands `pixelcnnpp train` and `pixelcnnpp train-baseline`."""
