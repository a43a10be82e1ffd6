"""The room of `pixelcnnpp evaluate ...`: what only measuring needs."""
