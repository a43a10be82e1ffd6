"""Tables of invalid arguments."""


def each(*table):
    """Rows for `parametrize` of `(what, arguments, name)`, one for each invalid value.

    A line of the table is `(what, valid, invalid)`: a class or the name of a method, its valid
    arguments as a dict, and from the names of others a list of invalid values.
    """
    return [
        (what, {**valid, name: value}, name)
        for what, valid, invalid in table
        for name, values in invalid.items()
        for value in values
    ]
