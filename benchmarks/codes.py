"""Compares priors of a VQ-VAE: models of its codes, which have no order.

    taskset -c 1 python benchmarks/codes.py fashion_mnist.npz --seed 0

A small VQ-VAE converts the images of Fashion-MNIST to 7×7 codes. Each model of the codes is trained
for the same processor time, which includes tracing:

- PixelCNN++ that takes the codes for ordered levels, with and without labels,
- PixelCNN++ and Gated PixelCNN with `ordered_levels=False`, with and without labels,
- the network of Keras's example "Vector-Quantized Variational Autoencoders", written again from its
  description, with the training of the example, and with one that was chosen for this time. It is
  sampled as there: the whole network is evaluated for each code.

A CNN, trained on the same images, compares decoded samples with test images: the Fréchet distance
of its features.

The file has the arrays of `keras.datasets.fashion_mnist`. Each run writes
`benchmarks/results/codes-COUNT-SEED.json`.
"""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from common import RESULTS, facts, save, show
from keras import layers, ops
from sklearn.cluster import KMeans

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.evaluate.generation import baseline_features
from keras_pixelcnnpp.evaluate.metrics.images import frechet_distance
from keras_pixelcnnpp.training.optimizers import KernelMuon
from keras_pixelcnnpp.utils.memory import keep_freed_memory

SHAPE = (7, 7, 1)
TEST_IMAGES, SAMPLES = 2000, 100
COMPARED = 1000  # decoded samples, compared with the test images


@keras.saving.register_keras_serializable(package="benchmarks")
class VectorQuantizer(layers.Layer):
    """Replaces each vector by the nearest one of a codebook (van den Oord et al. 2017)."""

    def __init__(self, num_codes, width, **kwargs):
        super().__init__(**kwargs)
        uniform = keras.initializers.RandomUniform(-1.0, 1.0)
        self.codebook = self.add_weight(shape=(num_codes, width), initializer=uniform)
        self.built = True

    def codes(self, x):
        distances = ops.sum(self.codebook**2, axis=1) - 2 * ops.matmul(
            x, ops.transpose(self.codebook)
        )
        return ops.argmin(distances, axis=-1)

    def call(self, x):
        nearest = ops.take(self.codebook, self.codes(x), axis=0)
        self.add_loss(ops.mean((nearest - ops.stop_gradient(x)) ** 2))
        self.add_loss(0.25 * ops.mean((ops.stop_gradient(nearest) - x) ** 2))
        return x + ops.stop_gradient(nearest - x)  # the gradient passes straight through


class Budget(keras.callbacks.Callback):
    """Trains for a number of processor seconds, with warm-up and a cosine schedule over them."""

    def __init__(self, seconds, peak, is_constant=False):
        super().__init__()
        self.seconds, self.peak, self.is_constant = seconds, peak, is_constant
        self.start, self.spent, self.steps = time.process_time(), 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        share = min(1.0, (time.process_time() - self.start) / self.seconds)
        rate = min(1.0, share / 0.05) * (0.01 + 0.99 * np.cos(np.pi * share / 2) ** 2)
        self.model.optimizer.learning_rate = self.peak * (1.0 if self.is_constant else rate)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.spent = time.process_time() - self.start
        if self.spent > self.seconds:
            self.model.stop_training = True


def train(model, inputs, targets, seconds, peak, batch_size, seed, is_constant=False):
    """Trains a compiled model; returns its processor seconds and steps."""
    keras.utils.set_random_seed(seed)
    budget = Budget(seconds, peak, is_constant)
    # `stop_training` is read after each step.
    model.fit(inputs, targets, batch_size, epochs=10_000, verbose=0, callbacks=[budget])
    return {"seconds": budget.spent, "steps": budget.steps}


