"""The room of `pixelcnnpp savedmodel ...`: what only using an exported model needs."""
