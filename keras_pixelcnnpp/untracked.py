"""A place on a Keras object that Keras doesn't look into."""

import types


def untracked(owner, key):
    """Returns a holder, at first with `value` None, that belongs to `owner` but isn't tracked.

    Keras would make a sublayer of every layer that becomes an attribute, and a model that wraps its
    owner would then contain itself.
    """
    if not hasattr(owner, "_untracked"):
        owner._untracked = types.SimpleNamespace(holders={})
    return owner._untracked.holders.setdefault(key, types.SimpleNamespace(value=None))
