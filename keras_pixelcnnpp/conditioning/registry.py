"""The fusion strategies by name."""

from keras_pixelcnnpp.conditioning.adaptive_norm_conditioning import AdaptiveNormConditioning
from keras_pixelcnnpp.conditioning.bias_conditioning import BiasConditioning
from keras_pixelcnnpp.conditioning.cross_attention_conditioning import CrossAttentionConditioning
from keras_pixelcnnpp.conditioning.embedding_conditioning import EmbeddingConditioning
from keras_pixelcnnpp.conditioning.film_conditioning import FilmConditioning
from keras_pixelcnnpp.conditioning.mixture_head_conditioning import MixtureHeadConditioning
from keras_pixelcnnpp.conditioning.one_hot_conditioning import OneHotConditioning
from keras_pixelcnnpp.conditioning.spatial_conditioning import SpatialConditioning

STRATEGIES = {
    "one_hot": OneHotConditioning,
    "embedding": EmbeddingConditioning,
    "bias": BiasConditioning,
    "film": FilmConditioning,
    "adaptive_norm": AdaptiveNormConditioning,
    "spatial": SpatialConditioning,
    "cross_attention": CrossAttentionConditioning,
    "mixture_head": MixtureHeadConditioning,
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


def build_conditioning(conditioning, place, num_classes, prefix="", dtype=None):
    """Creates the layers of the strategies in `conditioning` that act at `place`.

    Args:
        conditioning: Strategy names joined by `+`, or `"none"`.
        place: One of `"input"`, `"stem"`, `"hidden"`, `"gate"`, `"bottleneck"`, `"head"`.
        num_classes: Integer, number of classes. With 0 there is no label and no layer.
        prefix: String before the layers' names, where an owner has one place twice.
        dtype: Dtype policy of the layers; the owner's.

    Returns:
        List of layers, often empty.
    """
    if num_classes == 0:
        return []
    return [
        STRATEGIES[name](num_classes, name=f"{prefix}{name}_{place}", dtype=dtype)
        for name in parse_conditioning(conditioning)
        if STRATEGIES[name].place == place
    ]
