"""Measures p(image | map) against exact posteriors, a U-Net, and models without the map.

    taskset -c 1 python benchmarks/maps.py ising --folder runs/ising --seed 0
    taskset -c 1 python benchmarks/maps.py super_resolution --data fashion_mnist.npz --folder …

- `ising`: 8×8 Ising lattices with free boundaries, of which a binary symmetric channel flips each
  spin with probability 0.2. The posterior is an Ising model with a field, whose sums are exact by a
  transfer matrix.
- `super_resolution`, `denoising`: Fashion-MNIST from its 14×14 means, or with Gaussian noise of a
  standard deviation of 50, against the same model without the map, and a U-Net of the same
  processor time trained on the squared error.
- `codes`: both priors of a VQ-VAE-2 with 7×7 and 14×14 codes.
- `missing`: completions of Fashion-MNIST by a model whose map is the known part, against those of
  the preset `fashion_mnist` by particles, for 20 test images of each region of `completion.py`.

Each run writes `benchmarks/results/maps-TASK-SEED.json` and keeps its models in `--folder`; with
`--resume`, it continues after the last part of the training that is there.
"""

import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from codes import VectorQuantizer, nats, timed_after_first, train
from common import RESULTS, facts, save, show
from completion import COMPLETIONS, coverage, regions
from keras import layers, ops
from PIL import Image

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.images import image_grid

BETA, FLIPPED, SIZE = 0.4, 0.2, 8
PAIRS, PARTS, TEST, RATE = 536_000, 16, 2000, 5e-3
COMPARED, SAMPLES = 100, 200  # lattices whose marginals are compared, and samples of each
STATES = 2 * ((np.arange(2**SIZE)[:, None] >> np.arange(SIZE)) & 1) - 1  # of a row


