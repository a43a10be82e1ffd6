"""How a label enters the network: one small layer for each fusion strategy."""

from keras_pixelcnnpp.conditioning.adaptive_norm_conditioning import AdaptiveNormConditioning
from keras_pixelcnnpp.conditioning.bias_conditioning import BiasConditioning
from keras_pixelcnnpp.conditioning.cross_attention_conditioning import CrossAttentionConditioning
from keras_pixelcnnpp.conditioning.embedding_conditioning import EmbeddingConditioning
from keras_pixelcnnpp.conditioning.film_conditioning import FilmConditioning
from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning
from keras_pixelcnnpp.conditioning.mixture_head_conditioning import MixtureHeadConditioning
from keras_pixelcnnpp.conditioning.one_hot_conditioning import OneHotConditioning
from keras_pixelcnnpp.conditioning.registry import (
    STRATEGIES,
    build_conditioning,
    parse_conditioning,
)
from keras_pixelcnnpp.conditioning.spatial_conditioning import SpatialConditioning

__all__ = [
    "STRATEGIES",
    "AdaptiveNormConditioning",
    "BiasConditioning",
    "CrossAttentionConditioning",
    "EmbeddingConditioning",
    "FilmConditioning",
    "LabelConditioning",
    "MixtureHeadConditioning",
    "OneHotConditioning",
    "SpatialConditioning",
    "build_conditioning",
    "parse_conditioning",
]
