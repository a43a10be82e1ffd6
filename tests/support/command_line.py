"""Checks of what a command answers, for the fixture `pixelcnnpp`."""


def done(result):
    """The output of a command that succeeded."""
    status, out, err = result
    assert status == 0, err
    return out


def one_line(result, *fragments):
    """Checks that a command failed with one clear line."""
    status, _, err = result
    assert status == 2
    assert err.startswith("pixelcnnpp: error: ")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err
