"""The room of `pixelcnnpp train ...`: what only training needs."""
