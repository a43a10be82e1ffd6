"""What a model's generated pictures are like, in numbers."""

import time
from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.metrics import bits_per_dim


def evaluate_generation(
    model,
    class_names: Sequence[str],
    per_class: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    guidance: float = 0.0,
) -> tuple[ClassSamples, dict]:
    """Draws pictures of each class and measures them.

    Args:
        model: A trained `PixelCNNPlusPlus`.
        class_names: The name of each class.
        per_class: How many pictures of each.
        seed: As in `PixelCNNPlusPlus.sample`, and so the others.
        temperature: Number above 0.
        guidance: Number of at least 0.

    Returns:
        The pictures and the report: what was asked for, `seconds` (with compilation),
        `images_per_second`, and for all pictures and each class `count` and `bits_per_dim`. That
        is of `p(x | y)`, the picture's own class; at temperature 1 it estimates the entropy of
        the model, which a good model's bits/dim on real pictures are close to.
    """
    start = time.perf_counter()
    samples = ClassSamples.draw(
        model,
        class_names,
        per_class,
        seed=seed,
        temperature=temperature,
        guidance=guidance,
    )
    seconds = time.perf_counter() - start
    report = {
        "per_class": per_class,
        "seed": seed,
        "temperature": temperature,
        "guidance": guidance,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(samples) / seconds, 3),
        **measure(model, samples),
    }
    return samples, report


def measure(model, samples: ClassSamples) -> dict:
    """The numbers for all pictures, and under `classes` those for each class."""
    labels = samples.labels if model.num_classes else None
    bits = bits_per_dim(model.log_prob(samples.levels, labels), model.image_shape)

    def numbers(chosen: np.ndarray) -> dict:
        return {"count": int(chosen.sum()), "bits_per_dim": float(bits[chosen].mean())}

    classes = {
        samples.class_names[label]: numbers(samples.labels == label)
        for label in np.unique(samples.labels)
    }
    return {**numbers(np.full(len(samples), True)), "classes": classes}
