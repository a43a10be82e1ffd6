"""The fusion strategies by name."""

from keras_pixelcnnpp.conditioning.bias_conditioning import BiasConditioning
from keras_pixelcnnpp.conditioning.embedding_conditioning import EmbeddingConditioning

STRATEGIES = {
    "embedding": EmbeddingConditioning,
    "bias": BiasConditioning,
}


def parse_conditioning(conditioning):
    """Splits `"bias+embedding"` into names; `"none"` gives no name.

    Raises:
        ValueError: If a name is unknown or named twice.
    """
    names = [] if conditioning == "none" else str(conditioning).split("+")
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or len(set(names)) != len(names):
        raise ValueError(
            "Invalid value for argument `conditioning`. Expected 'none' or different names from "
            f"{', '.join(STRATEGIES)}, joined by '+'. Received: conditioning={conditioning!r}"
        )
    return names


def build_conditioning(conditioning, place, num_classes):
    """Creates the layers of the strategies in `conditioning` that act at `place`.

    Args:
        conditioning: Strategy names joined by `+`, or `"none"`.
        place: One of `"input"`, `"stem"`, `"hidden"`, `"gate"`, `"bottleneck"`, `"head"`.
        num_classes: Integer, number of classes. With 0 there is no label and no layer.

    Returns:
        List of layers, often empty.
    """
    if num_classes == 0:
        return []
    return [
        STRATEGIES[name](num_classes, name=f"{name}_{place}")
        for name in parse_conditioning(conditioning)
        if STRATEGIES[name].place == place
    ]
