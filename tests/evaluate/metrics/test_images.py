import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel

from keras_pixelcnnpp.evaluate.metrics.images import (
    FIDELITY_METRICS,
    density_coverage,
    fidelity_metrics,
    frechet_distance,
    kernel_distance,
    memorization,
    nearest_neighbors,
    precision_recall,
)

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def with_moments(rng, count, mean, root):
    """Returns points whose mean is exactly `mean` and whose covariance is exactly `rootᵀ root`."""
    points = rng.normal(size=(count, len(mean)))
    points -= points.mean(axis=0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False)).T)
    return white @ root + mean


class TestFrechetDistance:
    def test_gaussians_whose_axes_differ(self, rng):
        roots = rng.normal(size=(2, 6, 6))
        a = with_moments(rng, 40, np.zeros(6), roots[0])
        b = with_moments(rng, 30, np.ones(6), roots[1])
        covariance_a, covariance_b = (root.T @ root for root in roots)
        root = sqrtm(covariance_a @ covariance_b).real
        expected = 6 + np.trace(covariance_a + covariance_b - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)

    def test_fewer_images_than_dimensions(self):
        # Points on two orthogonal lines, with variance 8 and 18.
        a = np.zeros((2, 20))
        b = np.zeros((2, 20))
        a[:, 3], b[:, 7] = [-2, 2], [-3, 3]
        assert frechet_distance(a, b) == pytest.approx(8 + 18)
        b = a * 2
        assert frechet_distance(a, b) == pytest.approx(8)


def test_kernel_distance_is_the_mean_over_pairs(rng):
    a, b = rng.normal(size=(7, 3)), rng.normal(1, size=(5, 3))
    kernels = [
        polynomial_kernel(x, y, degree=3, gamma=1 / 3, coef0=1) for x, y in ((a, a), (b, b), (a, b))
    ]
    within = [kernel[~np.eye(len(kernel), dtype=bool)].mean() for kernel in kernels[:2]]
    expected = within[0] + within[1] - 2 * kernels[2].mean()
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_neighborhoods_are_what_all_pairs_say(rng):
    real, generated = rng.normal(size=(40, 4)), rng.normal(0.7, size=(30, 4))

    def radii(points, neighbors):
        return np.sort(cdist(points, points), axis=1)[:, neighbors]

    across = cdist(generated, real)
    precision = (across <= radii(real, 3)).any(axis=1).mean()
    recall = (radii(generated, 3) >= across.T).any(axis=1).mean()
    inside = across <= radii(real, 5)
    assert 0 < precision < 1
    assert precision_recall(real, generated) == pytest.approx((precision, recall))
    assert density_coverage(real, generated) == pytest.approx(
        (inside.sum() / 5 / 30, inside.any(axis=0).mean())
    )


@pytest.mark.parametrize(
    ("real", "generated", "known"),
    [
        (0, 10, set()),
        (10, 0, set()),
        (2, 10, {"frechet_distance", "kid"}),
        (10, 1, {"density", "coverage"}),
        (4, 4, {"frechet_distance", "kid", "precision", "recall"}),
        (6, 4, set(FIDELITY_METRICS)),
    ],
)
def test_too_few_images(rng, real, generated, known):
    numbers = fidelity_metrics(rng.normal(size=(real, 3)), rng.normal(size=(generated, 3)))
    assert {name for name, number in numbers.items() if number is not None} == known


def test_a_copy_is_at_distance_0(rng):
    """Other neighbors are those of all pairs."""
    pool = 1000 + rng.random((50, 300), dtype="float32")
    distances, rows = nearest_neighbors(pool[[7, 3]], pool, 3)
    every = cdist(pool[[7, 3]], pool)
    np.testing.assert_array_equal(rows, np.argsort(every, axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :3], rtol=1e-4)
    assert distances[:, 0].tolist() == [0, 0]


def test_memorization_by_hand():
    numbers = memorization(np.array([0, 0, 2, 4, 9]), np.arange(1, 8))
    assert numbers == {
        "median_distance": 2,
        "held_out_median_distance": 4,
        "share_closer_than_median": 3 / 5,
        "share_closer_than_5_percent": 2 / 5,
        "identical": 2 / 5,
    }
