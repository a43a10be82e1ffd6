"""Three heads on the networks of the family: a mixture of logistics, a single one, a softmax.

    python examples/compare_heads.py                                   digits, 17 levels: minutes
    python examples/compare_heads.py --data FOLDER --image-size 32     photographs, 256 levels
    python examples/compare_heads.py --all --seeds 2                   networks × heads

Each is trained alike, by plain likelihood, from the same preset and seed, the masked networks as
wide as gives them the number of weights of PixelCNN++, and measured on unseen pictures: bits/dim of
the split test, or of validation where test has no labels. Writes heads.json, heads.png and
samples.png, and prints a table.

van den Oord et al. 2016 gave each sub-pixel a softmax over 256 levels. It can take any shape, but
knows nothing of the order of levels: that 127 and 128 are alike must be learned, level by level.
PixelCNN++ (Salimans et al. 2017) puts a discretized mixture of logistics in its place.
"""

import argparse
import bisect
import math
import time
from itertools import product
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import jit_compile
from keras_pixelcnnpp.data.batches import ArrayBatches, feed
from keras_pixelcnnpp.data.images import picture_grid, png_bytes, to_pixels
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.models.archive import ARCHITECTURES
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.presets import load_preset_config
from keras_pixelcnnpp.train.monitors import ValidationMonitor
from keras_pixelcnnpp.train.options import resolve_options

BATCH = 32
HEADS = {
    "mixture": {"head": "logistic_mixture"},
    "single logistic": {"head": "logistic_mixture", "num_mixtures": 1},
    "softmax": {"head": "categorical"},
}


def with_as_many_weights(architecture, weights, arguments):
    """The arguments with the width at which a masked network has about so many weights."""
    step = 2 * arguments["image_shape"][-1]
    candidates = range(step, 400 * step, step)

    def count(filters):
        return ARCHITECTURES[architecture](**{**arguments, "filters": filters}).count_params()

    index = bisect.bisect(candidates, weights, key=count)
    near = candidates[max(0, index - 1) : index + 1]
    return {**arguments, "filters": min(near, key=lambda filters: abs(count(filters) - weights))}


def measure(model, pictures):
    """Mean bits/dim of p(x | y)."""
    log_likelihood = model.log_prob(pictures.images, pictures.labels)
    return float(np.mean(bits_per_dim(log_likelihood, model.image_shape)))


def train(model, train_pictures, validation, training, verbose=0):
    """Trains by plain likelihood; returns bits/dim of every epoch."""
    steps = training["epochs"] * math.ceil(len(train_pictures) / training["batch_size"])
    model.compile(make_optimizer(training, steps), jit_compile=jit_compile(None))
    monitor = ValidationMonitor(
        lambda pictures: ({"bits_per_dim": measure(model, pictures)}, None), validation
    )
    history = model.fit(
        {"image": train_pictures.images, "label": train_pictures.labels},
        batch_size=training["batch_size"],
        epochs=training["epochs"],
        callbacks=[monitor],
        verbose=verbose,
    ).history
    return [
        {"epoch": epoch, "bits_per_dim": bits, "val_bits_per_dim": held_out}
        for epoch, (bits, held_out) in enumerate(
            zip(history["bits_per_dim"], history["val_bits_per_dim"], strict=True), start=1
        )
    ]


def speed(work, count, models, rounds=5):
    """Pictures per second of `work(model)`, which does `count`: the median over rounds.

    All models take their turn in each round, so that a busy machine disturbs them alike.
    """
    seconds = np.zeros((rounds, len(models)))
    for turn, index in product(range(-1, rounds), range(len(models))):
        start = time.perf_counter()
        work(models[index])
        # The first round, which the next ones overwrite, is to warm up.
        seconds[max(turn, 0), index] = time.perf_counter() - start
    return count / np.median(seconds, axis=0)


def gradient_norm(model, pictures):
    """Of the loss in nats per picture, at the start: the way that a step of gradient descent goes.

    The mean over a few batches, each from the same weights.
    """
    start, norms = model.get_weights(), []
    rate = 1e-3
    model.compile(keras.optimizers.SGD(rate), jit_compile=jit_compile(None))
    for first in range(0, min(4 * BATCH, len(pictures)), BATCH):
        batch = pictures.take(slice(first, first + BATCH))
        model.fit(batch.images, batch.labels, batch_size=BATCH, verbose=0)
        moved = zip(model.get_weights(), start, strict=True)
        norms.append(math.sqrt(sum(np.sum((after - before) ** 2) for after, before in moved)))
        model.set_weights(start)
    return np.mean(norms) / rate * model.dimensions * math.log(2)


