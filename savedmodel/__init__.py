"""The commands `pixelcnnpp savedmodel ...`."""
