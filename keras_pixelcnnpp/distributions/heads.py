"""The heads by name, and the softmax."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.distributions.counts import CategoricalCounts
from keras_pixelcnnpp.distributions.head import Head
from keras_pixelcnnpp.distributions.logistic_mixture import LogisticMixtureHead
from keras_pixelcnnpp.utils.backend import Tensor


class CategoricalHead(Head):
    """Softmax over the levels of each sub-pixel, which does not use the order of the levels.

    The parameters are the logits of all sub-pixels. In masked networks, the logits of a sub-pixel
    depend on the earlier sub-pixels of its pixel through channel groups. For networks that compute
    all sub-pixels at once, the head adds a table entry for the level of each earlier sub-pixel to
    the logits. The tables start at 0.

    Args:
        channels, num_levels: See `Head`.
        tables: Boolean, whether to use tables.

    Example:

    >>> head = CategoricalHead(channels=1, num_levels=4)
    >>> head.level_log_probs(keras.ops.zeros((1, 4)), [])          # log(1/4), four times

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, section 2.2,
        https://arxiv.org/abs/1601.06759
    """

    needs_groups = True

    def __init__(self, channels: int, num_levels: int, tables: bool = True):
        super().__init__(channels, num_levels, channels * num_levels, channels, "head_tables")
        pairs = [(channel, earlier) for channel in range(channels) for earlier in range(channel)]
        names = [f"{channel}_given_{earlier}" for channel, earlier in pairs] if tables else []
        self.tables = {
            name: keras.layers.Embedding(
                num_levels, num_levels, embeddings_initializer="zeros", dtype="float32", name=name
            )
            for name in names
        }
        for table in self.tables.values():
            table.build()

    def counts(self, tables: Sequence[np.ndarray]) -> CategoricalCounts:
        return CategoricalCounts(self.num_levels, dict(zip(self.tables, tables, strict=True)))

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
    ) -> Tensor:
        channel = len(earlier)
        logits = ops.split(parameters, self.channels, axis=-1)[channel]
        for index, levels in enumerate(earlier):
            if self.tables:
                table = self.tables[f"{channel}_given_{index}"]
                logits = logits + table(ops.cast(levels[..., 0], "int32"))
        logits = logits if temperature is None else logits / temperature
        return ops.log_softmax(logits, axis=-1)


#: Dict from names to classes of heads, to which you can add your own; see `Head`.
HEADS: dict[str, Any] = {"logistic_mixture": LogisticMixtureHead, "categorical": CategoricalHead}
