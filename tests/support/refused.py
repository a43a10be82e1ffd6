"""Tables of invalid arguments."""


def each(*table):
    """Returns rows `(what, arguments, name)` for `parametrize`, one per invalid value.

    A row of the table is `(what, valid, invalid)`: a class or the name of a method, a dict of its
    valid arguments, and a dict from names to lists of invalid values.
    """
    return [
        (what, {**valid, name: value}, name)
        for what, valid, invalid in table
        for name, values in invalid.items()
        for value in values
    ]