def trained_autoencoder(images, num_codes, seconds, seed, width=16):
    """Returns encoder, quantizer and decoder of a VQ-VAE, the whole model, and its training.

    A quarter of the time is for an autoencoder without codes, whose vectors are clustered to begin
    the codebook. From a random codebook, most codes would never be used.
    """
    keras.utils.set_random_seed(seed)
    how = {"padding": "same", "activation": "relu"}
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 4, strides=2, **how),
            layers.Conv2D(64, 4, strides=2, **how),
            layers.Conv2D(width, 1),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 7, width)),
            layers.Conv2D(64, 3, **how),
            layers.Conv2DTranspose(32, 4, strides=2, **how),
            layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid"),
        ]
    )
    inputs, quantizer = keras.Input((28, 28, 1)), VectorQuantizer(num_codes, width)
    plain = keras.Model(inputs, decoder(encoder(inputs)))
    plain.compile(keras.optimizers.Adam(2e-3), "mse")
    first = train(plain, images, images, seconds / 4, 2e-3, 64, seed, is_constant=True)
    vectors = encoder.predict(images[:1000], verbose=0).reshape(-1, width)
    clusters = KMeans(num_codes, n_init=1, random_state=seed).fit(vectors)
    quantizer.codebook.assign(clusters.cluster_centers_)
    whole = keras.Model(inputs, decoder(quantizer(encoder(inputs))))
    whole.compile(keras.optimizers.Adam(2e-3), "mse")
    then = train(whole, images, images, seconds * 3 / 4, 2e-3, 64, seed)
    took = {name: first[name] + then[name] for name in first}
    return encoder, quantizer, decoder, whole, took


