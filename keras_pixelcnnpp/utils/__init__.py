"""Checks of arguments, errors, files, and what differs between the backends."""