def compare(
    dataset,
    preset,
    architectures=("pixelcnnpp",),
    epochs=None,
    batch_size=None,
    limit=None,
    test_limit=None,
    seeds=1,
):
    """Trains one model for each network, head and seed.

    Returns:
        The rows of the table, from each name to its epochs, and the last models by name.
    """
    overrides = {"epochs": epochs, "batch_size": batch_size}
    overrides |= {"label_loss_weight": 0.0, "candidates": 1}
    options, training = resolve_options(preset, overrides, dataset.num_classes)
    del options["architecture"]
    options.update(
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
        num_levels=dataset.num_levels,
    )
    if len(architectures) > 1:
        options["conditioning"] = "bias"  # which all have a place for
    arguments = {"pixelcnnpp": options}
    weights = ARCHITECTURES["pixelcnnpp"](**options).count_params()
    for name in set(architectures) - {"pixelcnnpp"}:
        own = ("num_resolutions", "conditioned_blocks", "num_blocks")
        others = {key: value for key, value in options.items() if key not in own}
        arguments[name] = with_as_many_weights(name, weights, {**others, "num_blocks": 5})
    train_pictures = dataset.pictures("train", with_labels=True, limit=limit)
    validation = dataset.pictures("validation", with_labels=True, limit=test_limit)
    split = "test" if len(dataset.split("test").labelled()) else "validation"
    unseen = dataset.pictures(split, with_labels=True, limit=test_limit)
    rows, histories, models = [], {}, {}
    for seed, architecture, head in product(range(seeds), architectures, HEADS):
        name = f"{ARCHITECTURES[architecture].title}, {head}"
        print(f"Training: {name}, {training['epochs']} epochs of {len(train_pictures)} pictures")
        keras.utils.set_random_seed(seed)
        model = ARCHITECTURES[architecture](**{**arguments[architecture], **HEADS[head]})
        model.initialize(train_pictures.images[:128], train_pictures.labels[:128])
        norm = gradient_norm(model, train_pictures)
        start = time.perf_counter()
        history = train(model, train_pictures, validation, training)
        histories.setdefault(name, history)
        models.setdefault(name, model)
        rows.append(
            {
                "architecture": architecture,
                "head": head,
                "name": name,
                "seed": seed,
                "seconds": time.perf_counter() - start,
                "bits_per_dim": measure(model, unseen),
                "train_bits_per_dim": measure(model, train_pictures),
                "accuracy": accuracy(model, unseen),
                "split": split,
                "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
                "parameters_per_pixel": model.distribution.num_parameters,
                "gradient_norm": norm,
            }
        )
    some = train_pictures.take(slice(8 * training["batch_size"]))
    inputs = {"image": some.images, "label": some.labels}
    labels = np.arange(100) % dataset.num_classes
    trained = speed(
        # Not of arrays: TensorFlow would wait at the end of each fit, whatever the model.
        lambda model: model.fit(feed(ArrayBatches(inputs, training["batch_size"])), verbose=0),
        len(some),
        list(models.values()),
    )
    drawn = speed(lambda model: model.sample(labels, seed=0), len(labels), list(models.values()))
    for row in rows:
        place = list(models).index(row["name"])
        row["trained_per_second"] = float(trained[place])
        row["drawn_per_second"] = float(drawn[place])
    return rows, histories, models


def accuracy(model, pictures):
    """Share of pictures whose class has the largest log p(x | y)."""
    scores = model.class_log_likelihoods(pictures.images)
    return float(np.mean(scores.argmax(axis=1) == pictures.labels))


def samples_png(models, dataset):
    """Ten pictures of each model, a row for each: a PNG file's content."""
    labels = np.arange(10) % dataset.num_classes
    pictures = [
        to_pixels(model.sample(labels, seed=0), dataset.num_levels) for model in models.values()
    ]
    return png_bytes(picture_grid(np.concatenate(pictures), columns=10))


def print_table(rows):
    table = Table()
    table.add_column("network, head")
    split = rows[0]["split"]
    for heading in (f"bits/dim ({split})", "(train)", "accuracy", "weights", "outputs a pixel"):
        table.add_column(heading, justify="right")
    for heading in ("gradient at the start", "trained/s", "drawn/s"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        bits = [row["bits_per_dim"] for row in own]
        spread = f" ± {np.std(bits, ddof=1):.4f}" if len(bits) > 1 else ""
        mean = {
            key: np.mean([row[key] for row in own])
            for key in ("train_bits_per_dim", "accuracy", "gradient_norm")
        }
        table.add_row(
            name,
            f"{np.mean(bits):.4f}{spread}",
            f"{mean['train_bits_per_dim']:.4f}",
            f"{mean['accuracy']:.1%}",
            f"{own[0]['parameters']:,}",
            str(own[0]["parameters_per_pixel"]),
            f"{mean['gradient_norm']:.0f}",
            f"{own[0]['trained_per_second']:.0f}",
            f"{own[0]['drawn_per_second']:.1f}",
        )
    Console(width=130).print(table)


def main(arguments=None):
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="as of pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize pictures to this size")
    parser.add_argument("--preset", help="of PixelCNN++; default: digits for digits, else report")
    parser.add_argument("--all", action="store_true", help="compare the networks, too")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, help="pictures a step; default: the preset's")
    parser.add_argument("--limit", type=int, help="train on so many pictures only")
    parser.add_argument("--test-limit", type=int, help="measure on so many pictures only")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each")
    parser.add_argument("--output", type=Path, default=Path("runs/heads"))
    options = parser.parse_args(arguments)

    preset = options.preset or ("digits" if options.data == "digits" else "report")
    dataset = load_dataset(options.data, image_size=options.image_size)
    rows, histories, models = compare(
        dataset,
        load_preset_config(preset),
        list(ARCHITECTURES) if options.all else ["pixelcnnpp"],
        options.epochs,
        options.batch_size,
        options.limit,
        options.test_limit,
        options.seeds,
    )
    facts = {
        "data": dataset.name,
        "image_size": options.image_size,
        "image_shape": dataset.image_shape,
        "preset": preset,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "limit": options.limit,
        "test_limit": options.test_limit,
        "seeds": options.seeds,
    }
    write_json(options.output / "heads.json", {**facts, "heads": rows, "histories": histories})
    png = history_png(histories, "bits_per_dim", "bits/dim of p(x | y)")
    write_bytes(options.output / "heads.png", png)
    write_bytes(options.output / "samples.png", samples_png(models, dataset))
    print_table(rows)
    print(f"Wrote heads.json, heads.png and samples.png to {options.output}")


if __name__ == "__main__":
    main()
