"""Adam as this package trains with it, and its learning rate."""
