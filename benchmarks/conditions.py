"""Compares posteriors of physical parameters with the exact ones.

    taskset -c 1 python benchmarks/conditions.py ising --seed 0
    taskset -c 1 python benchmarks/conditions.py ising --size 16 --seed 0
    taskset -c 1 python benchmarks/conditions.py field --seed 0

The lattices come from distributions whose likelihood is known:

- *ising*: the Ising model with free boundaries; its inverse temperature is uniform in [0.2, 0.6].
- *field*: 16 levels. Each pixel is a discretized Gaussian, whose mean depends on its left and upper
  neighbors; the strength of the coupling is uniform in [0, 1].

A Gated PixelCNN conditioned on the parameter is compared with a CNN that classifies 41 bins of the
parameter and is trained for the same processor time. The model sees each lattice once, because in
several epochs over fewer lattices it learns them by heart. Each run writes
`benchmarks/results/conditions-PROBLEM-SIZE-SEED.json`.
"""

import math
import time

import keras
import numpy as np
import typer
from common import RESULTS, facts, save
from scipy.special import log_softmax, ndtr
from scipy.stats import chisquare

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.training.optimizers import make_optimizer
from keras_pixelcnnpp.utils.memory import keep_freed_memory

GRID_SIZE = 41
SINGLE, SETS, PER_SET = 1000, 400, 10

app = typer.Typer(help="Posteriors of physical parameters.", no_args_is_help=True)


class Ising:
    """Ising model with free boundaries, sampled exactly by messages from the last site on.

    The message of a site is the sum over all later spins of their weight, for each state of the
    last `size` spins before it.
    """

    name, low, high, num_levels = "beta", 0.2, 0.6, 2

    def __init__(self, size):
        self.size = size
        self.states = np.arange(2**size)

    def _fields(self, site):
        """Returns the sum of the left and upper spins for each state of the last spins."""
        row, column = divmod(site, self.size)
        left = 2 * (self.states & 1) - 1 if column else 0
        above = 2 * (self.states >> (self.size - 1) & 1) - 1 if row else 0
        return np.zeros(len(self.states)) + left + above

    def _next(self, spin):
        """Returns the state after each state, with a spin of 0 (down) or 1 (up)."""
        return (self.states << 1 | spin) & (len(self.states) - 1)

    def _messages(self, beta):
        """Returns the messages, each divided by its maximum, and log Z."""
        count = self.size**2
        messages, log_z = np.ones((count + 1, len(self.states))), 0.0
        for site in reversed(range(count)):
            weight = np.exp(beta * self._fields(site))
            after = messages[site + 1]
            message = weight * after[self._next(1)] + after[self._next(0)] / weight
            log_z += np.log(message.max())
            messages[site] = message / message.max()
        return messages, log_z + np.log(messages[0, 0])

    def sample(self, values, rng):
        """Samples a lattice for each value, levels `(N, size, size, 1)`."""
        spins = np.zeros((len(values), self.size**2), "uint8")
        for value in np.unique(values):
            rows = np.flatnonzero(values == value)
            (messages, _), state = self._messages(value), np.zeros(len(rows), "int64")
            for site in range(self.size**2):
                weight = np.exp(value * self._fields(site)[state])
                up = weight * messages[site + 1][self._next(1)[state]]
                down = messages[site + 1][self._next(0)[state]] / weight
                spin = rng.random(len(rows)) < up / (up + down)
                spins[rows, site] = spin
                state = (state << 1 | spin) & (len(self.states) - 1)
        return spins.reshape(-1, self.size, self.size, 1)

    def log_prob(self, levels, values):
        """Returns log p of lattices under each of several values, `(N, K)`, nats."""
        log_z = np.array([self._messages(value)[1] for value in values])
        return self._bonds(levels)[:, None] * values - log_z

    def _bonds(self, levels):
        spins = 2.0 * levels[..., 0] - 1
        rows = (spins[:, 1:] * spins[:, :-1]).sum(axis=(1, 2))
        return rows + (spins[:, :, 1:] * spins[:, :, :-1]).sum(axis=(1, 2))

    def score(self, levels, values):
        """Returns the derivative of log p under one value for each lattice, `(N,)`."""
        step = 1e-4
        slopes = {
            value: (self._messages(value + step)[1] - self._messages(value - step)[1]) / (2 * step)
            for value in np.unique(values)
        }
        return self._bonds(levels) - np.array([slopes[value] for value in values])


