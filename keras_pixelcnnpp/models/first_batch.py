"""Reads the first batch of a stream, to check it and initialize from it, and puts it back."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_pixelcnnpp.utils.errors import UserError


def with_first_batch(batches: Any, name: str) -> tuple[Any, Any]:
    """Returns the first batch of a stream, and an equal stream that still contains this batch.

    The stream is started only once, so a generator loses no data, and workers and shuffle buffers
    are not started twice.

    Args:
        batches: A `tf.data.Dataset`, a `keras.utils.PyDataset`, a `torch.utils.data.DataLoader`, a
            generator or another iterable. The latter is started twice.
        name: Name of the method that needs it, for messages.

    Returns:
        `(batch, batches)`. The batch is `None` if Keras does not support the type.

    Raises:
        UserError: If the stream is empty.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return batches[0], batches
    if not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
        return None, batches
    if hasattr(batches, "element_spec") and not hasattr(batches, "take"):
        return None, batches  # a `tf.distribute.DistributedDataset`
    iterator = iter(batches)
    try:
        first = next(iterator)
    except StopIteration:
        raise UserError(f"`{name}` needs at least one batch. Received: none") from None
    if iterator is batches:
        return first, (batch for batch in itertools.chain([first], iterator))  # a generator again
    begun: list[Iterator] = [itertools.chain([first], iterator)]
    if hasattr(batches, "element_spec"):
        return first, _dataset(begun, batches)
    if not hasattr(batches, "collate_fn"):
        return first, batches
    return first, _data_loader(begun, batches)


def _dataset(begun: list[Iterator], batches: Any) -> Any:
    """Returns a `tf.data.Dataset` that continues an iterator once, and then reads `batches`."""
    import tensorflow as tf

    now: list[Iterator] = []

    def continued() -> Iterable:
        now[:] = [begun.pop()] if begun else []
        return now[0] if now else ()

    # Only the first epoch is read by Python. -1 takes all batches.
    once = tf.data.Dataset.from_generator(continued, output_signature=batches.element_spec)
    count = tf.data.Dataset.from_generator(
        lambda: [0 if now else -1], output_signature=tf.TensorSpec((), "int64")
    )
    again = once.prefetch(1).concatenate(count.flat_map(batches.take))
    count = batches.cardinality()
    if count != tf.data.UNKNOWN_CARDINALITY:
        again = again.apply(tf.data.experimental.assert_cardinality(count))
    return again


def _data_loader(begun: list[Iterator], loader: Any) -> Any:
    """Returns a `DataLoader` that continues an iterator once, and then reads `loader`."""
    from torch.utils.data import DataLoader, IterableDataset

    class Batches(IterableDataset):
        def __iter__(self) -> Iterator:
            return begun.pop() if begun else iter(loader)

    if hasattr(loader.dataset, "__len__"):
        Batches.__len__ = lambda _: len(loader)
    return DataLoader(Batches(), batch_size=None)
