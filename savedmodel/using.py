"""Runs the commands that sample, complete, classify, score and export with a trained model."""

import secrets
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.backend import graphs_as_traced, require_tensorflow
from keras_pixelcnnpp.checks import class_label
from keras_pixelcnnpp.data.images import (
    check_channels,
    image_grid,
    open_image,
    png_bytes,
    read_image,
)
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import (
    atomic_path,
    class_numbers,
    counted,
    write_bytes,
    write_predictions,
)
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.savedmodel.commands import (
    ClassifyOptions,
    CompleteOptions,
    SampleOptions,
    ScoreOptions,
)
from keras_pixelcnnpp.savedmodel.large_sets import (
    images_below,
    sample_many,
    sampling_seed,
    score_folder,
)
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

UNKNOWN = 200  # gray value of unknown pixels


def sample_grid(options: SampleOptions) -> None:
    """Samples images of each class, and writes them as a grid (.png) or an array (.npy)."""
    model, output = TrainedModel.named(options).model, options.output
    as_array = output.suffix.lower() == ".npy"
    if not as_array:
        check_channels(model.image_shape)
    chosen = sorted({class_label(model.class_names, name) for name in options.label or ()})
    seed = _chosen_seed(options.seed)
    how = {"temperature": options.temperature, "guidance": options.guidance}
    with graphs_as_traced():
        samples = ClassSamples.sample(model, options.count, chosen, seed=seed, **how)
    if as_array:
        with atomic_path(output) as temporary:
            np.save(temporary, samples.images)
    else:
        write_bytes(output, png_bytes(samples.overview(options.count)))
    rows = ", ".join(name for name, _ in samples.by_class())
    print(f"Wrote {output}, {'in this order' if as_array else 'from top to bottom'}: {rows}")


def sample_folder(options: SampleOptions) -> None:
    """Samples images of each class, and writes them to a folder as PNG files."""
    trained, output, resume = TrainedModel.named(options), options.output, options.resume
    check_channels(trained.model.image_shape)
    names = trained.model.class_names if trained.model.num_classes else ("any",)
    chosen = dict.fromkeys(class_label(names, name) for name in options.label or names)
    labels = np.repeat(list(chosen), options.count)
    seed = sampling_seed(output) if options.seed is None and resume else options.seed
    seed = _chosen_seed(seed)
    how = {"temperature": options.temperature, "guidance": options.guidance}
    sampled = sample_many(trained, labels, output, seed, how, resume, options.workers)
    kept = f" and kept {len(labels) - sampled} existing ones" if sampled < len(labels) else ""
    print(f"Wrote {counted(sampled)} to {output}{kept}")


def _chosen_seed(seed: int | None) -> int:
    seed = secrets.randbelow(2**31) if seed is None else seed
    print(f"Sampling with --seed {seed}. The first step compiles the sampler.")
    return seed


def complete_file(options: CompleteOptions) -> None:
    """Completes the known part of an image several times, and writes a PNG file with all images."""
    trained = TrainedModel.named(options)
    model, name, count = trained.model, options.label, options.count
    label = -1 if name is None else class_label(model.class_names, name)
    image = read_image(options.image, model.image_shape, **trained.reading)
    height, width, _ = model.image_shape
    if options.mask is not None:
        known = read_mask(options.mask, options.image, (height, width), trained.reading)
    else:
        rows = height // 2 if options.rows is None else options.rows
        if rows > height:
            expected = f"Expected at most {height}. Received: {rows}"
            raise UserError(f"Invalid value for --rows. {expected}")
        known = np.arange(height)[:, None] < np.full(width, rows)
    labels = [label] * count if model.num_classes else None
    images, seed = np.repeat(image[None], count, axis=0), _chosen_seed(options.seed)
    how = {"temperature": options.temperature, "guidance": options.guidance}
    how["num_particles"] = options.particles
    with graphs_as_traced():
        completed = model.complete(images, known, labels, seed, **how)
    shown = np.where(known[..., None], image, np.uint8(UNKNOWN))
    grid = image_grid(np.concatenate([shown[None], completed]))
    write_bytes(options.output, png_bytes(grid))
    print(f"Wrote {options.output}: the known part, and {counted(count, 'completion')}")


