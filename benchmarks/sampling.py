"""Compares the speed of the incremental sampler with a naive loop.

    python benchmarks/sampling.py --batches 25,100 --output benchmarks/results/sampling.json
    python benchmarks/sampling.py --network gated_pixelcnn --batches 25

The network is that of `course_report` (1 block, 40 filters, 5 mixtures, 32×32×3), or of the recipe
of another network, with random weights, on which the speed does not depend.

- **Ours** is `model.sample`, including its random numbers.
- **The naive loop** evaluates the whole network once per pixel and keeps that pixel. A few of its
  steps are compiled together, timed, and **extrapolated** to all pixels.

Times are medians. Ratios are medians of the ratios within the rounds.
"""

import numpy as np
import typer
from common import Output, Rounds, facts, in_turn, random_images, save, show
from keras import ops
from throughput import NUM_CLASSES, SHAPE

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.utils.backend import compiled

NAIVE_STEPS = 3


def naive_loop(model, images, labels):
    """Returns a job that runs a few steps of the naive loop over pixels."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.01, 0.99, (len(images), model.distribution.noise_size))

    def steps(inputs):
        images, labels, noise = inputs

        def step(column, images):
            parameters = model.pixel_parameters(images, labels[:, None])
            parameters = ops.take(parameters[:, 0, 0], column, axis=1)
            pixel = ops.cast(model.distribution.sample(parameters, noise), "int32")
            return ops.slice_update(images, (0, 0, column, 0), pixel[:, None, None])

        return ops.fori_loop(0, NAIVE_STEPS, step, images)

    inputs = images.astype("int32"), labels, noise.astype("float32")
    function = compiled(steps, model.variables)
    return lambda: ops.convert_to_numpy(function(inputs))  # waits for the result


def compare(model, batch, rounds):
    images, labels = random_images(batch, model.image_shape, NUM_CLASSES)
    jobs = {
        "ours": lambda: model.sample(labels, seed=0, batch_size=batch, verbose=0),
        "naive": naive_loop(model, images, labels),
    }
    times = in_turn(jobs, rounds)
    pixels = model.image_shape[0] * model.image_shape[1]
    ours = times["ours"]
    naive = times["naive"] * pixels * model.network.evaluations_per_pixel / NAIVE_STEPS
    return {
        "batch": batch,
        "seconds": np.median(ours),
        "naive_seconds_extrapolated": np.median(naive),
        "times_faster_than_naive": np.median(naive / ours),
    }


def main(
    network: str = "pixelcnnpp",
    rounds: Rounds = 3,
    batches: str = "1,25,100,400",
    output: Output = None,
):
    """Compare the sampler with a naive loop, for several batch sizes, comma-separated."""
    kp.keep_freed_memory()
    options = {"image_shape": SHAPE, "num_classes": NUM_CLASSES}
    if recipe := NETWORKS[network].recipe:
        names = PixelCNNRecipe.names("of_model")
        options |= {name: value for name, value in recipe.items() if name in names}
        model = NETWORKS[network](**options)
    else:
        model = kp.AutoregressiveModel.from_preset("course_report", load_weights=False, **options)
    rows = [compare(model, int(batch), rounds) for batch in batches.split(",")]
    show(rows)
    result = {"network": network, "rounds": rounds, "naive_steps_timed": NAIVE_STEPS, "rows": rows}
    save(facts() | result, output)


if __name__ == "__main__":
    typer.run(main)
