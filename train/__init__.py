"""The commands `pixelcnnpp train ...`."""