def encoded(encoder, quantizer, images):
    """Returns the codes of images, uint8 or uint16 `(N, 7, 7, 1)`."""
    vectors = encoder.predict(images, batch_size=500, verbose=0)
    parts = np.array_split(vectors, 1 + len(vectors) // 500)
    found = [ops.convert_to_numpy(quantizer.codes(part)) for part in parts]
    num_codes = quantizer.codebook.shape[0]
    return np.concatenate(found)[..., None].astype("uint8" if num_codes <= 256 else "uint16")


class Judge:
    """Compares decoded codes with test images by the features of a CNN.

    Args:
        images, labels: Training images, float from 0 to 1, and their classes.
        real: Test images.
        decode: Function from codes `(N, 7, 7, 1)` to images.
    """

    def __init__(self, images, labels, real, decode, seconds):
        keras.utils.set_random_seed(0)
        self.cnn, self.decode = kp.BaselineCNN((28, 28, 1), 10), decode
        self.cnn.compile(keras.optimizers.Adam(2e-3))
        train(self.cnn, self.levels(images), labels, seconds, 2e-3, 64, seed=0)
        self.real = self.features(real)

    @staticmethod
    def levels(images):
        return np.rint(255 * np.clip(images, 0, 1)).astype("uint8")

    def features(self, images):
        return baseline_features(self.cnn, self.levels(images), batch_size=500)

    def distance(self, codes):
        """Returns the Fréchet distance between decoded codes and the test images."""
        return frechet_distance(self.features(self.decode(codes)), self.real)


class MaskedConv(layers.Conv2D):
    """Convolution whose kernel is 0 from the middle on (mask A), or after it (mask B)."""

    def __init__(self, mask, *args, **kwargs):
        super().__init__(*args, **kwargs)
        rows, columns = self.kernel_size
        known = np.zeros(rows * columns, "float32")
        known[: rows * columns // 2 + (mask == "B")] = 1
        self.known = known.reshape(rows, columns, 1, 1)

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * self.known)


def make_example(num_codes):
    """Returns a network with the layers and sizes of Keras's example, for integers `(7, 7)`."""
    conv = partial(layers.Conv2D, activation="relu")
    masked = partial(MaskedConv, filters=128, activation="relu", padding="same")
    inputs = keras.Input(SHAPE[:2], dtype="int32")
    x = masked("A", kernel_size=7)(ops.one_hot(inputs, num_codes))
    for _ in range(2):
        hidden = masked("B", filters=64, kernel_size=3)(conv(128, 1)(x))
        x = x + conv(128, 1)(hidden)
    for _ in range(2):
        x = masked("B", kernel_size=1)(x)
    return keras.Model(inputs, layers.Conv2D(num_codes, 1)(x))


def sample_example(network, count, seed):
    """Samples codes pixel by pixel, each time with the whole network, as in the example."""
    rng, codes = np.random.default_rng(seed), np.zeros((count, *SHAPE[:2]), "int32")
    for row, column in np.ndindex(*SHAPE[:2]):
        logits = network.predict(codes, batch_size=500, verbose=0)[:, row, column]
        codes[:, row, column] = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return codes


def nats(log_prob):
    """Returns nats per image and their standard error."""
    each = -np.asarray(log_prob, "float64")
    return {"nats": each.mean(), "standard_error": each.std(ddof=1) / len(each) ** 0.5}


def timed_after_first(work):
    """Returns the processor seconds and the seconds of the second call."""
    work()
    start = time.process_time(), time.perf_counter()
    work()
    return {
        "processor_seconds": time.process_time() - start[0],
        "seconds": time.perf_counter() - start[1],
    }


PEAK = 4e-3  # learning rate
# Arguments of each model of this package, without the number of codes.
OF_CODES = {"ordered_levels": False, "dropout_rate": 0.0, "label_loss_weight": 0.0}
PLUS_PLUS = {"num_resolutions": 1, "filters": 32, "num_blocks": 2, **OF_CODES}
GATED = {"filters": 40, "num_blocks": 4, **OF_CODES}
PRIORS = {
    "PixelCNN++, ordered levels": (kp.PixelCNNPlusPlus, {**PLUS_PLUS, "ordered_levels": True}),
    "PixelCNN++": (kp.PixelCNNPlusPlus, PLUS_PLUS),
    "Gated PixelCNN": (kp.GatedPixelCNN, GATED),
}


def trained_prior(name, num_classes, num_codes, codes, labels, seconds, seed):
    """Returns a trained model of codes, and what its training took."""
    kind, options = PRIORS[name]
    keras.utils.set_random_seed(seed)
    start = time.process_time()
    model = kind(SHAPE, num_classes, num_codes, **options)
    model.compile(KernelMuon(PEAK, global_clipnorm=10.0))
    given = codes if not model.ordered_levels else kp.data.to_images(codes, num_codes)
    seconds -= time.process_time() - start
    took = train(model, given, labels if num_classes else None, seconds, PEAK, 64, seed)
    return model, took


def measured(name, num_classes, num_codes, train_set, test_set, seconds, seed, judge):
    """Returns the row of one model of this package, and the model."""
    model, took = trained_prior(name, num_classes, num_codes, *train_set, seconds, seed)
    codes, labels = test_set
    given = codes if not model.ordered_levels else kp.data.to_images(codes, num_codes)
    classes = np.arange(COMPARED) % 10

    def sample(count):
        wanted = classes[:count] if num_classes else count
        samples = model.sample(wanted, seed=0, verbose=0)
        return samples if not model.ordered_levels else kp.data.to_levels(samples, num_codes)

    row = {
        "name": name,
        "classes": num_classes,
        **nats(model.log_prob(given, labels if num_classes else None, batch_size=500)),
        "weights": model.count_params(),
        **took,
        "sampling": timed_after_first(lambda: sample(SAMPLES)),
        "frechet_distance": judge.distance(sample(COMPARED)),
    }
    return row, model


def measured_example(name, num_codes, codes, test_codes, seconds, seed, judge, peak, is_constant):
    """Returns the row of the network of Keras's example."""
    keras.utils.set_random_seed(seed)
    start = time.process_time()
    network = make_example(num_codes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(peak), loss)
    given = codes[..., 0].astype("int32")
    seconds -= time.process_time() - start
    took = train(network, given, given, seconds, peak, 128, seed, is_constant)
    logits = network.predict(test_codes[..., 0].astype("int32"), batch_size=500, verbose=0)
    log_probs = ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))
    log_prob = np.take_along_axis(log_probs, test_codes.astype("int64"), -1).sum(axis=(1, 2, 3))
    return {
        "name": name,
        "classes": 0,
        **nats(log_prob),
        "weights": network.count_params(),
        **took,
        "sampling": timed_after_first(lambda: sample_example(network, SAMPLES, 0)),
        "frechet_distance": judge.distance(sample_example(network, COMPARED, 0)[..., None]),
    }


