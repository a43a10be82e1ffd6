"""Recipes: the arguments of a model and the options of its training, and the records of runs."""
