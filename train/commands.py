"""`pixelcnnpp train pixelcnnpp`."""

from typing import Annotated

import typer

from keras_pixelcnnpp.train import options


def pixelcnnpp(
    data: options.Data,
    run: options.Run,
    preset: options.Preset = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    learning_rate_schedule: Annotated[
        options.Schedule | None,
        typer.Option(
            help="exponential: a factor per step, --learning-rate-decay. cosine: down to a "
            "hundredth at the end of the last epoch. Default: exponential."
        ),
    ] = None,
    learning_rate_decay: Annotated[
        float | None, typer.Option(min=0, max=1, help="Factor on the learning rate per step.")
    ] = None,
    learning_rate_warmup: Annotated[
        int | None,
        typer.Option(min=1, help="Steps over which the learning rate rises. Default: none."),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(help="Width of the network, or one per resolution: 24,48,96."),
    ] = None,
    num_blocks: Annotated[
        str | None, typer.Option(help="Blocks at each resolution, or one number for each: 1,1,2.")
    ] = None,
    num_resolutions: Annotated[
        int | None, typer.Option(help="Each one halves height and width.")
    ] = None,
    num_mixtures: Annotated[int | None, typer.Option(help="Logistic components.")] = None,
    conditioning: Annotated[
        str | None,
        typer.Option(help="How labels enter: none, bias, film, …, or several with +."),
    ] = None,
    conditioned_blocks: Annotated[
        str | None,
        typer.Option(
            help="Which blocks see the label: all; up, from the lowest resolution on; or up_left, "
            "of these one stream's, which is fastest with several candidates."
        ),
    ] = None,
    dropout_rate: Annotated[float | None, typer.Option(help="In [0, 1).")] = None,
    label_dropout_rate: Annotated[
        float | None, typer.Option(help="Share of training pictures without their label.")
    ] = None,
    label_loss_weight: Annotated[
        float | None,
        typer.Option(min=0, help="Weight of the cross-entropy over the candidate labels."),
    ] = None,
    initial_temperature: Annotated[
        float | None,
        typer.Option(min=0, help="What the log-likelihoods are multiplied by at first; learned."),
    ] = None,
    learn_temperature: Annotated[
        bool | None, typer.Option(help="Learn that factor. Default: yes.")
    ] = None,
    learn_offsets: Annotated[
        bool | None, typer.Option(help="Learn an offset for each class. Default: yes.")
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Candidate labels per picture. Default: 1, or all with a label loss.",
        ),
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(min=0, help="First epochs with one candidate: plain likelihood."),
    ] = None,
    ema_momentum: options.EmaMomentum = None,
    gradient_clip_norm: options.GradientClipNorm = None,
    horizontal_flip: options.HorizontalFlip = None,
    crop_margin: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Read the picture files this much larger as well, and train half of the time on "
            "a crop at a random place.",
        ),
    ] = None,
    image_size: options.ImageSize = None,
    limit: options.Limit = None,
    initial_weights: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a preset with weights, or the model.keras of a run, of the "
            "same architecture. Default: random weights."
        ),
    ] = None,
    precision: options.PrecisionOption = options.Precision.float32,
    jit_compile: options.JitCompile = None,
    sample_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Epochs between grids of generated pictures in TensorBoard; 0: none. "
            "Default: 5, under torch none.",
        ),
    ] = None,
    histogram_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Epochs between histograms of the weights in TensorBoard; 0, the default: none.",
        ),
    ] = None,
    frechet_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Epochs between Fréchet distances of generated pictures to those of the split "
            "validation, by the features of the run's baseline CNN, to be trained first; 0, the "
            "default: none.",
        ),
    ] = None,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    workers: options.Workers = None,
    worker: options.Worker = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Train a conditional PixelCNN++.

    A preset gives the defaults, options override it.
    """
    from keras_pixelcnnpp.run_folder import RunFolder
    from keras_pixelcnnpp.training.pixelcnnpp import resolve_options, train_pixelcnnpp

    overrides = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "learning_rate_schedule": learning_rate_schedule and learning_rate_schedule.value,
        "learning_rate_decay": learning_rate_decay,
        "learning_rate_warmup": learning_rate_warmup,
        "filters": options.per_resolution("filters", filters),
        "num_blocks": options.per_resolution("num_blocks", num_blocks),
        "num_resolutions": num_resolutions,
        "num_mixtures": num_mixtures,
        "conditioning": conditioning,
        "conditioned_blocks": conditioned_blocks,
        "dropout_rate": dropout_rate,
        "label_dropout_rate": label_dropout_rate,
        "label_loss_weight": label_loss_weight,
        "initial_temperature": initial_temperature,
        "learn_temperature": learn_temperature,
        "learn_offsets": learn_offsets,
        "candidates": candidates,
        "warmup_epochs": warmup_epochs,
        "ema_momentum": ema_momentum,
        "gradient_clip_norm": gradient_clip_norm,
        "horizontal_flip": horizontal_flip,
        "crop_margin": crop_margin,
        "limit": limit,
        "initial_weights": initial_weights,
        "precision": precision.value,
        "jit_compile": jit_compile,
        "sample_every": sample_every,
        "histogram_every": histogram_every,
        "frechet_every": frechet_every,
        "seed": seed,
    }
    # First of all: workers must be connected before the backend computes anything.
    parallel = options.data_parallel(devices, workers, worker)
    preset_config = options.load_preset(preset, data)
    dataset, data_config = options.load(data, image_size, seed)
    model_options, training = resolve_options(preset_config, overrides, dataset.num_classes)
    larger = options.load_larger(data, dataset, training["crop_margin"], seed)
    folder = RunFolder(run)
    with options.stoppable(run, "pixelcnnpp"):
        train_pixelcnnpp(
            dataset,
            folder,
            model_options,
            training,
            data_config,
            larger=larger,
            parallel=parallel,
            resume=resume,
            overwrite=overwrite,
            verbose=options.verbosity(),
        )
    if parallel is None or parallel.is_chief:
        unconditional = model_options.get("conditioning") == "none"
        following = "generation" if unconditional else "classification"
        print(f"Wrote {folder.model_keras}. Next: pixelcnnpp evaluate {following} --run {run}")
