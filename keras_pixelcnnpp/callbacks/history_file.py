"""What was measured in every epoch, as a plain file."""

import math
import time
from pathlib import Path

import keras

from keras_pixelcnnpp.atomic import write_json
from keras_pixelcnnpp.history import read_history


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch to a JSON file, for reports and for whoever wants to plot.

    The file is a list with one object per finished epoch: `epoch` (counted from 1), `seconds`
    (measuring included; of an epoch that was resumed half-way, of the rest), and what the
    callbacks before this one and the training loop logged, such as `val_bits_per_dim`. A number
    that is not finite becomes `null`. The file is replaced as a whole, and a resumed run goes on
    with it: what it holds of epochs that are trained again is dropped.

    `keras.callbacks.CSVLogger` is not used: a killed run may leave half a line, and a resumed one
    an epoch twice.

    Args:
        path: Where to.

    Example:

    ```python
    model.fit(..., callbacks=[HistoryFile("runs/digits/logs/pixelcnnpp/history.json")])
    read_history("runs/digits/logs/pixelcnnpp/history.json")[-1]["val_bits_per_dim"]
    ```
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        earlier = [row for row in read_history(self.path) if row["epoch"] <= epoch]
        seconds = round(time.perf_counter() - self._start, 3)
        row = {"epoch": epoch + 1, "seconds": seconds}
        row.update({name: _number(value) for name, value in (logs or {}).items()})
        write_json(self.path, [*earlier, row])


def _number(value) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None
