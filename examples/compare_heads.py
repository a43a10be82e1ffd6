"""Three heads on one network: a mixture of logistics, a single logistic, a softmax over the levels.

    python examples/compare_heads.py                                   digits, 17 levels: minutes
    python examples/compare_heads.py --data FOLDER --image-size 32     photographs, 256 levels

Each is trained alike, by plain likelihood, from the same preset and seed, and measured on
unseen pictures: bits/dim of the split test, or of validation where test
has no labels. Writes heads.json and heads.png, and prints a table.

van den Oord et al. 2016 gave each sub-pixel a softmax over 256 levels. It can take any shape, but
knows nothing of the order of levels: that 127 and 128 are alike must be learned, level by level.
PixelCNN++ (Salimans et al. 2017) puts a discretized mixture of logistics in its place.
"""

import argparse
import math
import time
from itertools import product
from pathlib import Path

import keras
import numpy as np
from keras import ops
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import jit_compile
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.presets import load_preset_config
from keras_pixelcnnpp.train.monitors import ValidationMonitor
from keras_pixelcnnpp.train.options import resolve_options


class SoftmaxPixelCNN(kp.PixelCNNPlusPlus):
    """The same causal network with a softmax over the levels of each sub-pixel.

    The network computes the logits of all channels at once, from earlier pixels only. With several
    channels, each earlier channel of the same pixel adds a row of a table to the logits, the row of
    its level: a free function of that level, where the mixture only shifts a mean. The tables
    start at 0.
    """

    @property
    def num_parameters(self):
        """The logits of a pixel."""
        return self.image_shape[-1] * self.num_levels

    def build(self, input_shape):
        self.tables = {
            f"{channel}_given_{earlier}": keras.layers.Embedding(
                self.num_levels, self.num_levels, embeddings_initializer="zeros"
            )
            for channel in range(self.image_shape[-1])
            for earlier in range(channel)
        }
        for table in self.tables.values():
            table.build()
        super().build(input_shape)

    def log_likelihood(self, parameters, images):
        """As that of `PixelCNNPlusPlus`, of logits."""
        channels = self.image_shape[-1]
        levels = ops.expand_dims(ops.cast(images, "int32"), 1)
        levels = ops.broadcast_to(levels, (*ops.shape(parameters)[:-1], channels))
        total = 0.0
        for channel, own_logits in enumerate(ops.split(parameters, channels, axis=-1)):
            given = (
                self.tables[f"{channel}_given_{earlier}"](levels[..., earlier])
                for earlier in range(channel)
            )
            total = total - ops.sparse_categorical_crossentropy(
                levels[..., channel], sum(given, start=own_logits), from_logits=True
            )
        return ops.sum(total, axis=(2, 3))

    def sample(self, *arguments, **options):
        """Not there: the sampler draws from logistics."""
        raise NotImplementedError("SoftmaxPixelCNN is for comparing likelihoods.")

    complete = sample


def heads(num_mixtures, num_levels):
    """What is compared: from a name to a class and its number of logistics."""
    return {
        f"mixture of {num_mixtures} logistics": (kp.PixelCNNPlusPlus, num_mixtures),
        "single logistic": (kp.PixelCNNPlusPlus, 1),
        f"{num_levels}-way softmax": (SoftmaxPixelCNN, 1),
    }


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


def training_speed(models, pictures, batch_size, rounds=5):
    """Pictures per second of training, the median over rounds, after the models were measured.

    All models take their turn in each round, so that a busy machine disturbs them alike.
    """
    batches = pictures.take(slice(batch_size * min(8, max(1, len(pictures) // batch_size))))
    inputs = {"image": batches.images, "label": batches.labels}
    seconds = np.zeros((rounds, len(models)))
    for turn, model in product(range(-1, rounds), range(len(models))):
        start = time.perf_counter()
        models[model].fit(inputs, batch_size=batch_size, verbose=0)
        # The first round, which the next ones overwrite, is to warm up.
        seconds[max(turn, 0), model] = time.perf_counter() - start
    return len(batches) / np.median(seconds, axis=0)


def compare(dataset, preset, epochs=None, limit=None, seed=0):
    """Trains one model for each head.

    Returns:
        The rows of the table, and from each head's name to its epochs.
    """
    overrides = {
        "epochs": epochs,
        "seed": seed,
        "label_loss_weight": 0.0,
        "candidates": 1,
    }
    options, training = resolve_options(preset, overrides, dataset.num_classes)
    train_pictures = dataset.split("train").labelled().take(slice(limit))
    validation = dataset.split("validation").labelled()
    split = "test" if len(dataset.split("test").labelled()) else "validation"
    rows, histories, models = [], {}, []
    for name, (model_class, num_mixtures) in heads(
        options["num_mixtures"], dataset.num_levels
    ).items():
        print(f"Training: {name}, {training['epochs']} epochs of {len(train_pictures)} pictures")
        keras.utils.set_random_seed(seed)
        model = model_class(
            image_shape=dataset.image_shape,
            num_classes=dataset.num_classes,
            num_levels=dataset.num_levels,
            **{**options, "num_mixtures": num_mixtures},
        )
        histories[name] = train(model, train_pictures, validation, training)
        models.append(model)
        rows.append(
            {
                "head": name,
                "bits_per_dim": measure(model, dataset.split(split).labelled()),
                "train_bits_per_dim": measure(model, train_pictures),
                "split": split,
                "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
                "parameters_per_pixel": model.num_parameters,
            }
        )
    speeds = training_speed(models, train_pictures, training["batch_size"])
    for row, speed in zip(rows, speeds, strict=True):
        row["pictures_per_second"] = float(speed)
    return rows, histories


def print_table(rows):
    table = Table()
    table.add_column("head")
    headings = (f"bits/dim ({rows[0]['split']})", "bits/dim (train)", "weights")
    for heading in (*headings, "outputs a pixel", "trained/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["head"],
            f"{row['bits_per_dim']:.4f}",
            f"{row['train_bits_per_dim']:.4f}",
            f"{row['parameters']:,}",
            str(row["parameters_per_pixel"]),
            f"{row['pictures_per_second']:.0f}",
        )
    Console(width=110).print(table)


def main(arguments=None):
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="as of pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize pictures to this size")
    parser.add_argument("--preset", help="default: digits for digits, else report")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, help="train on the first pictures only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/heads"))
    options = parser.parse_args(arguments)

    preset = options.preset or ("digits" if options.data == "digits" else "report")
    dataset = load_dataset(options.data, image_size=options.image_size)
    rows, histories = compare(
        dataset, load_preset_config(preset), options.epochs, options.limit, options.seed
    )
    facts = {
        "data": dataset.name,
        "image_size": options.image_size,
        "preset": preset,
        "epochs": options.epochs,
        "limit": options.limit,
        "seed": options.seed,
    }
    write_json(options.output / "heads.json", {**facts, "heads": rows, "histories": histories})
    png = history_png(histories, "bits_per_dim", "bits/dim of p(x | y)")
    write_bytes(options.output / "heads.png", png)
    print_table(rows)
    print(f"Wrote heads.json and heads.png to {options.output}")


if __name__ == "__main__":
    main()
