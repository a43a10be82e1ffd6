"""`pixelcnnpp train pixelcnnpp`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_pixelcnnpp.train import options

if TYPE_CHECKING:
    from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages


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
    from keras_pixelcnnpp.run import RunFolder
    from keras_pixelcnnpp.train.devices import data_parallel
    from keras_pixelcnnpp.train.options import resolve_options
    from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp

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
    parallel = data_parallel(devices, workers, worker)
    preset_config = load_preset(preset, data)
    dataset, data_config = load(data, image_size, seed)
    model_options, training = resolve_options(preset_config, overrides, dataset.num_classes)
    larger = load_larger(data, dataset, training["crop_margin"], seed)
    folder = RunFolder(run)
    with stoppable(run, "pixelcnnpp"):
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
            verbose=verbosity(),
        )
    if parallel is None or parallel.is_chief:
        unconditional = model_options.get("conditioning") == "none"
        following = "generation" if unconditional else "classification"
        print(f"Wrote {folder.model_keras}. Next: pixelcnnpp evaluate {following} --run {run}")


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
    from keras_pixelcnnpp.run import RunFolder
    from keras_pixelcnnpp.train.baseline import train_baseline

    dataset, data_config = load(data, image_size, seed)
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
    with stoppable(run, "baseline"):
        train_baseline(
            dataset,
            folder,
            training,
            data_config,
            horizontal_flip=flip,
            resume=resume,
            overwrite=overwrite,
            verbose=verbosity(),
        )
    print(f"Wrote {folder.baseline_keras}. Next: pixelcnnpp evaluate classification --run {run}")


def fusion(
    data: options.Data,
    run: options.Run,
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="A strategy, or several joined by +; may be repeated. Default: each."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="likelihood or hybrid; may be repeated. Default: both."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, seeds 0, 1, …")] = 1,
    split: Annotated[str, typer.Option(help="The pictures to measure on.")] = "validation",
    preset: options.Preset = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    label_loss_weight: Annotated[
        float | None, typer.Option(min=0, help="Of the hybrid objective.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=2, help="Candidate labels of the hybrid objective.")
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(min=0, help="First epochs of the hybrid objective: plain likelihood."),
    ] = None,
    ema_momentum: options.EmaMomentum = None,
    image_size: options.ImageSize = None,
    limit: options.Limit = None,
    precision: options.PrecisionOption = options.Precision.float32,
    overwrite: options.Overwrite = False,
) -> None:
    """Compare the ways of putting the label in: same data, same budget, same seeds.

    Writes reports/fusion.json and reports/fusion.png after every training. Call it again to go on
    after an interruption, or to add strategies and seeds: what is finished is kept.
    """
    from keras_pixelcnnpp.conditioning import STRATEGIES
    from keras_pixelcnnpp.run import RunFolder
    from keras_pixelcnnpp.train.fusion import (
        OBJECTIVES,
        plan,
        print_table,
        run_trials,
        summarize,
        write_report,
    )
    from keras_pixelcnnpp.train.options import resolve_options
    from keras_pixelcnnpp.train.stopping import TrainingStopped

    overrides = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "label_loss_weight": label_loss_weight,
        "candidates": candidates,
        "warmup_epochs": warmup_epochs,
        "ema_momentum": ema_momentum,
        "limit": limit,
        "precision": precision.value,
    }
    trials = plan(strategy or STRATEGIES, objective or OBJECTIVES, seeds)
    preset_config = load_preset(preset, data)
    dataset, data_config = load(data, image_size, seed=0)
    _, training = resolve_options(preset_config, overrides, dataset.num_classes)
    larger = load_larger(data, dataset, training["crop_margin"], seed=0)
    folder = RunFolder(run)
    given = {
        "preset": preset,
        "strategy": strategy,
        "objective": objective,
        "seeds": seeds,
        "image_size": image_size,
        **overrides,
    }
    facts = {
        "data": data,
        "split": split,
        "options": {name: value for name, value in given.items() if value is not None},
    }
    results = []
    finished = run_trials(
        trials,
        dataset,
        run,
        preset_config,
        overrides,
        data_config,
        larger=larger,
        split=split,
        overwrite=overwrite,
        verbose=verbosity(),
    )
    try:
        for result in finished:
            results.append(result)
            rows = summarize(results)
            write_report(folder, {**facts, "rows": rows, "trials": results})
    except TrainingStopped:
        print("\nStopped. The same command goes on from there.")
        raise typer.Exit(0) from None
    print_table(rows)
    print(f"Wrote fusion.json and fusion.png to {folder.reports}")


def load(source: str, image_size: int | None, seed: int) -> tuple["Dataset", dict]:
    """Reads the data, says what it is, and returns it with the section `data` of `config.json`."""
    from keras_pixelcnnpp.data.load import load_dataset

    dataset = load_dataset(source, image_size=image_size, seed=seed)
    for note in dataset.notes:
        print(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    print(f"{dataset.name}: {counts} pictures of {shape}, {dataset.num_classes} classes")
    config = {
        # Absolute, so that the evaluation finds it from another working directory.
        "source": str(Path(source).resolve()) if Path(source).exists() else source,
        "seed": seed,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "num_levels": dataset.num_levels,
        "counts": dataset.counts(),
    }
    return dataset, config


def load_preset(name: str | None, data: str) -> dict:
    """The configuration of a preset; without a name, of the one that suits the data."""
    from keras_pixelcnnpp.presets import load_preset_config

    return load_preset_config(name or ("digits" if data == "digits" else "report"))


def load_larger(source: str, dataset: "Dataset", margin: int, seed: int) -> "LabelledImages | None":
    """The split `train` with pictures `margin` pixels higher and wider; `None` for no margin."""
    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.errors import UserError

    if not margin:
        return None
    if not Path(source).is_dir():
        raise UserError(
            "Invalid value for option `crop_margin`. Only picture files can be read at a larger "
            f"size, from a folder. Received: crop_margin={margin}, data={source}"
        )
    height, width, channels = dataset.image_shape
    size = (height + margin, width + margin)
    return load_dataset(source, image_size=size, channels=channels, seed=seed).split("train")


def verbosity() -> int:
    """Keras's `verbose`: a progress bar on a terminal, one line per epoch in a file or a pipe."""
    return 1 if sys.stdout.isatty() else 2


@contextmanager
def stoppable(run: Path, section: str) -> Iterator[None]:
    """Ends the command in good order when a signal stopped the training of `section`."""
    from keras_pixelcnnpp.run import RunFolder
    from keras_pixelcnnpp.train.stopping import TrainingStopped

    try:
        yield
    except TrainingStopped:
        folder = RunFolder(run).checkpoints(section)
        print(
            f"\nStopped. A checkpoint of the last step is in {folder}: "
            "the same command with --resume goes on from there."
        )
        raise typer.Exit(0) from None


app = typer.Typer(help="Train a model into a run folder.", no_args_is_help=True)

app.command()(pixelcnnpp)
app.command()(baseline)
app.command()(fusion)