def read_mask(file: Path, image: Path, size: tuple[int, int], reading: dict) -> np.ndarray:
    """Reads which pixels of an image are known from a mask file, in which unknown ones are white.

    The mask is cropped and scaled like the image.

    Returns:
        True for known pixels, bool `size`.

    Raises:
        UserError: If the two files differ in size.
    """
    sizes = [open_image(path, 1).size for path in (file, image)]
    if sizes[0] != sizes[1]:
        raise UserError(
            "Invalid value for --mask. Expected the size of the image, (width, height) = "
            f"{sizes[1]}. Received: {sizes[0]}"
        )
    reading = {name: value for name, value in reading.items() if name != "white_level"}
    return read_image(file, (*size, 1), **reading)[..., 0] < 128


def classify_files(options: ClassifyOptions) -> None:
    """Classifies image files, and prints a table, and the accuracy if folders give labels.

    For files that cannot be read, an error is printed, and the command ends with status 2.
    """
    trained = TrainedModel.named(options)
    model = trained.model
    names, images, labels, bad = [], [], [], 0
    for file, label in _labeled_files(options.images, model.class_names):
        try:
            images.append(read_image(file, model.image_shape, **trained.reading))
            names.append(str(file))
            labels.append(label)
        except UserError as error:
            print(f"pixelcnnpp: error: {error}", file=sys.stderr)
            bad += 1
    if not images:
        raise UserError("None of the files could be read.")
    with graphs_as_traced():
        result, labels = trained.classify(np.stack(images)), np.array(labels)
    known = labels >= 0
    table = Table()
    table.add_column("image", overflow="fold")
    for heading in ("true class", "class") if known.any() else ("class",):
        table.add_column(heading)
    table.add_column("probability", justify="right")
    table.add_column(bits_unit(model.num_levels), justify="right")
    columns = (result["class_id"], result["probabilities"], result["bits_per_dim"])
    for name, true, label, probabilities, bits in zip(names, labels, *columns, strict=True):
        classes = [model.class_names[label]]
        if known.any():
            classes.insert(0, model.class_names[true] if true >= 0 else "")
        table.add_row(name, *classes, f"{probabilities[label]:.1%}", f"{bits:.3f}")
    Console(markup=False, emoji=False).print(table)
    if options.csv is not None:
        of_model = result["probabilities"], model.class_names, result["bits_per_dim"]
        write_predictions(options.csv, names, labels, *of_model)
        print(f"Wrote {options.csv}")
    if known.any():
        accuracy = np.mean((result["class_id"] == labels)[known])
        print(f"Accuracy: {accuracy:.1%} of {counted(known.sum())} in folders named after classes")
    if bad:
        raise typer.Exit(2)


def _labeled_files(given: list[Path], class_names: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """Yields each image file with the label that its innermost class folder gives, or -1."""
    numbers = class_numbers(class_names)
    for path in given:
        if not path.is_dir():
            yield path, -1
            continue
        for name in images_below(path):
            parents = [part for part in PurePosixPath(name).parts[:-1] if part in numbers]
            yield path / name, numbers[parents[-1]] if parents else -1


def score_files(options: ScoreOptions) -> None:
    """Scores all image files below a folder, and prints their mean bits/dim."""
    trained, output = TrainedModel.named(options), options.output
    bits = score_folder(trained, options.data, output, options.resume, options.workers)
    good = np.isfinite(bits)
    print(f"Wrote {output}: scored {good.sum()} of {counted(len(bits))}")
    if good.any():
        print(f"Mean: {bits[good].mean():.3f} {bits_unit(trained.model.num_levels)}")


def export_run(run: Path, version: int) -> None:
    """Exports the model of a run to its folder `savedmodel`."""
    folder = RunFolder(run)
    config = folder.read_config()
    source = folder.require_model("pixelcnnpp")
    require_tensorflow()
    from keras_pixelcnnpp.export.endpoints import export_saved_model  # needs TensorFlow

    path = folder.savedmodel / str(version)
    export_saved_model(load_trained_model(source), path, config)
    print(f"Wrote {path}. Next: pixelcnnpp serve --run {shlex.quote(str(folder.path))}")
