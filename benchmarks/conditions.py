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
    is_model = isinstance(model, kp.AutoregressiveModel)
    batch = 100 if is_model else 500
    steps = epochs * (len(images) // batch)
    common = {"learning_rate_schedule": "cosine", "learning_rate_warmup": steps // 20}
    start = time.process_time()
    if is_model:
        recipe = {"optimizer": "muon", "learning_rate": 4e-3, "gradient_clip_norm": 10}
        model.compile(make_optimizer({**common, **recipe}, steps))
    else:
        recipe = {"optimizer": "adam", "learning_rate": 1e-2}
        loss = "sparse_categorical_crossentropy"
        model.compile(make_optimizer({**common, **recipe}, steps), loss)
    model.fit(images, targets, batch_size=batch, epochs=epochs, verbose=2)
    return time.process_time() - start


def make_cnn(problem):
    """A CNN that classifies the bins of the grid.

    Of five networks, deeper ones saw fewer lattices in the time, and were worse.
    """
    layers = keras.layers
    inputs = keras.Input((problem.size, problem.size, 1), dtype="uint8")
    x = layers.Rescaling(2 / 255, -1)(inputs)
    for _ in range(2):
        x = layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    x = layers.Dense(64, "relu")(layers.GlobalAveragePooling2D()(x))
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
    """Returns the share of true values in the central 90% interval, in per cent."""
    interval = kp.GridPosterior(grid[:, None], log_prob).interval(0.9)[:, 0]
    return 100 * np.mean((interval[:, 0] <= values) & (values <= interval[:, 1]))


def ranks_p_value(log_prob, cells, rng):
    """Returns the p-value of uniform ranks of the true cell (simulation-based calibration)."""
    mass = np.exp(log_prob)
    below = mass.cumsum(axis=1) - mass
    rows = np.arange(len(cells))
    ranks = below[rows, cells] + rng.random(len(cells)) * mass[rows, cells]
    return chisquare(np.histogram(ranks, 20, (0, 1))[0]).pvalue


class Cases:
    """Test lattices of one seed: single ones, sets that share a value, and their exact posteriors.

    The true values are those of the grid, so that the rank of the true one is defined.
    """

    def __init__(self, problem, seed):
        self.problem, self.grid = problem, np.linspace(problem.low, problem.high, GRID_SIZE)
        rng = np.random.default_rng([seed, 1])
        self.values, self.values_of_sets = (rng.choice(self.grid, n) for n in (SINGLE, SETS))
        self.levels = problem.sample(self.values, rng)
        of_sets = problem.sample(self.values_of_sets.repeat(PER_SET), rng)
        self.log_prob = problem.log_prob(self.levels, self.grid)
        exact_of_sets = problem.log_prob(of_sets, self.grid)
        self.exact = normalized(self.log_prob), normalized(self.summed(exact_of_sets))
        self.images, self.images_of_sets = (
            kp.data.to_images(levels, problem.num_levels) for levels in (self.levels, of_sets)
        )
        self.groups = np.arange(SETS).repeat(PER_SET)
        self.cells = bins(problem, self.values)

    @staticmethod
    def summed(scores):
        """Adds the scores of the lattices of each set."""
        return scores.reshape(SETS, PER_SET, -1).sum(axis=1)

    def measured(self, single, of_sets):
        """Returns the figures of a method; the arguments are its log-posteriors on the grid."""
        exact, exact_of_sets = self.exact
        return {
            "single": kl(exact, single),
            "sets": kl(exact_of_sets, of_sets),
            "coverage": coverage(self.grid, single, self.values),
            "coverage_of_sets": coverage(self.grid, of_sets, self.values_of_sets),
            "ranks_p_value": ranks_p_value(single, self.cells, np.random.default_rng(0)),
        }


def of_model(problem, cases, images, values, epochs, seed):
    """Trains the conditional model, and returns its figures."""
    conditions = kp.Vectors(1, low=problem.low, high=problem.high, names=[problem.name])
    sizes = {"filters": 24, "num_blocks": 4, "dropout_rate": 0.0, "conditioning": "bias+film"}
    shape, num_levels = (problem.size, problem.size, 1), problem.num_levels
    model = kp.GatedPixelCNN(shape, conditions=conditions, num_levels=num_levels, **sizes)
    seconds = trained(model, images, values.astype("float32")[:, None], epochs, seed)

    grid, how = cases.grid, {"batch_size": 200}
    start = time.process_time()
    single = model.grid_posterior(cases.images, grid, **how).log_prob
    seconds_of_posterior = time.process_time() - start
    of_sets = model.grid_posterior(cases.images_of_sets, grid, groups=cases.groups, **how).log_prob
    given = cases.images, cases.values[:, None]
    true = cases.log_prob[np.arange(SINGLE), cases.cells]
    difference = true - model.log_prob(*given, **how).astype("float64")
    slope = model.score_function(*given, **how)[:, 0]
    exact_slope = problem.score(cases.levels, cases.values)
    return {
        "weights": model.count_params(),
        "seconds": seconds,
        "seconds_of_posterior": seconds_of_posterior,
        "kl_per_lattice": difference.mean(),
        "kl_standard_error": difference.std(ddof=1) / SINGLE**0.5,
        "score_correlation": np.corrcoef(slope, exact_slope)[0, 1],
        "score_slope": np.polyfit(exact_slope, slope, 1)[0],
        **cases.measured(single, of_sets),
    }


def of_cnn(problem, cases, images, values, seconds, seed):
    """Trains the classifier for about as many processor seconds, and returns its figures."""
    targets = bins(problem, values)
    # Epochs over as many lattices as take the time. The difference of two short runs is the
    # time of 60,000 lattices without tracing.
    first, second = (
        trained(make_cnn(problem), images[:some], targets[:some], 1, seed)
        for some in (20_000, 80_000)
    )
    share = seconds / (second - first) * 60_000 / len(images)
    epochs = math.ceil(share)
    count = int(share / epochs * len(images))
    cnn = make_cnn(problem)
    seconds = trained(cnn, images[:count], targets[:count], epochs, seed)

    # The first and last bin are half as wide. Likelihoods are added over a set.
    log_prior = np.log(np.bincount(targets[:count], minlength=GRID_SIZE) / count)

    def log_likelihoods(images):
        probabilities = cnn.predict(images, verbose=0).astype("float64")
        return np.log(np.maximum(probabilities, 1e-30)) - log_prior

    start = time.process_time()
    single = normalized(log_likelihoods(cases.images))
    seconds_of_posterior = time.process_time() - start
    of_sets = normalized(cases.summed(log_likelihoods(cases.images_of_sets)))
    return {
        "weights": cnn.count_params(),
        "seconds": seconds,
        "epochs": epochs,
        "count": count,
        "seconds_of_posterior": seconds_of_posterior,
        **cases.measured(single, of_sets),
    }


@app.command()
def run(problem: str, size: int = 8, seed: int = 0, count: int = 400_000, epochs: int = 1):
    """Trains both models with one seed and writes their figures."""
    keep_freed_memory()
    kind = PROBLEMS[problem](size)
    images, values = draw(kind, count, [seed, 0])
    cases = Cases(kind, seed)
    told = {"problem": problem, "size": size, "seed": seed, "count": count, "epochs": epochs}
    result = {**told, "exact": cases.measured(*cases.exact)}
    result["model"] = of_model(kind, cases, images, values, epochs, seed)
    print(result, flush=True)
    result["cnn"] = of_cnn(kind, cases, images, values, result["model"]["seconds"], seed)
    print(result["cnn"])
    save(result | facts(), RESULTS / f"conditions-{problem}-{size}-{seed}.json")


if __name__ == "__main__":
    app()
