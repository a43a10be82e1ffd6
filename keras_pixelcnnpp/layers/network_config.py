"""Options of a network, which it hands to its stacks and blocks."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

import keras

from keras_pixelcnnpp.conditions import Conditions, conditions_of
from keras_pixelcnnpp.layers.conditioning import STRATEGIES, Conditioning, parse_conditioning


@dataclass(frozen=True)
class NetworkConfig:
    """Options of a network, which all of its parts receive.

    Args:
        num_parameters: Integer, number of outputs of the network for each pixel.
        image_shape: Triple of integers, the shape of an image.
        num_levels: Integer, number of levels of a sub-pixel.
        ordered_levels: Boolean, whether the network takes the levels as numbers.
        filters: Integer, or one integer for each resolution: number of channels.
        num_blocks: Integer, or one integer for each resolution: number of residual blocks.
        groups: Integer, number of channel groups. With several groups, a sub-pixel depends on the
            earlier ones of its pixel, and the network is evaluated once for each.
        dropout_rate: Float in [0, 1).
        conditioning: Names of conditioning strategies, joined by `+`, or `"none"`.
        conditioned_blocks: Blocks that use the label: `"all"`, `"up"` or `"up_horizontal"`; see
            `PixelCNNPlusPlus`.
        conditions: `Conditions`, from which the strategies get their weights.

    Example:

    >>> NetworkConfig(conditioning="bias", conditions=conditions_of(3)).without_conditioning()
    """

    num_parameters: int = 1
    image_shape: tuple[int, int, int] = (1, 1, 1)
    num_levels: int = 256
    ordered_levels: bool = True
    filters: Any = 1
    num_blocks: Any = 1
    groups: int = 1
    dropout_rate: float = 0.0
    conditioning: str = "none"
    conditioned_blocks: str = "all"
    conditions: Conditions = field(default_factory=Conditions)

    @classmethod
    def names(cls) -> list[str]:
        """Returns the names of the options."""
        return [one.name for one in dataclasses.fields(cls)]

    def get_config(self) -> dict[str, Any]:
        """Returns the options as plain data."""
        options = {name: getattr(self, name) for name in self.names()}
        return {**options, "conditions": self.conditions.arguments()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Creates the options from the result of `get_config`."""
        return cls(**{**config, "conditions": conditions_of(**config["conditions"])})

    def without_conditioning(self) -> Self:
        """Returns the options for a part of the network that does not use the label."""
        return dataclasses.replace(self, conditioning="none")

    def strategies(
        self, place: str, dtype: keras.DTypePolicy | str | None = None, prefix: str = ""
    ) -> list[Conditioning]:
        """Creates the layers of the conditioning strategies that act at `place`.

        `prefix` is prepended to the layers' names, for owners that have the same place twice.
        """
        if not self.conditions:
            return []
        return [
            STRATEGIES[name](self.conditions, name=f"{prefix}{name}_{place}", dtype=dtype)
            for name in parse_conditioning(self.conditioning)
            if STRATEGIES[name].place == place
        ]
