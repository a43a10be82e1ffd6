"""How a label enters the network: one small layer for each fusion strategy."""

from keras_pixelcnnpp.conditioning.bias_conditioning import BiasConditioning
from keras_pixelcnnpp.conditioning.embedding_conditioning import EmbeddingConditioning
from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning
from keras_pixelcnnpp.conditioning.registry import (
    STRATEGIES,
    build_conditioning,
    parse_conditioning,
)

__all__ = [
    "STRATEGIES",
    "BiasConditioning",
    "EmbeddingConditioning",
    "LabelConditioning",
    "build_conditioning",
    "parse_conditioning",
]