class Ising:
    """The posterior of spins `(N, 8, 8)` in a field of the same shape, by a transfer matrix."""

    def __init__(self, field):
        within = BETA * (STATES[:, 1:] * STATES[:, :-1]).sum(axis=1)
        self.rows = within + field @ STATES.T.astype("float64")  # (N, row, states)
        self.between = np.exp(BETA * STATES @ STATES.T)
        self.below = np.zeros_like(self.rows)  # log of the sum over all rows below
        for row in range(SIZE - 2, -1, -1):
            self.below[:, row] = self._summed(self.rows[:, row + 1] + self.below[:, row + 1])
        self.log_z = _log_sum(self.rows[:, 0] + self.below[:, 0])

    def _summed(self, logs):
        top = logs.max(axis=1, keepdims=True)
        return np.log(np.exp(logs - top) @ self.between) + top

    def log_prob(self, spins):
        """Returns log p(spins | field), nats."""
        codes = ((spins + 1) // 2) @ (1 << np.arange(SIZE))
        energy = np.take_along_axis(self.rows, codes[..., None], axis=2).sum(axis=(1, 2))
        between = BETA * (spins[:, 1:] * spins[:, :-1]).sum(axis=(1, 2))
        return energy + between - self.log_z

    def means(self):
        """Returns the posterior mean of each spin."""
        above, found = np.zeros_like(self.rows[:, 0]), []
        for row in range(SIZE):
            logs = self.rows[:, row] + self.below[:, row] + above
            found.append(np.exp(logs - self.log_z[:, None]) @ STATES)
            above = self._summed(self.rows[:, row] + above)
        return np.stack(found, axis=1)

    def sample(self, rng):
        """Returns a lattice for each field, row by row."""
        found, chosen = [], np.zeros((len(self.rows), len(STATES)))
        for row in range(SIZE):
            logs = self.rows[:, row] + self.below[:, row] + chosen
            state = (logs + rng.gumbel(size=logs.shape)).argmax(axis=1)
            found.append(STATES[state])
            chosen = np.log(self.between[state])
        return np.stack(found, axis=1)


def _log_sum(logs):
    top = logs.max(axis=1)
    return top + np.log(np.exp(logs - top[:, None]).sum(axis=1))


def lattices(count, seed):
    """Returns spins and the flipped spins, int `(count, 8, 8)`."""
    rng, free = np.random.default_rng(seed), np.zeros((1000, SIZE, SIZE))
    prior = Ising(free)
    spins = np.concatenate([prior.sample(rng) for _ in range(-(-count // 1000))])[:count]
    return spins, np.where(rng.random(spins.shape) < FLIPPED, -spins, spins)


def field_of(noisy):
    return np.log((1 - FLIPPED) / FLIPPED) / 2 * noisy


def as_images(spins):
    return (255 * (spins[..., None] > 0)).astype("uint8")


def ising(folder, seed, resume):
    """Trains on each pair once, in parts, and compares with the exact posterior."""
    path, start = folder / "ising.keras", 0
    keras.utils.set_random_seed(seed)
    batch_size, count = 64, PAIRS // PARTS
    rate = keras.optimizers.schedules.CosineDecay(RATE, PARTS * -(-count // batch_size))
    model = kp.GatedPixelCNN(
        (SIZE, SIZE, 1),
        num_levels=2,
        head="categorical",
        filters=24,
        num_blocks=4,
        conditioning="bias",
        conditions=kp.Maps((SIZE, SIZE, 1), -1, 1),
    )
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0))
    if resume and path.exists():
        model, start = keras.models.load_model(path), int((folder / "part").read_text())
    spent = float((folder / "seconds").read_text()) if start else 0.0
    before = time.process_time()
    for part in range(start, PARTS):
        spins, noisy = lattices(count, [seed, part])
        history = model.fit(as_images(spins), noisy[..., None], batch_size, verbose=0)
        model.save(path)
        (folder / "part").write_text(f"{part + 1}")
        (folder / "seconds").write_text(f"{spent + time.process_time() - before}")
        print(part, history.history["bits_per_dim"], time.process_time() - before, flush=True)
    found = {"processor_seconds": float((folder / "seconds").read_text())}
    spins, noisy = lattices(TEST, [seed, PARTS])
    exact = Ising(field_of(noisy))
    log_prob = exact.log_prob(spins)
    differences = log_prob - model.log_prob(as_images(spins), noisy[..., None], batch_size=200)
    alone = np.log((1 + spins * exact.means()) / 2).sum(axis=(1, 2))
    found["entropy"] = -log_prob.mean()
    found["kl"] = differences.mean()
    found["kl_standard_error"] = differences.std(ddof=1) / TEST**0.5
    found["kl_of_independent_spins"] = (log_prob - alone).mean()
    rng, means = np.random.default_rng(seed), exact.means()[:COMPARED]
    maps = np.repeat(noisy[:COMPARED, ..., None], SAMPLES, axis=0)
    sampled = model.sample(maps, seed=seed, batch_size=1000, verbose=0)[..., 0] / 127.5 - 1
    drawn = Ising(field_of(maps[..., 0])).sample(rng)
    for name, spins_of in {"model": sampled, "exact": drawn}.items():
        mean = spins_of.reshape(COMPARED, SAMPLES, SIZE, SIZE).mean(axis=1)
        found[f"rmse_of_{name}_samples"] = np.sqrt(np.mean((mean - means) ** 2)) / 2
    return found


def coarse(images, rng):
    """Returns the means of 2×2 pixels."""
    blocks = images.reshape(-1, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    return np.rint(blocks).astype("uint8")


def noisy(images, rng):
    """Adds Gaussian noise of standard deviation 50, clipped to 0 and 255."""
    return np.clip(np.rint(images + rng.normal(0, 50, images.shape)), 0, 255).astype("uint8")


def model_of(conditions, shape=(28, 28, 1), **options):
    model = kp.GatedPixelCNN(shape, conditions=conditions, filters=24, dropout_rate=0.0, **options)
    model.compile(keras.optimizers.Adam(4e-3, global_clipnorm=10.0))
    return model


def unet(size):
    """Returns a U-Net from a map to the expected image, both from 0 to 1."""
    x = inputs = keras.Input((size, size, 1))
    if size == 14:
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    first, skipped = x, []
    for width in (32, 64):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(96, 3, padding="same", activation="relu")(x)
    for width, skip in zip((64, 32), reversed(skipped), strict=True):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, first + layers.Conv2D(1, 3, padding="same")(x))
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    return model


def kept(folder, name, make, resume, fit):
    """Returns a model and what its training took, from the folder if it was trained before."""
    path = folder / f"{name}.keras"
    if resume and path.exists():
        return keras.models.load_model(path), {}
    model = make()
    took = fit(model)
    model.save(path)
    print(name, took, flush=True)
    return model, took


def restored(task, data, folder, seed, seconds, resume):
    """Compares a model given the map with one without, and its mean with a U-Net's."""
    rng, degrade = np.random.default_rng(seed), {"denoising": noisy}.get(task, coarse)
    images, test = (data[f"x_{split}"][..., None] for split in ("train", "test"))
    test = test[:1000]
    maps, test_maps = degrade(images, rng), degrade(test, rng)
    conditions = kp.Maps.of_images(maps.shape[1:])

    def fitted(given):
        return lambda model: train(model, images, given, seconds, 4e-3, 16, seed)

    keras.utils.set_random_seed(seed)
    model, took = kept(folder, "maps", lambda: model_of(conditions), resume, fitted(maps))
    plain, _ = kept(folder, "none", lambda: model_of([]), resume, fitted(None))

    def fit_unet(network):
        return train(network, maps / 255, images / 255, seconds, 2e-3, 16, seed)

    network, _ = kept(folder, "unet", lambda: unet(maps.shape[1]), resume, fit_unet)
    given = model.bits_per_dim(test, test_maps, batch_size=100)
    alone = plain.bits_per_dim(test, batch_size=100)
    few, count = test[:100].astype("float64"), 10
    each = np.repeat(test_maps[:100], count, axis=0)
    samples = model.sample(each, seed=seed, batch_size=250, verbose=0).reshape(100, count, *SHAPE)
    expected = 255 * network.predict(test_maps[:100] / 255, verbose=0)
    bicubic = [np.asarray(Image.fromarray(one[..., 0]).resize((28, 28))) for one in test_maps[:100]]
    guesses = {"mean_of_samples": samples.mean(axis=1), "one_sample": samples[:, 0]}
    guesses |= {"unet": expected, "bicubic": np.stack(bicubic)[..., None]}
    rows = [one[..., None] for one in bicubic[:10]]
    rows += [*few[:10], *np.clip(expected[:10], 0, 255), *samples[:10].mean(axis=1)]
    rows += [samples[row, column] for column in range(3) for row in range(10)]
    _write(folder / f"{task}.png", np.clip(np.stack(rows), 0, 255).astype("uint8"))
    paired = alone - given
    return {
        "training": took,
        "bits_per_dim": given.mean(),
        "bits_per_dim_without_map": alone.mean(),
        "gain": paired.mean(),
        "gain_standard_error": paired.std(ddof=1) / len(paired) ** 0.5,
        "rmse": {name: np.sqrt(np.mean((few - one) ** 2)) for name, one in guesses.items()},
    }


SHAPE = (28, 28, 1)


def _write(path, images, columns=10):
    grid = image_grid(images, columns)[..., 0]
    Image.fromarray(grid).resize(np.multiply(grid.shape[::-1], 2).tolist(), 0).save(path)


def make_vqvae(num_codes, width=16):
    """Returns a VQ-VAE-2 and its parts: top codes of 7×7, and bottom codes of 14×14."""
    how = {"padding": "same", "activation": "relu"}
    inputs = keras.Input(SHAPE)
    middle = layers.Conv2D(48, 4, strides=2, **how)(inputs)
    high = layers.Conv2D(width, 1)(layers.Conv2D(64, 4, strides=2, **how)(middle))
    quantizers = [VectorQuantizer(num_codes, width, name=name) for name in ("top", "bottom")]
    up = keras.Sequential([layers.Conv2DTranspose(48, 4, strides=2, **how), layers.Conv2D(16, 1)])
    top = quantizers[0](high)
    low = layers.Conv2D(width, 1)(layers.Concatenate()([middle, up(top)]))
    bottom = quantizers[1](low)
    decoder = keras.Sequential(
        [
            layers.Conv2D(64, 3, **how),
            layers.Conv2DTranspose(32, 4, strides=2, **how),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    whole = keras.Model(inputs, decoder(layers.Concatenate()([bottom, up(top)])))
    vectors = keras.Model(inputs, [high, low])
    given = [keras.Input((size, size, width)) for size in (7, 14)]
    decode = keras.Model(given, decoder(layers.Concatenate()([given[1], up(given[0])])))
    whole.compile(keras.optimizers.Adam(2e-3), "mse")
    return whole, vectors, quantizers, decode


def codes(data, folder, seed, seconds, resume, num_codes=64):
    """Trains a VQ-VAE-2 and its priors, and samples 100 images through both."""
    images, test = (data[f"x_{split}"][..., None] / 255.0 for split in ("train", "test"))
    keras.utils.set_random_seed(seed)
    whole, vectors, quantizers, decode = make_vqvae(num_codes)
    rng, path = np.random.default_rng(seed), folder / "vqvae.weights.h5"
    if resume and path.exists():
        whole.load_weights(path)
    else:
        # Vectors of images begin the codebooks, because most random codes would never be used.
        for quantizer, found in zip(
            quantizers, vectors.predict(images[:500], verbose=0), strict=True
        ):
            flat = found.reshape(-1, found.shape[-1])
            quantizer.codebook.assign(flat[rng.choice(len(flat), num_codes, replace=False)])
        print(train(whole, images, images, seconds, 2e-3, 64, seed), flush=True)
        whole.save_weights(path)

    def encoded(images):
        parts = [vectors.predict(part, verbose=0) for part in np.array_split(images, 20)]
        return [
            np.concatenate(
                [ops.convert_to_numpy(quantizer.codes(part[which])) for part in parts]
            ).astype("uint8")[..., None]
            for which, quantizer in enumerate(quantizers)
        ]

    top, bottom = encoded(images)
    test = test[:2000]
    test_top, test_bottom = encoded(test)
    given = kp.Maps.of_codes((7, 7, 1), num_codes)
    how = {"num_levels": num_codes, "ordered_levels": False}
    runs = {
        "top": ((7, 7, 1), [], top, None),
        "bottom": ((14, 14, 1), given, bottom, top),
        "bottom_without_map": ((14, 14, 1), [], bottom, None),
    }
    models = {}
    for name, (shape, conditions, levels, maps) in runs.items():

        def make(shape=shape, conditions=conditions):
            options = {"filters": 40, "num_blocks": 4, "dropout_rate": 0.0, **how}
            model = kp.GatedPixelCNN(shape, conditions=conditions, **options)
            model.compile(keras.optimizers.Adam(4e-3, global_clipnorm=10.0))
            return model

        def fit(model, levels=levels, maps=maps):
            return train(model, levels, maps, seconds, 4e-3, 64, seed)

        models[name], _ = kept(folder, name, make, resume, fit)
    found = {
        "mean_squared_error": np.mean((whole.predict(test, verbose=0) - test) ** 2),
        "codes_used": [len(np.unique(one)) for one in (top, bottom)],
        "top": nats(models["top"].log_prob(test_top)),
        "bottom": nats(models["bottom"].log_prob(test_bottom, test_top)),
        "bottom_without_map": nats(models["bottom_without_map"].log_prob(test_bottom)),
    }

    def sample():
        high = models["top"].sample(100, seed=seed, verbose=0)
        low = models["bottom"].sample(high, seed=seed, verbose=0)
        books = [ops.convert_to_numpy(quantizer.codebook) for quantizer in quantizers]
        chosen = [book[levels[..., 0]] for book, levels in zip(books, (high, low), strict=True)]
        return decode.predict(chosen, verbose=0)

    found["sampling_100"] = timed_after_first(sample)
    shown = [test[:10], whole.predict(test[:10], verbose=0), sample()]
    _write(folder / "codes.png", np.rint(255 * np.concatenate(shown)).astype("uint8"))
    return found


def random_regions(count, rng):
    """Returns masks of known pixels: everything outside, or inside, of a rectangle, or a share."""
    known = np.empty((count, *SHAPE[:2]), bool)
    for mask in known:
        kind, (first, last) = rng.integers(4), np.sort(rng.integers(0, 29, (2, 2)), axis=0)
        inside = np.zeros(SHAPE[:2], bool)
        inside[first[0] : last[0], first[1] : last[1]] = True
        side = np.arange(28) < rng.integers(4, 25)
        side = np.broadcast_to(side[:: rng.choice((-1, 1))], SHAPE[:2])
        share = rng.random(SHAPE[:2]) < rng.uniform(0.1, 0.9)
        mask[:] = (~inside, side, side.T, share)[kind]
    return known


def parts_of(images, known):
    """Returns maps `(N, 28, 28, 2)`: the known pixels, and 255 where a pixel is known."""
    return np.stack([images[..., 0] * known, 255 * known], axis=-1).astype("uint8")


def missing(data, folder, seed, seconds, resume, count=20):
    """Compares completions by a model of p(whole image | known part) with those by particles."""
    images, test = (data[f"x_{split}"][..., None] for split in ("train", "test"))
    test, labels = test[:count], data["y_test"][:count]
    maps = parts_of(images, random_regions(len(images), np.random.default_rng(seed)))

    def make():
        return model_of(kp.Maps.of_images((28, 28, 2)))

    def fit(model):
        return train(model, images, maps, seconds, 4e-3, 16, seed)

    keras.utils.set_random_seed(seed)
    model, took = kept(folder, "missing", make, resume, fit)
    preset = kp.PixelCNNPlusPlus.from_preset("fashion_mnist")
    each, rows = test.repeat(COMPLETIONS, axis=0), []
    how = {"seed": seed, "batch_size": 200, "verbose": 0}
    for name, known in regions(test).items():
        masks = known.repeat(COMPLETIONS, axis=0)
        given = each, masks, parts_of(each, masks)
        by_particles = {"num_particles": 64, "num_samples": COMPLETIONS, **how}
        ways = {
            "map": lambda given=given: model.complete(*given, num_particles=1, **how),
            "particles": lambda known=known, more=by_particles: preset.complete(
                test, known, labels, **more
            ),
        }
        pictures = [np.where(known[..., None], test, 127)[:10], test[:10]]
        for way, complete in ways.items():
            start = time.process_time()
            completed = complete().reshape(count, COMPLETIONS, *SHAPE)
            took_each = (time.process_time() - start) / count
            inside = coverage(completed, test, known)
            errors = (completed.mean(axis=1) - test)[~known]
            found = {"coverage": inside.mean(), "coverage_error": inside.std(ddof=1) / count**0.5}
            found |= {"rmse": np.sqrt(np.mean(errors**2)), "seconds_per_image": took_each}
            rows.append({"unknown": name, "way": way, **found})
            show(rows[-1:])
            pictures.append(completed[:10, 0])
        _write(folder / f"missing {name}.png", np.concatenate(pictures))
    return {"training": took, "count": count, "rows": rows}


def main(
    task: str,
    folder: Annotated[Path, typer.Option()],
    data: Annotated[Path | None, typer.Option()] = None,
    seed: int = 0,
    seconds: float = 240,
    resume: bool = False,
):
    folder.mkdir(parents=True, exist_ok=True)
    if task == "ising":
        found = ising(folder, seed, resume)
    else:
        arrays = dict(np.load(data))
        given = (arrays, folder, seed, seconds, resume)
        own = {"codes": codes, "missing": missing}.get(task)
        found = own(*given) if own else restored(task, *given)
    save(
        {"task": task, "training_seconds": seconds, "seed": seed, **found, **facts()},
        RESULTS / f"maps-{task}-{seed}.json",
    )
    show([{name: value for name, value in found.items() if np.ndim(value) == 0}])


if __name__ == "__main__":
    typer.run(main)
