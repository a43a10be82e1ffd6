"""The commands `sample` and `complete`."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_pixelcnnpp.commands.given import given_by, given_for_samples
from keras_pixelcnnpp.commands.options import CompleteOptions, SampleOptions
from keras_pixelcnnpp.commands.processes import map_blocks
from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.conditions import ANY_CLASS, LABEL
from keras_pixelcnnpp.data.images import (
    image_grid,
    open_image,
    png_bytes,
    read_image,
    stretch_note,
    unknown_value,
)
from keras_pixelcnnpp.models.scoring import choose_classes
from keras_pixelcnnpp.sampling.class_samples import SAMPLING, ClassSamples, image_names
from keras_pixelcnnpp.sampling.options import SamplingOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.backend import graphs_as_traced
from keras_pixelcnnpp.utils.checks import class_label
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import (
    atomic_path,
    counted,
    npy_bytes,
    read_json,
    write_bytes,
    write_json,
)

PARTICLES = 64  # for each completion, by default


def sample_grid(options: SampleOptions) -> None:
    """Samples images of each class, and writes them as a grid (.png) or an array (.npy)."""
    output = options.output
    trained = TrainedModel.named(options)
    model = trained.model
    as_array = output.suffix.lower() == ".npy"
    if not as_array:
        _require_pictures(trained, output)
    if options.label and not model.num_classes:
        model.conditions.require_classes()
    chosen = sorted(class_label(model.class_names, name) for name in options.label or ())
    of_classes = len(chosen) or max(1, model.num_classes)
    others = given_for_samples(options, trained, of_classes, options.count)
    seed = _chosen_seed(options.seed)
    how: Any = {"seed": seed, "others": others, **options.of_sampler()}
    with graphs_as_traced():
        samples = ClassSamples.sample(model, options.count, chosen, **how)
    if others and not model.num_classes:
        samples = replace(samples, class_names=(options.given_value,))
    if as_array:
        with atomic_path(output) as temporary:
            np.save(temporary, samples.images)
    else:
        write_bytes(output, png_bytes(samples.overview(options.count)))
        _say_stretched(samples.images)
    rows = ", ".join(name for name, _ in samples.by_class())
    say(f"Wrote {output}, {'in this order' if as_array else 'from top to bottom'}: {rows}")


def sample_folder(options: SampleOptions) -> None:
    """Samples images of each class, and writes them to a folder as PNG files."""
    trained, output, resume = TrainedModel.named(options), options.output, options.resume
    if any(part.needs_values for part in trained.model.conditions):
        kinds = f"a .png or .npy file for a model of {trained.model.conditions.description}"
        raise UserError(f"Invalid value for --output. Expected {kinds}. Received: {output}")
    _require_pictures(trained, output)
    names = trained.model.class_names if trained.model.num_classes else ("any",)
    chosen = [class_label(names, name) for name in options.label or names]
    labels = np.repeat(chosen, options.count)
    known = read_json(output / SAMPLING) if resume and (output / SAMPLING).exists() else {}
    seed = _chosen_seed(known.get("seed") if options.seed is None else options.seed)
    how = options.of_sampler()
    sampled = sample_many(trained, labels, output, seed, how, resume, options.workers)
    kept = f" and kept {len(labels) - sampled} existing ones" if sampled < len(labels) else ""
    of_classes = f" of {', '.join(names[label] for label in chosen)}" if options.label else ""
    say(f"Wrote {counted(sampled)}{of_classes} to {output}{kept}")


def _require_pictures(trained: TrainedModel, output: Path) -> None:
    """Raises a `UserError` unless the model's images can be written to a picture."""
    if trained.has_codes:
        expected = "a .npy file, because codes have no picture until they are decoded"
        raise UserError(f"Invalid value for --output. Expected {expected}. Received: {output}")
    trained.require_files()


def _say_stretched(images: np.ndarray) -> None:
    """Says which values a picture of images of 16 bits shows as black and white."""
    if note := stretch_note(images):
        say(note)


def _chosen_seed(seed: int | None) -> int:
    seed = secrets.randbelow(2**31) if seed is None else seed
    print(f"Sampling with --seed {seed}. The first step compiles the sampler.")
    return seed


