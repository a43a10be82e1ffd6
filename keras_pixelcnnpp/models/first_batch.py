"""The first batch of a stream, for the data-dependent initialization, without losing it."""

import copy
import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from keras_pixelcnnpp.errors import UserError


def with_first_batch(batches: Any) -> tuple[Any, Any]:
    """The first batch of a stream, and the stream with that batch still to come.

    A stream that can be read only once loses nothing, workers start once, and a shuffle buffer is
    filled once.

    Args:
        batches: A `tf.data.Dataset`, a `keras.utils.PyDataset`, a `torch.utils.data.DataLoader` or
            a generator.

    Returns:
        `(batch, batches)`, the second of a kind that Keras takes. The batch is `None` for a kind
        that Keras refuses.

    Raises:
        UserError: If there is no batch.
    """
    if isinstance(batches, keras.utils.PyDataset):
        return batches[0], batches
    kinds = (hasattr(batches, "element_spec"), hasattr(batches, "collate_fn"))
    if not (any(kinds) or isinstance(batches, types.GeneratorType)):
        return None, batches
    iterator = iter(batches)
    try:
        first = next(iterator)
    except StopIteration:
        raise UserError("`fit` needs at least one batch. Received: none") from None
    if iterator is batches:  # a generator
        return first, _from(first, iterator)
    begun = [itertools.chain([first], iterator)]

    def epoch() -> Iterable:
        """An iterator over one epoch, the first of which has begun."""
        return begun.pop() if begun else iter(batches)

    if hasattr(batches, "element_spec"):
        import tensorflow as tf

        again = tf.data.Dataset.from_generator(epoch, output_signature=batches.element_spec)
        count = batches.cardinality()
        if count != tf.data.UNKNOWN_CARDINALITY:
            again = again.apply(tf.data.experimental.assert_cardinality(count))
        return first, again
    return first, _loader(batches, epoch)


def _from(first: Any, iterator: Iterator) -> Iterator:
    yield first
    yield from iterator


def _loader(batches: Any, epoch: Callable[[], Iterable]) -> Any:
    """A `DataLoader` of the same attributes whose epochs are those of `epoch()`."""
    loader = copy.copy(batches)
    kind = type(batches)
    # Keras asks for the class.
    loader.__class__ = type(kind.__name__, (kind,), {"__iter__": lambda _: epoch()})
    return loader
