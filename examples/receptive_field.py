"""Plots the receptive field of one pixel in PixelCNN, Gated PixelCNN and PixelCNN++.

    python examples/receptive_field.py [--output receptive_field.png]

The gradient of a pixel's distribution with respect to the image is 0 outside the receptive field,
in untrained networks as well as in trained ones. PixelCNN has a blind spot at the upper right.
Gated PixelCNN and PixelCNN++ see every earlier pixel within their reach. No network sees the pixel
itself or a later one.
"""

import argparse

import keras
import numpy as np
from keras import ops
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import keras_pixelcnnpp as kp

SIZE, ROW, COLUMN = 24, 16, 8
NETWORKS = {
    "PixelCNN": (kp.PixelCNN, {"filters": 32, "num_blocks": 10}),
    "Gated PixelCNN": (kp.GatedPixelCNN, {"filters": 32, "num_blocks": 10}),
    "PixelCNN++": (kp.PixelCNNPlusPlus, {"filters": 16, "num_blocks": 2, "dropout_rate": 0.0}),
}


def gradient(function, array):
    """Returns the gradient of a scalar function of a float32 array, under any backend."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(function))(array))
    tensor = ops.convert_to_tensor(array)
    if keras.backend.backend() == "torch":
        import torch

        (found,) = torch.autograd.grad(function(tensor.requires_grad_()), [tensor])
        return ops.convert_to_numpy(found)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = function(tensor)
    return tape.gradient(value, tensor).numpy()


def influence(model, images):
    """Returns how much each pixel influences the pixel (ROW, COLUMN), float `(SIZE, SIZE)`.

    The influence is the absolute gradient of a random linear combination of the distribution's
    parameters, averaged over images. It is 0 only at pixels on which no parameter depends.
    """
    shape = (len(images), model.network.num_parameters)
    weights = ops.convert_to_tensor(np.random.default_rng(0).normal(size=shape), "float32")

    def combination(levels):
        # The second axis is for candidate labels. Unconditional models have a single candidate.
        parameters = model.network(ops.expand_dims(levels, 1), None)
        return ops.sum(weights * parameters[:, 0, ROW, COLUMN])

    return np.abs(gradient(combination, images.astype("float32"))).mean(axis=(0, 3))


def plot(axes, title, values):
    """Plots the influence of each pixel relative to the largest one, with gray for 0."""
    relative = np.ma.masked_equal(values / values.max(), 0)
    image = axes.imshow(relative, cmap="YlGnBu", norm=LogNorm(1e-6, 1, clip=True))
    axes.set(title=title, facecolor="#e4e4e4")
    axes.plot(COLUMN, ROW, "s", color="#d62728", markersize=4)
    border = [(-0.5, ROW + 0.5), (COLUMN - 0.5, ROW + 0.5), (COLUMN - 0.5, ROW - 0.5)]
    axes.plot(*zip(*border, (SIZE - 0.5, ROW - 0.5), strict=True), color="#d62728")
    # Each masked 3×3 convolution reaches only one column to the right per row above.
    top = min(ROW, SIZE - 1 - COLUMN)
    blind = [COLUMN + 0.5, COLUMN + 0.5 + top], [ROW - 0.5, ROW - 0.5 - top]
    axes.plot(*blind, "--", color="#d62728")
    axes.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
    return image


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="receptive_field.png")
    output = parser.parse_args(arguments).output

    figure = Figure(figsize=(7.6, 3.5), layout="constrained")
    panels = figure.subplots(1, len(NETWORKS))
    images = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 1), dtype="uint8")
    order = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    earlier = order < order[ROW, COLUMN]
    for axes, (name, (network, options)) in zip(panels, NETWORKS.items(), strict=True):
        keras.utils.set_random_seed(0)
        model = network((SIZE, SIZE, 1), 0, head="logistic_mixture", conditioning="none", **options)
        values = influence(model, images)
        seen = values > 0
        found = f"sees {np.sum(seen & earlier)} of {np.sum(earlier)} earlier pixels"
        print(f"{name} {found} and {np.sum(seen & ~earlier)} others")
        title = f"{name}\n{np.sum(seen & earlier)} of {np.sum(earlier)}"
        image = plot(axes, title, values)
    bar = figure.colorbar(image, ax=panels, shrink=0.75, extend="min")
    bar.set_label("relative influence")
    figure.supxlabel(
        "titles: earlier pixels seen; gray: no influence; solid: the pixel and all later ones\n"
        "dashed: stacked 3×3 masked convolutions see nothing to its right",
    )
    figure.savefig(output, dpi=150)
    print(f"Wrote {output}")


if __name__ == "__main__":
    main()
