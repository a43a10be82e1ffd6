import keras
import numpy as np

from keras_pixelcnnpp.train.monitors import FrechetMonitor


class Drawing:
    """What the callback needs of a model."""

    num_classes = 3
    num_levels = 5
    optimizer = keras.optimizers.SGD()

    def sample(self, labels, **_):
        return np.broadcast_to(np.uint8(labels)[:, None, None, None], (len(labels), 2, 2, 1))


def logged(distance):
    """What five epochs log."""
    monitor = FrechetMonitor(distance, ("a", "b", "c"), every=2, per_class=4)
    monitor.set_model(Drawing())
    logs = [{} for _ in range(5)]
    for epoch, row in enumerate(logs):
        monitor.on_epoch_end(epoch, row)
    return logs


def test_every_second_epoch_from_as_many_pictures_of_each_class():
    logs = logged(lambda samples: np.bincount(samples.levels[:, 0, 0, 0]).tolist())
    expected = {"val_frechet_distance": [4, 4, 4]}
    assert logs == [{}, expected, {}, expected, {}]


def test_no_number_where_there_is_no_distance():
    assert logged(lambda samples: None) == [{}] * 5
