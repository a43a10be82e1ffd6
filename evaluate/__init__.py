"""The commands `pixelcnnpp evaluate`."""