def sample_many(
    trained: TrainedModel,
    labels: np.ndarray,
    output: Path,
    seed: int = 0,
    how: dict | None = None,
    resume: bool = False,
    workers: int = 1,
    block_size: int = 100,
) -> int:
    """Samples an image for each label into PNG files, and returns how many were sampled.

    `how` has further arguments of `AutoregressiveModel.sample`. They are written to
    `sampling.json`, together with the seed, the labels and a checksum of the model. With `resume`,
    blocks whose files all exist are kept. A `UserError` is raised if the folder has samples and
    `resume` is false, if they have other options or another model, or if this command has not
    written them.
    """
    model, known, how = trained.model, output / SAMPLING, how or {}
    SamplingOptions(seed=seed, **how).checked(model)
    given = {"seed": seed, **how, "model": trained.checksum()}
    given |= {"label": [*map(int, dict.fromkeys(labels))], "count": len(labels)}
    if known.exists():
        if not resume:
            raise UserError(
                f"{output} has samples already. Add --resume to continue, or choose another folder"
            )
        before = read_json(known)
        if other := [name for name, value in given.items() if before.get(name) != value]:
            raise UserError(
                f"{output} has samples with another {' and '.join(other)}. Choose another folder"
            )
    elif others := sorted(output.glob("*_image_*.png")):
        raise UserError(
            f"{output} has images that do not belong to these samples, such as {others[0].name}. "
            "Choose another folder"
        )
    resume = resume and known.exists()
    files = [output / name for name in image_names(labels, model.class_names)]
    blocks = {}
    for start in range(0, len(labels), block_size):
        part = slice(start, start + block_size)
        if not (resume and all(file.exists() for file in files[part])):
            blocks[start] = (labels[part], start, SamplingOptions(seed=seed, **how, verbose=0))
    samples = map_blocks(_sample, list(blocks.values()), trained, workers)
    write_json(known, given)
    for start, images in zip(blocks, samples, strict=True):
        for file, image in zip(files[start:], images, strict=False):
            write_bytes(file, png_bytes(image))
    return sum(len(block) for block, _, _ in blocks.values())


def _sample(trained: TrainedModel, block: tuple[np.ndarray, int, SamplingOptions]) -> np.ndarray:
    labels, start, options = block
    model = trained.model
    given = labels if model.num_classes else None
    values = choose_classes(model, model.condition_values(given, len(labels)), options, first=start)
    positions = start + np.arange(len(labels))
    return sample_images(model, values, options, positions=positions)[0]


def complete_file(options: CompleteOptions) -> None:
    """Completes the known part of an image several times, and writes a PNG file with all images."""
    trained = TrainedModel.named(options)
    model, name, count = trained.model, options.label, options.count
    as_array = options.output.suffix.lower() == ".npy"
    if not as_array:
        _require_pictures(trained, options.output)
    given = given_by(options, trained)
    if given.maps is not None:
        raise UserError(f"Invalid value for --map. Expected a file. Received: {given.maps}")
    others = given.values
    if others and name is not None:
        model.conditions.require_classes()
    label = ANY_CLASS if name is None else class_label(model.class_names, name)
    (image,) = trained.read_files([options.image]).values()
    known = _known_pixels(options, trained)
    print(f"Unknown: {np.sum(~known)} of {counted(known.size, 'pixel')}")
    condition = {**others, LABEL: label} if model.num_classes else others
    images, seed = np.repeat(image[None], count, axis=0), _chosen_seed(options.seed)
    how = {**options.of_sampler(), "num_particles": options.particles or PARTICLES}
    with graphs_as_traced():
        completed = model.complete(images, known, condition, seed, **how)
    if as_array:
        write_bytes(options.output, npy_bytes(completed))
        say(f"Wrote {options.output}: {counted(count, 'completion')}")
        return
    images = np.concatenate([image[None], completed])
    images[0][~known] = unknown_value(images)
    write_bytes(options.output, png_bytes(image_grid(images)))
    _say_stretched(images)
    say(f"Wrote {options.output}: the known part, and {counted(count, 'completion')}")


def _known_pixels(options: CompleteOptions, trained: TrainedModel) -> np.ndarray:
    """Returns which pixels --rows or --mask declares as known, bool `(height, width)`, not all."""
    height, width, _ = trained.model.image_shape
    if options.mask is None:
        rows = height // 2 if options.rows is None else options.rows
        if rows >= height:
            raise UserError(
                f"Invalid value for --rows. Expected fewer than {height} rows. Received: {rows}"
            )
        return np.arange(height)[:, None] < np.full(width, rows)
    sizes = [open_image(options.mask, 1).size, (width, height)]
    if not trained.has_codes:
        sizes[1] = open_image(options.image, 1).size
    if sizes[0] != sizes[1]:
        raise UserError(
            "Invalid value for --mask. Expected the size of the image, (width, height) = "
            f"{sizes[1]}. Received: {sizes[0]}"
        )
    # Cropped and scaled like the image.
    reading = {name: value for name, value in trained.reading.items() if name != "white_level"}
    known = read_image(options.mask, (height, width, 1), **reading)[..., 0] < 128
    if known.all():
        raise UserError(
            "Invalid value for --mask. Expected an image that is white, 255, at unknown pixels. "
            f"Received: no unknown pixel in {options.mask}"
        )
    return known
