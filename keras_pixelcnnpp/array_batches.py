"""Arrays, batch by batch."""

import math

import keras


class ArrayBatches(keras.utils.PyDataset):
    """Arrays, cut into batches, in their order.

    Args:
        inputs: Dict of arrays `(count, ...)`.
        batch_size: Integer; the last batch may be smaller.

    Raises:
        ValueError: If there are no rows.

    Example:

    >>> [len(batch["x"]) for (batch,) in ArrayBatches({"x": np.zeros(5)}, 2)]
    [2, 2, 1]
    """

    def __init__(self, inputs, batch_size):
        super().__init__()
        self.inputs = inputs
        self.batch_size = batch_size
        if len(self) == 0:
            raise ValueError("Invalid value for argument `inputs`. Expected at least one row.")

    def __len__(self):
        return math.ceil(len(next(iter(self.inputs.values()))) / self.batch_size)

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return ({name: value[rows] for name, value in self.inputs.items()},)
