"""Adam as the model is trained with it, and its learning rate."""
