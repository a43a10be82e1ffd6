"""The discretized logistic mixture in plain float64 NumPy, written from the paper's equations.

It loops over pixels, and shares no code with the library. Each difference of the distribution
function is computed in the tail where the function is small.
"""

import itertools

import numpy as np
from scipy.special import logsumexp


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def log_bin(level, mean, log_scale, num_levels):
    """log P(level) = log(F(x + h) - F(x - h)), F the logistic distribution function."""
    x = 2.0 * level / (num_levels - 1) - 1.0
    half = 1.0 / (num_levels - 1)
    scale = np.exp(max(log_scale, -7.0))
    upper = (x + half - mean) / scale
    lower = (x - half - mean) / scale
    if level == 0:
        return log_sigmoid(upper)
    if level == num_levels - 1:
        return log_sigmoid(-lower)
    if x < mean:
        larger, smaller = log_sigmoid(upper), log_sigmoid(lower)
    else:
        larger, smaller = log_sigmoid(-lower), log_sigmoid(-upper)
    return larger + np.log(-np.expm1(smaller - larger))


class ReferencePixel:
    """The distribution of one pixel, from the network's output for this pixel."""

    def __init__(self, parameters, channels, num_levels):
        parameters = np.asarray(parameters, "float64")
        count = len(parameters) // (1 + 2 * channels + channels * (channels - 1) // 2)
        rows = parameters.reshape(-1, count)  # one row per quantity, one column per component
        self.channels = channels
        self.num_levels = num_levels
        self.log_weights = rows[0] - logsumexp(rows[0])
        self.means = rows[1 : 1 + channels]
        self.log_scales = rows[1 + channels : 1 + 2 * channels]
        self.coefficients = {}
        pairs = [(c, d) for c in range(channels) for d in range(c)]
        for pair, row in zip(pairs, rows[1 + 2 * channels :], strict=True):
            self.coefficients[pair] = np.tanh(row)

    def log_prefix(self, levels):
        """Returns the log-probability of the first `len(levels)` channels."""
        total = self.log_weights.copy()
        scaled = [2.0 * level / (self.num_levels - 1) - 1.0 for level in levels]
        for component in range(len(total)):
            for c, level in enumerate(levels):
                mean = self.means[c, component]
                for d in range(c):
                    mean += self.coefficients[c, d][component] * scaled[d]
                total[component] += log_bin(
                    level, mean, self.log_scales[c, component], self.num_levels
                )
        return logsumexp(total)

    def probabilities(self):
        """Returns the probability of every pixel value, shape `(num_levels,) * channels`."""
        table = np.empty((self.num_levels,) * self.channels)
        for levels in itertools.product(range(self.num_levels), repeat=self.channels):
            table[levels] = np.exp(self.log_prefix(levels))
        return table
