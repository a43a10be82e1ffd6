"""Batches whose rows several devices share."""

import keras
import numpy as np


class ShardedSequence(keras.utils.PyDataset):
    """Batches of an `ImageSequence`, cut so that every device gets equally many pictures.

    A batch that cannot be divided, as the last one of an epoch often is, is filled up with
    pictures of weight 0; the others then weigh so much more that the mean over all rows is the mean
    over the pictures. So the gradient is that of the whole batch on one device.

    Metrics count the filled-up batch as a whole one: an epoch's logged means may differ a little
    from those of one device.

    With several workers (processes), each sees its own rows of every batch: which pictures a batch
    has depends on the seed and the epoch only, and so every worker cuts the same batch.

    Args:
        batches: The `ImageSequence`; its `set_epoch` says which epoch's batches these are.
        num_devices: Integer, number of devices of all workers together.
        shard: Integer, which worker's rows, from 0.
        num_shards: Integer, number of workers; it must divide `num_devices`.
        **kwargs: Arguments of `keras.utils.PyDataset`.

    Each batch is the tuple of one dict that `batches` gives. If any batch of an epoch must be
    filled up, every one is a tuple of that dict, the weights, and the weights once more (the
    second is Keras's place for targets, which the models don't look at).

    Raises:
        ValueError: If `num_shards` doesn't divide `num_devices`, or there is no such shard.

    Example:

    ```python
    batches = ImageSequence(images, labels, batch_size=64, num_classes=10)
    len(ShardedSequence(batches, num_devices=8, shard=1, num_shards=2)[0][0]["image"])    # 32
    ```
    """

    def __init__(self, batches, num_devices, shard=0, num_shards=1, **kwargs):
        super().__init__(**kwargs)
        if num_devices % num_shards or not 0 <= shard < num_shards:
            raise ValueError(
                "Invalid value for argument `shard`. Expected an integer from 0 to num_shards - 1, "
                "and num_shards to divide num_devices. Received: "
                f"shard={shard}, num_shards={num_shards}, num_devices={num_devices}"
            )
        self.batches = batches
        self.num_devices = num_devices
        self.shard = shard
        self.num_shards = num_shards
        sizes = (batches.batch_size, len(batches.images) % batches.batch_size)
        self._weighted = any(size % num_devices for size in sizes)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        (batch,) = self.batches[index]
        count = len(batch["image"])
        filled = count + -count % self.num_devices
        share = filled // self.num_shards
        rows = np.arange(self.shard * share, (self.shard + 1) * share)
        batch = {name: value[rows % count] for name, value in batch.items()}
        if not self._weighted:
            return (batch,)
        weights = np.where(rows < count, filled / count, 0).astype("float32")
        return batch, weights, weights

    def on_epoch_end(self):
        """Goes on to the next epoch. Keras calls it."""
        self.batches.on_epoch_end()
