"""The commands that use a trained model, and what all commands share."""
