"""Incremental evaluation of the network, and generation, completion and guidance with it."""