def guided_images(sample, classes, decode):
    """Returns decoded samples of the first classes."""
    return decode(sample(classes[:SAMPLES]))


def main(
    data: Annotated[Path, typer.Argument(help="The .npz file of Fashion-MNIST.")],
    seed: int = 0,
    num_codes: int = 128,
    seconds: Annotated[float, typer.Option(help="Processor seconds of each training.")] = 80,
):
    """Train a VQ-VAE and all priors with one seed, and write their figures."""
    keep_freed_memory()
    with np.load(data) as arrays:
        splits = {"train": slice(None), "test": slice(TEST_IMAGES)}
        labels = {name: arrays[f"y_{name}"][rows].astype("int32") for name, rows in splits.items()}
        images = {name: arrays[f"x_{name}"][rows] for name, rows in splits.items()}
        images = {name: pixels[..., None] / np.float32(255) for name, pixels in images.items()}
    of_training = images["train"], num_codes, seconds, seed
    encoder, quantizer, decoder, whole, took = trained_autoencoder(*of_training)
    reconstructed = whole.predict(images["test"], batch_size=500, verbose=0)
    codes = {name: encoded(encoder, quantizer, given) for name, given in images.items()}
    autoencoder = {
        **took,
        "mse": float(np.mean((reconstructed - images["test"]) ** 2)),
        "codes_used": len(np.unique(codes["test"])),
    }
    codebook = ops.convert_to_numpy(quantizer.codebook)

    def decode(codes):
        return decoder.predict(codebook[codes[..., 0]], batch_size=500, verbose=0)

    judge = Judge(images["train"], labels["train"], images["test"], decode, seconds)
    # What a perfect prior would reach, and the distance between real images.
    drawn = np.random.default_rng(seed).permutation(len(codes["train"]))[:COMPARED]
    autoencoder["frechet_distance"] = judge.distance(codes["train"][drawn])
    real = judge.features(images["train"][drawn])
    autoencoder["frechet_distance_of_images"] = frechet_distance(real, judge.real)
    print(autoencoder)
    sets = [(codes[name], labels[name]) for name in ("train", "test")]
    rows, guided = [], None
    for name in PRIORS:
        for num_classes in (0, 10):
            row, model = measured(name, num_classes, num_codes, *sets, seconds, seed, judge)
            rows.append(row)
            print(row, flush=True)
            if name == "PixelCNN++" and num_classes:
                classes = np.arange(COMPARED) % 10
                sample = partial(model.sample, seed=0, guidance=1.0, verbose=0)
                guided = timed_after_first(partial(guided_images, sample, classes, decode))
                guided["frechet_distance"] = judge.distance(sample(classes))
    for name, peak, is_constant in (
        ("network of Keras's example", 3e-4, True),
        ("network of Keras's example, tuned", 2e-3, False),
    ):
        given = codes["train"], codes["test"], seconds, seed, judge, peak, is_constant
        rows.append(measured_example(name, num_codes, *given))
        print(rows[-1], flush=True)
    show([{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows])
    result = {
        "num_codes": num_codes,
        "seed": seed,
        "test_images": len(codes["test"]),
        "autoencoder": autoencoder,
        "rows": rows,
        "guided_and_decoded": guided,
    }
    save(result | facts(), RESULTS / f"codes-{num_codes}-{seed}.json")


if __name__ == "__main__":
    typer.run(main)
