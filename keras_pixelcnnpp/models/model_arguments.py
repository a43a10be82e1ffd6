"""What the arguments of `PixelCNNPlusPlus` must be."""

from keras_pixelcnnpp.arguments import (
    require_at_most,
    require_nonnegative_number,
    require_positive_integer,
    require_positive_number,
    require_rate,
)
from keras_pixelcnnpp.conditioning import parse_conditioning


def check_arguments(model):
    """Raises a `ValueError` unless the numbers that a model was made with are in range."""
    for name in ("num_mixtures", "num_levels"):
        require_positive_integer(name, getattr(model, name))
    for name in ("dropout_rate", "label_dropout_rate"):
        require_rate(name, getattr(model, name))
    if not 2 <= model.num_levels <= 256:
        raise ValueError(
            "Invalid value for argument `num_levels`. Expected an integer from 2 to 256. "
            f"Received: num_levels={model.num_levels}"
        )
    if isinstance(model.num_classes, bool) or not (
        isinstance(model.num_classes, int) and model.num_classes >= 0
    ):
        raise ValueError(
            "Invalid value for argument `num_classes`. Expected an integer of at least 0. "
            f"Received: num_classes={model.num_classes!r}"
        )
    for name in ("filters", "num_blocks"):
        value = getattr(model, name)
        values = per_resolution(value, model.num_resolutions)
        for number in values:
            require_positive_integer(name, number)
            require_at_most(name, number, 2**20 if name == "filters" else 1000)
        if len(values) != model.num_resolutions:
            raise ValueError(
                f"Invalid value for argument `{name}`. Expected an integer or one for each of "
                f"num_resolutions={model.num_resolutions}. Received: {name}={value}"
            )
    require_nonnegative_number("label_loss_weight", model.label_loss_weight)
    require_positive_number("initial_temperature", model.initial_temperature)
    parse_conditioning(model.conditioning)


def checked_image_shape(image_shape, num_resolutions):
    """Three integers `(height, width, channels)`; a `ValueError` if they don't fit the network."""
    require_positive_integer("num_resolutions", num_resolutions)
    require_at_most("num_resolutions", num_resolutions, 16)
    try:
        height, width, channels = (int(size) for size in image_shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise ValueError(
            "Invalid value for argument `image_shape`. Expected three positive integers "
            f"(height, width, channels). Received: image_shape={image_shape}"
        )
    step = 2 ** (num_resolutions - 1)
    if height % step or width % step:
        raise ValueError(
            f"Invalid value for argument `image_shape`. Expected a height and width that {step} "
            f"divides, for num_resolutions={num_resolutions}. Received: image_shape={image_shape}"
        )
    return height, width, channels


def per_resolution(value, num_resolutions):
    """The values for each resolution, highest first, of an argument that may be one for all."""
    return value if isinstance(value, tuple) else (value,) * num_resolutions
