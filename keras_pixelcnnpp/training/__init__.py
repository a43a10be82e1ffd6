"""Run folders, checkpoints, optimizers and the one training."""
