"""How far generated pictures are from real ones, while a model trains."""

from collections.abc import Callable, Sequence

import keras

from keras_pixelcnnpp.callbacks.averaged_weights import averaged_weights
from keras_pixelcnnpp.generation.class_samples import ClassSamples


class FrechetMonitor(keras.callbacks.Callback):
    """Adds `val_frechet_distance` to the logs of every few epochs.

    The pictures are drawn with the averaged weights, and from the same random numbers every time.
    Callbacks that use what it logs (TensorBoard, the history file) must come after it.

    Args:
        distance: A function of `ClassSamples` that returns the distance, or `None`, such as
            `generation.Comparison.distance`.
        class_names: The name of each class.
        every: Integer, the number of epochs from one measurement to the next.
        per_class: Integer, the number of pictures of each class.

    Example:

    ```python
    monitor = FrechetMonitor(comparison.distance, dataset.class_names, every=10, per_class=25)
    model.fit(..., callbacks=[monitor, HistoryFile(path)])
    ```
    """

    def __init__(
        self,
        distance: Callable[[ClassSamples], float | None],
        class_names: Sequence[str],
        every: int,
        per_class: int,
    ):
        super().__init__()
        self.distance = distance
        self.class_names = class_names
        self.every = every
        self.per_class = per_class

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every:
            return
        with averaged_weights(self.model):
            samples = ClassSamples.draw(self.model, self.class_names, self.per_class, verbose=0)
        distance = self.distance(samples)
        if logs is not None and distance is not None:
            logs["val_frechet_distance"] = distance
