"""Maps, which have the image's axes, as the conditions of a model."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.conditions.numbers import Numbers, NumbersEncoder
from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_codes,
    plain,
    require_finite,
    require_integer,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument
from keras_pixelcnnpp.utils.hashes import array_hashes

# Number of channels of an encoded map.
_WIDTH = 32


class Maps(Numbers):
    """Maps, such as a noisy or a coarse image, as the conditions of a model of p(x | map).

    A map is scaled to [-1, 1] by its bounds, and encoded once for each image by a network that is
    not causal: each pixel of the image may depend on the whole neighborhood of its place in the
    map. A strategy's weights are linear in the encoded map at the pixel's place. There is no p(x):
    methods that score or sample need a map for each image, or one for all.

    Args:
        shape: Triple of integers `(height, width, channels)`. Height and width are those of the
            image, or divide them.
        low: Number, or a sequence with one number for each channel: the lower bounds. `None` takes
            the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of strings, the names of the channels. The default is `h0`, `h1` and so on.
        num_codes: Integer, number of codes without an order, from 0 on, or a sequence with one
            number for each channel; see `of_codes`. The bounds are then those of the codes.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    conditions = kp.Maps.of_images((14, 14, 1))
    model = kp.PixelCNNPlusPlus((28, 28, 1), conditions=conditions)
    model.compile("adam")
    model.fit(images, coarse)                   # uint8 (N, 14, 14, 1)
    model.sample(coarse[:10], seed=0)           # uint8 (10, 28, 28, 1)
    ```

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, section 2.3,
        https://arxiv.org/abs/1606.05328
    """

    kind = "maps"
    name = "map"
    cure = "Give bounds of most values, Maps(shape, low=…, high=…), and clip maps to them"
    in_data = "arrays maps_… in an .npz file, or a folder maps next to images"
    places = ("stem", "hidden", "gate")
    conditioned_blocks = "all"
    tileable = True
    num_rows = 1 + _WIDTH

    def __init__(
        self,
        shape: tuple[int, ...],
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        num_codes: int | Sequence[int] | None = None,
    ):
        if np.ndim(shape) != 1 or len(shape) != 3:
            raise invalid_argument("shape", shape, "(height, width, channels)")
        self.num_codes = None if num_codes is None else _checked_codes(num_codes, shape[2])
        if self.num_codes is not None:
            low, high = 0, np.subtract(self.num_codes, 1)
        super().__init__(shape, low, high, names)
        if self.num_codes is not None:
            self.is_linear[:] = False
            last = [f"{number - 1} ({name})" for name, number in self.codes_by_name.items()]
            if isinstance(self.num_codes, int):
                last = [str(self.num_codes - 1)]
            self.numbers = f"codes from 0 to {', '.join(last)}"

    @property
    def codes_by_name(self) -> dict[str, int]:
        """The number of codes of each channel; for maps of codes."""
        numbers = np.broadcast_to(self.num_codes, self.size).tolist()
        return dict(zip(self.names, numbers, strict=True))

    @classmethod
    def of_images(cls, shape: tuple[int, int, int], num_levels: int = 256) -> Self:
        """Returns the part for maps that are images, with values below `num_levels`.

        Maps are refused if all their values are from 0 to 1, and fractions are among them, because
        the model takes images that are not scaled. With up to 50 levels, they are not refused.
        """
        require_integer("num_levels", num_levels, low=2)
        return cls(shape, 0, num_levels - 1)

    @classmethod
    def of_codes(cls, shape: tuple[int, int, int], num_codes: int | Sequence[int]) -> Self:
        """Returns the part for maps of codes without an order, such as those of a VQ-VAE-2.

        The network has a learned vector for each code of each channel, an integer below
        `num_codes`. Channels of different kinds, such as the top codes and a segmentation, have
        their own numbers of codes: `of_codes((7, 7, 2), num_codes=(512, 10))`.
        """
        return cls(shape, num_codes=num_codes)

    def config(self) -> dict[str, Any]:
        return {"shape": self.shape, "num_codes": self.num_codes, **super().config()}

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        maps = super().parse(given, count, unknown, several)
        if not self.fit_in(maps, np).all():
            raise UserError(
                f"Invalid maps. Expected {self.numbers}. "
                f"Received: values from {maps.min():g} to {maps.max():g}"
            )
        is_scaled = maps.size and maps.min() >= 0 and maps.max() <= 1 and (maps % 1).any()
        if is_scaled and not self.bounds[0].any() and (self.bounds[1] >= 50).all():
            high = self.bounds[1].max()
            raise UserError(
                f"Invalid maps. Expected values from 0 to {high:g}, such as {high:g} * maps. "
                f"Received: values from {maps.min():.9g} to {maps.max():.9g}"
            )
        return maps

    def fit_in(self, values: Any, xp: Any) -> Any:
        if self.num_codes is None:
            return super().fit_in(values, xp)
        below = xp.less(values, np.array([*self.codes_by_name.values()], "int32"))
        return (values >= 0) & below & (values == xp.floor(values))

    def _with_all_axes(self, array: np.ndarray, count: int) -> np.ndarray:
        first = self.size, *self.shape[:2]
        if array.ndim > 3 and array.shape[-3:] == first != self.shape:
            raise UserError(
                f"Invalid maps. Expected channels last, {('N', *self.shape)}. Received: "
                f"{array.shape}. Move them: np.moveaxis(maps, -3, -1)"
            )
        has_no_channels = array.shape[-3:] != self.shape and array.shape[-2:] == self.shape[:2]
        return array[..., None] if self.size == 1 and has_no_channels else array

    def number_of(self, given: Any) -> int:
        array = self._with_all_axes(np.asarray(given), 1)
        return len(array) if array.ndim == 4 else 1

    @classmethod
    def of_data(
        cls, values: np.ndarray, names: Sequence[str] = (), num_codes: int | None = None
    ) -> Self:
        shape = values.shape[1:]
        # Beside codes, maps of integers are codes, too.
        are_codes = num_codes is not None and values.dtype.kind in "ui"
        return cls.of_codes(shape, num_codes) if are_codes else cls(shape)

    @classmethod
    def checked_array(
        cls, values: np.ndarray, count: int, name: str, num_codes: int | None = None
    ) -> np.ndarray:
        array = values[..., None] if values.ndim == 3 else values
        are_numbers = array.size and array.dtype.kind in "uif"
        if array.ndim != 4 or len(array) != count or not are_numbers:
            raise UserError(
                f"{name} must be numbers ({count}, height, width) or ({count}, height, width, "
                f"channels). Received: {values.dtype} {values.shape}"
            )
        require_finite(array, name)
        if num_codes is not None and array.dtype.kind in "ui":
            return checked_codes(array, num_codes, name)
        return array

    def texts(self, values: np.ndarray) -> list[str]:
        return list(array_hashes(values))

    def described(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {"maps": values}

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        return image_shape[0] // self.shape[0], image_shape[1] // self.shape[1]

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> Self:
        rows, columns = self.pixel_size(image_shape)
        if size[0] % rows or size[1] % columns:
            raise UserError(
                f"A pixel of a map covers {rows}×{columns} pixels. Expected frames whose height "
                f"and width are multiples of them. Received: {size[0]}×{size[1]}"
            )
        shape = (size[0] // rows, size[1] // columns, self.size)
        return type(self)(**{**self.config(), "shape": shape})

    def in_window(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        return values[:, rows, columns]

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "MapEncoder":
        height, width, _ = image_shape
        if height % self.shape[0] or width % self.shape[1]:
            expected = f"a height and a width that divide those of image_shape={image_shape}"
            raise invalid_argument("shape", self.shape, expected)
        return MapEncoder(self, image_shape, name=name)

    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        table = ops.convert_to_tensor(table)
        return ops.tensordot(ops.cast(encoded, table.dtype), table, 1)


def _checked_codes(num_codes: int | Sequence[int], channels: int) -> int | tuple[int, ...]:
    """Returns one number of codes, or one for each channel if they differ."""
    given: list = [*num_codes] if isinstance(num_codes, Sequence | np.ndarray) else [num_codes]
    if np.ndim(num_codes) and len(given) != channels:
        expected = f"an integer, or one for each of the {channels} channels"
        raise invalid_argument("num_codes", num_codes, expected)
    for one in given:
        require_integer("num_codes", one, low=2, high=100_000)
    return plain(given[0]) if len({*given}) == 1 else plain(tuple(given))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MapEncoder(NumbersEncoder):
    """Encodes scaled maps by convolutions that are not causal, at each resolution of the image.

    A convolution and two residual blocks at the map's size, a transposed convolution to the image's
    size if the map is coarser, another residual block, and a layer normalization, without which
    training was unstable at a learning rate of 0.003. Lower resolutions are means of 2×2
    pixels, as long as height and width are even.

    Args:
        part: The part, a `Maps`.
        image_shape: Triple of integers, the shape of an image.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Float tensor `(batch, candidates, map height, map width, map channels)`.

    Returns:
        List of float32 tensors `(batch, candidates, height, width, 33)`, highest resolution first.
        The first channel is 1.
    """

    def __init__(self, part: Maps, image_shape: Sequence[int], **kwargs: Any):
        super().__init__(part, **kwargs)
        height, width, _ = part.shape
        steps = image_shape[0] // height, image_shape[1] // width
        first = layers.Conv2D(_WIDTH, 3, **_IN_FLOAT32, name="first")
        if part.num_codes:
            numbers = tuple(part.codes_by_name.values())
            first = CodeEmbedding(numbers, dtype="float32", name="first")
        self.steps = [first, *(_Residual(_WIDTH, name=f"residual_{index}") for index in (0, 1))]
        if steps != (1, 1):
            up = layers.Conv2DTranspose(_WIDTH, steps, steps, **_IN_FLOAT32, name="upsampling")
            self.steps.append(up)
        self.steps.append(_Residual(_WIDTH, name="residual_2"))
        self.steps.append(layers.LayerNormalization(dtype="float32", name="normalization"))
        shape: Shape = (None, *part.shape)
        for layer in self.steps:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def learn(self, parsed: np.ndarray | None) -> None:
        are_learned = not self.are_bounds_known
        super().learn(parsed)
        if parsed is not None and are_learned:
            self.note_narrow(parsed)

    def call(self, values: Tensor) -> list[Tensor]:
        candidates = values.shape[1]
        x = ops.reshape(ops.cast(values, "float32"), (-1, *values.shape[2:]))
        for layer in self.steps:
            x = layer(x)
        x = ops.concatenate([ops.ones_like(x[..., :1]), x], -1)
        encoded = [x]
        while x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0:
            halves = x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]
            x = ops.mean(ops.reshape(x, (-1, *halves)), axis=(2, 4))
            encoded.append(x)
        return [ops.reshape(x, (-1, candidates, *x.shape[1:])) for x in encoded]


_IN_FLOAT32 = {"padding": "same", "data_format": "channels_last", "dtype": "float32"}


class _Residual(layers.Layer):
    """Adds two 3×3 convolutions of its input, each after an ELU."""

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.convolutions = [
            layers.Conv2D(filters, 3, **_IN_FLOAT32, name=f"conv_{index}") for index in (0, 1)
        ]

    def build(self, x_shape: Shape) -> None:
        for convolution in self.convolutions:
            convolution.build(x_shape)

    def call(self, x: Tensor) -> Tensor:
        change = x
        for convolution in self.convolutions:
            change = convolution(ops.elu(change))
        return x + change

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape


class CodeEmbedding(layers.Layer):
    """Adds up a learned vector for the code in each channel, from codes that are scaled.

    `num_codes` has the number of codes of each channel.
    """

    def __init__(self, num_codes: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.num_codes = num_codes

    def build(self, x_shape: Shape) -> None:
        self.table = self.add_weight(
            name="table", shape=(sum(self.num_codes), _WIDTH), initializer="random_normal"
        )

    def call(self, x: Tensor) -> Tensor:
        half = ops.convert_to_tensor(np.subtract(self.num_codes, 1) / 2, "float32")
        codes = ops.cast(ops.round((x + 1) * half), "int32")
        first = np.cumsum((0, *self.num_codes[:-1]))  # row of the table
        rows = codes + ops.convert_to_tensor(first, "int32")
        return ops.sum(ops.take(self.table, rows, axis=0), axis=-2)

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return (*x_shape[:-1], _WIDTH)
