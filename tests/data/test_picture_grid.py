import numpy as np

from keras_pixelcnnpp.data.images import picture_grid


def test_grid_has_every_picture_in_its_place():
    pixels = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1).repeat(70, 1).repeat(70, 2)
    grid = picture_grid(pixels, columns=2)
    assert grid.shape == (3 * 71 + 1, 2 * 71 + 1, 1)
    assert [grid[36, 36, 0], grid[36, 107, 0], grid[178, 36, 0]] == [0, 1, 4]
    assert grid[178, 107, 0] == 255


def test_small_pictures_are_enlarged():
    assert picture_grid(np.zeros((4, 8, 8, 3), "uint8")).shape == (19 * 8, 19 * 8, 3)