class Field:
    """Causal field of 16 levels: discretized Gaussians around the mean of two neighbors."""

    name, low, high, num_levels = "coupling", 0.0, 1.0, 16
    middle, deviation = 7.5, 2.0

    def __init__(self, size):
        self.size = size

    def _log_probs(self, left, above, value):
        """Returns the log-probabilities of all levels, `(..., 16)`."""
        mean = self.middle + value * ((left + above) / 2 - self.middle)
        edges = (np.arange(1, self.num_levels) - 0.5 - mean[..., None]) / self.deviation
        below = np.pad(ndtr(edges), [(0, 0)] * mean.ndim + [(1, 1)], constant_values=(0, 1))
        return np.log(np.maximum(np.diff(below, axis=-1), 1e-30))

    def sample(self, values, rng):
        levels = np.full((len(values), self.size + 1, self.size + 1), self.middle)
        for row in range(1, self.size + 1):
            for column in range(1, self.size + 1):
                neighbors = levels[:, row, column - 1], levels[:, row - 1, column]
                law = np.exp(self._log_probs(*neighbors, values)).cumsum(axis=1)
                uniform = rng.random((len(values), 1)) * law[:, -1:]
                levels[:, row, column] = (law < uniform).sum(axis=1)
        return levels[:, 1:, 1:, None].astype("uint8")

    def log_prob(self, levels, values):
        own = levels[..., 0].astype("int64")
        padded = np.pad(own * 1.0, [(0, 0), (1, 0), (1, 0)], constant_values=self.middle)
        left, above = padded[:, 1:, :-1], padded[:, :-1, 1:]
        found = []
        for value in values:
            law = self._log_probs(left, above, value)
            found.append(np.take_along_axis(law, own[..., None], -1).sum(axis=(1, 2, 3)))
        return np.stack(found, axis=1)

    def score(self, levels, values):
        step, found = 1e-4, np.zeros(len(levels))
        for row, value in enumerate(values):
            below, above = self.log_prob(levels[row : row + 1], [value - step, value + step])[0]
            found[row] = (above - below) / (2 * step)
        return found


PROBLEMS = {"ising": Ising, "field": Field}


def draw(problem, count, seed):
    """Returns images and their values.

    The values are 801 equidistant ones, so that lattices of one value are sampled together.
    """
    rng = np.random.default_rng(seed)
    values = rng.choice(np.linspace(problem.low, problem.high, 801), count)
    levels = problem.sample(values, rng)
    return kp.data.to_images(levels, problem.num_levels), values


