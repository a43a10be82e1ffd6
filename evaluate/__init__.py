"""The commands `pixelcnnpp evaluate ...`."""
