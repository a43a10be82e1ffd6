"""`pixelcnnpp train baseline`."""

from typing import Annotated

import typer

from keras_pixelcnnpp.train import options


def baseline(
    data: options.Data,
    run: options.Run,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="AdamW's.")] = None,
    ema_momentum: options.EmaMomentum = None,
    gradient_clip_norm: options.GradientClipNorm = None,
    horizontal_flip: options.HorizontalFlip = None,
    image_size: options.ImageSize = None,
    limit: options.Limit = None,
    precision: options.PrecisionOption = options.Precision.float32,
    jit_compile: options.JitCompile = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Train the CNN classifier that PixelCNN++ is compared with, on the same data."""
    from keras_pixelcnnpp.run_folder import RunFolder
    from keras_pixelcnnpp.training.baseline import train_baseline

    dataset, data_config = options.load(data, image_size, seed)
    training = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "ema_momentum": ema_momentum,
        "gradient_clip_norm": gradient_clip_norm,
        "limit": limit,
        "precision": precision.value,
        "jit_compile": jit_compile,
        "seed": seed,
    }
    # A mirrored digit is no digit; most photographs may be mirrored.
    flip = data != "digits" if horizontal_flip is None else horizontal_flip
    folder = RunFolder(run)
    with options.stoppable(run, "baseline"):
        train_baseline(
            dataset,
            folder,
            training,
            data_config,
            horizontal_flip=flip,
            resume=resume,
            overwrite=overwrite,
            verbose=options.verbosity(),
        )
    print(f"Wrote {folder.baseline_keras}. Next: pixelcnnpp evaluate classification --run {run}")
