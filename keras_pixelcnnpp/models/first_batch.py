"""Reads the first batch of a stream for data-dependent initialization, and puts it back."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from keras_pixelcnnpp.errors import UserError


def with_first_batch(batches: Any) -> tuple[Any, Any]:
    """Returns the first batch of a stream, and an equal stream that still contains this batch.

    The stream is started only once, so a generator loses no data, and workers and shuffle buffers
    are not started twice.

    Args:
        batches: A `tf.data.Dataset`, a `keras.utils.PyDataset`, a `torch.utils.data.DataLoader`, a
            generator or another iterable. The latter is started twice.

    Returns:
        `(batch, batches)`. The batch is `None` if Keras does not support the type.

    Raises:
        UserError: If the stream is empty.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return batches[0], batches
    if not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
        return None, batches
    iterator = iter(batches)
    try:
        first = next(iterator)
    except StopIteration:
        raise UserError("`fit` needs at least one batch. Received: none") from None
    if iterator is batches:
        return first, (batch for batch in itertools.chain([first], iterator))  # a generator again
    begun = [itertools.chain([first], iterator)]

    def epoch() -> Iterable:
        """Returns an iterator over one epoch; for the first epoch, the one already started."""
        return begun.pop() if begun else iter(batches)

    if hasattr(batches, "element_spec"):
        import tensorflow as tf

        again = tf.data.Dataset.from_generator(epoch, output_signature=batches.element_spec)
        count = batches.cardinality()
        if count != tf.data.UNKNOWN_CARDINALITY:
            again = again.apply(tf.data.experimental.assert_cardinality(count))
        return first, again
    if not hasattr(batches, "collate_fn"):
        return first, batches
    return first, _data_loader(epoch, batches)


def _data_loader(epoch: Callable[[], Iterable], loader: Any) -> Any:
    """Returns a `DataLoader` with the batches of `epoch`, and the length of `loader`, if any."""
    from torch.utils.data import DataLoader, IterableDataset

    class Batches(IterableDataset):
        def __iter__(self) -> Iterator:
            return iter(epoch())

    if hasattr(loader.dataset, "__len__"):
        Batches.__len__ = lambda _: len(loader)
    return DataLoader(Batches(), batch_size=None)