def trained(model, images, targets, epochs, seed):
    """Trains a model with its own recipe, chosen on other lattices; returns processor seconds."""
    keras.utils.set_random_seed(seed)
    batch = 100
    steps = epochs * (len(images) // batch)
    common = {"learning_rate_schedule": "cosine", "learning_rate_warmup": steps // 20}
    start = time.process_time()
    if isinstance(model, kp.AutoregressiveModel):
        recipe = {"optimizer": "muon", "learning_rate": 4e-3, "gradient_clip_norm": 10}
        model.compile(make_optimizer({**common, **recipe}, steps))
    else:
        recipe = {"optimizer": "adam", "learning_rate": 2e-3}
        loss = "sparse_categorical_crossentropy"
        model.compile(make_optimizer({**common, **recipe}, steps), loss)
    model.fit(images, targets, batch_size=batch, epochs=epochs, verbose=2)
    return time.process_time() - start


def make_cnn(problem):
    """A CNN that classifies the bins of the grid."""
    layers = keras.layers
    size = problem.size
    inputs = keras.Input((size, size, 1), dtype="uint8")
    x = layers.Rescaling(2 / 255, -1)(inputs)
    for filters in (32, 64):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(128, "relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(GRID_SIZE, "softmax")(x))


def bins(problem, values):
    """Returns the nearest value of the grid."""
    share = (values - problem.low) / (problem.high - problem.low)
    return np.rint(share * (GRID_SIZE - 1)).astype("int32")


def normalized(scores):
    return log_softmax(scores, axis=1)


def kl(exact, other):
    """Returns the mean KL(exact ∥ other) of rows, and its standard error, nats."""
    each = (np.exp(exact) * (exact - other)).sum(axis=1)
    return {"kl": each.mean(), "standard_error": each.std(ddof=1) / len(each) ** 0.5}


def coverage(grid, log_prob, values):
    """Returns the share of true values in the central 90 % interval, in per cent."""
    interval = kp.GridPosterior(grid[:, None], log_prob).interval(0.9)[:, 0]
    return 100 * np.mean((interval[:, 0] <= values) & (values <= interval[:, 1]))


def ranks_p_value(log_prob, cells, rng):
    """Returns the p-value of uniform ranks of the true cell (simulation-based calibration)."""
    mass = np.exp(log_prob)
    below = mass.cumsum(axis=1) - mass
    rows = np.arange(len(cells))
    ranks = below[rows, cells] + rng.random(len(cells)) * mass[rows, cells]
    return chisquare(np.histogram(ranks, 20, (0, 1))[0]).pvalue


def measured(problem, grid, exact, found, values, sets):
    """Returns the figures of one method; `sets` are log-likelihoods and true values of sets."""
    exact_of_sets, found_of_sets, values_of_sets = sets
    cells = bins(problem, values)
    return {
        "single": kl(exact, found),
        "sets": kl(exact_of_sets, found_of_sets),
        "coverage": coverage(grid, found, values),
        "coverage_of_sets": coverage(grid, found_of_sets, values_of_sets),
        "ranks_p_value": ranks_p_value(found, cells, np.random.default_rng(0)),
    }


@app.command()
def run(problem: str, size: int = 8, seed: int = 0, count: int = 400_000, epochs: int = 1):
    """Trains both models with one seed and writes their figures."""
    keep_freed_memory()
    kind = PROBLEMS[problem](size)
    images, values = draw(kind, count, [seed, 0])
    conditions = kp.Vectors(1, low=kind.low, high=kind.high, names=[kind.name])
    sizes = {"filters": 24, "num_blocks": 4, "dropout_rate": 0.0, "conditioning": "bias+film"}
    model = kp.GatedPixelCNN(
        (size, size, 1), conditions=conditions, num_levels=kind.num_levels, **sizes
    )
    seconds = trained(model, images, values.astype("float32")[:, None], epochs, seed)

    # Test lattices: values of the grid, so that the rank of the true one is defined.
    grid, rng = np.linspace(kind.low, kind.high, GRID_SIZE), np.random.default_rng([seed, 1])
    of_single = rng.choice(grid, SINGLE)
    of_sets = rng.choice(grid, SETS)
    single, grouped = kind.sample(of_single, rng), kind.sample(of_sets.repeat(PER_SET), rng)
    groups = np.arange(SETS).repeat(PER_SET)

    def summed(scores):
        return scores.reshape(SETS, PER_SET, -1).sum(axis=1)

    exact = kind.log_prob(single, grid)
    exact_of_sets = normalized(summed(kind.log_prob(grouped, grid)))
    inputs = [kp.data.to_images(one, kind.num_levels) for one in (single, grouped)]

    start = time.process_time()
    found = model.grid_posterior(inputs[0], grid, batch_size=200).log_prob
    seconds_of_posterior = time.process_time() - start
    found_of_sets = model.grid_posterior(inputs[1], grid, groups=groups, batch_size=200).log_prob
    own = model.log_prob(inputs[0], of_single[:, None], batch_size=200).astype("float64")
    true = exact[np.arange(SINGLE), bins(kind, of_single)]
    difference = true - own
    slope = model.score_function(inputs[0], of_single[:, None], batch_size=200)[:, 0]
    exact_slope = kind.score(single, of_single)
    print(
        f"{seconds:.0f} s, KL {difference.mean():.4f}, {kl(normalized(exact), found)}", flush=True
    )
    print(kl(exact_of_sets, found_of_sets), np.corrcoef(slope, exact_slope)[0, 1], flush=True)

    cnn, targets = make_cnn(kind), bins(kind, values)
    # Epochs over as many lattices as take about the processor time of the model. The difference of
    # two short trainings is the time of 20,000 lattices without tracing.
    first, second = (
        trained(make_cnn(kind), images[:some], targets[:some], 1, seed) for some in (5000, 25_000)
    )
    share = seconds / (second - first) * 20_000 / count
    cnn_epochs = math.ceil(share)
    cnn_count = int(share / cnn_epochs * count)
    cnn_seconds = trained(cnn, images[:cnn_count], targets[:cnn_count], cnn_epochs, seed)
    start = time.process_time()
    logits = np.log(np.maximum(cnn.predict(inputs[0], verbose=0), 1e-30)).astype("float64")
    cnn_seconds_of_posterior = time.process_time() - start
    of_groups = np.log(np.maximum(cnn.predict(inputs[1], verbose=0), 1e-30)).astype("float64")

    exact_posterior = normalized(exact)
    sets = exact_of_sets, found_of_sets, of_sets
    result = {
        "problem": problem,
        "size": size,
        "seed": seed,
        "count": count,
        "epochs": epochs,
        "weights": model.count_params(),
        "seconds": seconds,
        "seconds_of_posterior": seconds_of_posterior,
        "kl_per_lattice": difference.mean(),
        "kl_standard_error": difference.std(ddof=1) / SINGLE**0.5,
        "score_correlation": np.corrcoef(slope, exact_slope)[0, 1],
        "score_slope": np.polyfit(exact_slope, slope, 1)[0],
        "model": measured(kind, grid, exact_posterior, found, of_single, sets),
        "exact": measured(
            kind,
            grid,
            exact_posterior,
            exact_posterior,
            of_single,
            (exact_of_sets, exact_of_sets, of_sets),
        ),
        "cnn": {
            "seconds": cnn_seconds,
            "epochs": cnn_epochs,
            "count": cnn_count,
            "seconds_of_posterior": cnn_seconds_of_posterior,
            **measured(
                kind,
                grid,
                exact_posterior,
                normalized(logits),
                of_single,
                (exact_of_sets, normalized(summed(of_groups)), of_sets),
            ),
        },
    }
    print({name: value for name, value in result.items() if not isinstance(value, dict)})
    for name in ("exact", "model", "cnn"):
        print(name, result[name])
    save(result | facts(), RESULTS / f"conditions-{problem}-{size}-{seed}.json")


if __name__ == "__main__":
    app()
