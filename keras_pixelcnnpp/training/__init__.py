"""Recipes, run folders, checkpoints, optimizers and the one training."""
