import pytest

from keras_pixelcnnpp.sampling.incremental_pass import lower_levels_running


@pytest.mark.parametrize(
    ("num_levels", "pattern"),
    [(1, [0] * 8), (2, [1, 0] * 4), (3, [2, 0, 1, 0] * 2), (4, [3, 0, 1, 0, 2, 0, 1, 0])],
)
def test_pattern(num_levels, pattern):
    assert [lower_levels_running(index, num_levels) for index in range(8)] == pattern
