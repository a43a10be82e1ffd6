"""How large the gradient of a step may be."""

# A power of two: a smaller gradient is then multiplied by exactly 1, and training is what it would
# be without. It is far above what a training that goes well has.
GRADIENT_CLIP_NORM = 1024.0


def clipping(training: dict) -> dict:
    """The argument of a Keras optimizer for the option `gradient_clip_norm`; 0 switches it off."""
    return {"global_clipnorm": training["gradient_clip_norm"] or None}
