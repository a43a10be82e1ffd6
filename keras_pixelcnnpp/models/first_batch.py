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
    if hasattr(batches, "element_spec"):
        return first, _dataset(first, iterator, batches)
    if not hasattr(batches, "collate_fn"):
        return first, batches
    return first, _data_loader([itertools.chain([first], iterator)], batches)


def _dataset(first: Any, iterator: Any, batches: Any) -> Any:
    """Returns a `tf.data.Dataset` that continues an iterator once, and then reads `batches`.

    The iterator has already returned the batch `first`.
    """
    import tensorflow as tf

    # Not by a generator: Python would read the batches more slowly than TensorFlow.
    rest = tf.data.Dataset.counter().map(lambda _: iterator.get_next_as_optional())
    rest = rest.take_while(lambda batch: batch.has_value())
    rest = rest.map(lambda batch: batch.get_value())
    once, epochs = tf.data.Dataset.from_tensors(first).concatenate(rest), itertools.count()
    number = tf.data.Dataset.from_generator(
        lambda: [next(epochs)], output_signature=tf.TensorSpec((), "int64")
    )

    def epoch(number: Any) -> Any:
        is_first = tf.cast(number == 0, "int64")
        # -1 takes all batches.
        return once.take(-is_first).concatenate(batches.take(is_first - 1))

    again, count = number.flat_map(epoch), batches.cardinality()
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
