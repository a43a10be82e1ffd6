"""Which resolutions run at which row and column: a pattern that repeats, known before running.

Resolution `k` runs at every `2**k`-th row and column. So at row 0 of a pattern all resolutions
run, at row 1 only the full one, at row 2 the two highest, and so on.
"""


def lower_levels_running(index, num_levels):
    """How many of the `num_levels - 1` lower resolutions run at row (or column) `index`."""
    level = 0
    while level < num_levels - 1 and index % 2 ** (level + 1) == 0:
        level += 1
    return level
