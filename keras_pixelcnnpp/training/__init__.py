"""What both training commands share: options, checkpoints and the call of `model.fit`."""
