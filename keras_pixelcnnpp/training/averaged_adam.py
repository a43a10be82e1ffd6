"""The optimizer of both trainings."""

from keras_pixelcnnpp.optimizers.fused_adam import FusedAdam


def averaged_adam(schedule, training: dict, **kwargs) -> FusedAdam:
    """Adam with averaged weights and clipped gradients, as the training options ask for.

    Args:
        schedule: The learning rate.
        training: The training options; `ema_momentum` and `gradient_clip_norm` are read, of which
            0 means none.
        **kwargs: More arguments of `FusedAdam`.
    """
    momentum = training["ema_momentum"]
    return FusedAdam(
        schedule,
        use_ema=momentum > 0,
        ema_momentum=momentum,
        ema_warmup=True,
        global_clipnorm=training["gradient_clip_norm"] or None,
        **kwargs,
    )
