"""The toy sets, each held against its distribution."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from aelab import data

COVARIANCE = [[4.0, 1.5, 0.0], [1.5, 1.0, -0.3], [0.0, -0.3, 0.5]]


# Every set that is random, by name, as a function of a generator.
RANDOM = {
    "line": lambda g: data.line(40, 0.3, generator=g),
    "gaussian": lambda g: data.gaussian(40, COVARIANCE, generator=g),
    "arc": lambda g: data.arc(40, generator=g),
    "ring": lambda g: data.ring(40, generator=g),
    "price_table": lambda g: data.price_table(40, generator=g),
}


TOY_SETS = {
    "line": lambda n, **kwargs: data.line(n, 0.3, **kwargs),
    "gaussian": lambda n, **kwargs: data.gaussian(n, [[2, 1], [1, 2]], **kwargs),
    "circle": data.circle,
    "arc": data.arc,
    "ring": data.ring,
    "price_table": data.price_table,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_mean_and_covariance(x, mean, covariance):
    """Compare sample moments with the true ones, each within 5 standard errors."""
    x, mean, covariance = x.double().numpy(), np.array(mean), np.array(covariance)
    n, variance = len(x), np.diag(covariance)
    se_mean = np.sqrt(variance / n)
    se_covariance = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert (abs(x.mean(0) - mean) < 5 * se_mean).all()
    assert (abs(np.cov(x.T) - covariance) < 5 * se_covariance).all()


# Shape and dtype


@pytest.mark.parametrize("name", TOY_SETS)
@pytest.mark.parametrize("n", [1, 7])
def test_toy_sets(name, n):
    assert TOY_SETS[name](n).shape == (n, 2)
    assert TOY_SETS[name](np.int64(n)).shape == (n, 2)
    assert TOY_SETS[name](n).dtype == torch.float32
    assert TOY_SETS[name](n, dtype=torch.float64).dtype == torch.float64


# Value against an outside oracle


def test_line_without_noise():
    x = data.line(50, generator=seeded()).numpy()
    np.testing.assert_array_equal(x[:, 0], 2 * x[:, 1])
    assert np.linalg.matrix_rank(x) == 1


def test_line_with_noise():
    # Rejects: (a, 2a), one eps for both coordinates, noise as a variance.
    x = data.line(20_000, 0.3, generator=seeded())
    assert_mean_and_covariance(x, [0, 0], [[4.09, 2.0], [2.0, 1.09]])
    across = (x @ torch.tensor([1.0, -2.0]) / (0.3 * math.sqrt(5))).numpy()
    assert stats.kstest(across, "norm").pvalue > 1e-6


@pytest.mark.parametrize("mean", [[0.0, 0.0, 0.0], [1.0, -2.0, 30.0]])
def test_gaussian(mean):
    # Rejects: L^T for L, the covariance as its own factor, a mean that is forgotten.
    x = data.gaussian(20_000, COVARIANCE, mean, generator=seeded(), dtype=torch.float64)
    assert_mean_and_covariance(x, mean, COVARIANCE)
    rest = x.numpy() - mean
    distance = np.einsum("ni,ij,nj->n", rest, np.linalg.inv(COVARIANCE), rest)
    assert stats.kstest(distance, stats.chi2(3).cdf).pvalue > 1e-6


def test_gaussian_arguments():
    # Lists and tensors mean the same, and no mean is a mean of zero.
    lists = data.gaussian(5, COVARIANCE, [0.0, 0.0, 0.0], generator=seeded())
    tensors = data.gaussian(5, torch.tensor(COVARIANCE), generator=seeded())
    assert lists.shape == (5, 3)
    assert torch.equal(lists, tensors)


@pytest.mark.parametrize("n", [1, 3, 8, 100])
def test_circle_is_the_roots_of_unity(n):
    # Rejects: n + 1 steps or n - 1 (a point twice), degrees for radians.
    x = data.circle(n, dtype=torch.float64).numpy()
    ours, theirs = x[:, 0] + 1j * x[:, 1], np.roots([1] + [0] * (n - 1) + [-1])
    apart = abs(ours[:, None] - theirs)
    assert apart.min(axis=0).max() < 1e-9
    assert apart.min(axis=1).max() < 1e-9


@pytest.mark.parametrize("degrees", [90.0, 180.0, 360.0])
def test_arc_without_noise(degrees):
    # Rejects: an arc from -degrees / 2, radians for degrees, equally likely x.
    x = data.arc(5000, degrees, 0.0, generator=seeded(), dtype=torch.float64).numpy()
    np.testing.assert_allclose(np.hypot(*x.T), 1, rtol=1e-12)
    angle = np.degrees(np.arctan2(x[:, 1], x[:, 0])) % 360
    assert stats.kstest(angle / degrees, "uniform").pvalue > 1e-6


def test_arc_noise():
    # Rejects: noise along the radius only, noise as a variance.
    noisy = data.arc(20_000, noise=0.2, generator=seeded())
    exact = data.arc(20_000, noise=0.0, generator=seeded())
    assert_mean_and_covariance(noisy - exact, [0, 0], [[0.04, 0], [0, 0.04]])


def test_ring():
    # Rejects: unequal weights, a mode too few, noise shared by a mode, std as variance.
    x = data.ring(20_000, modes=5, radius=3.0, std=0.1, generator=seeded())
    points = x[:, 0].double().numpy() + 1j * x[:, 1].double().numpy()
    modes = 3 * np.exp(2j * np.pi * np.arange(5) / 5)
    nearest = abs(points[:, None] - modes).argmin(axis=1)
    assert stats.chisquare(np.bincount(nearest, minlength=5)).pvalue > 1e-6
    rest = points - modes[nearest]
    rest = torch.tensor(np.column_stack([rest.real, rest.imag]))
    assert_mean_and_covariance(rest, [0, 0], [[0.01, 0], [0, 0.01]])


def test_price_table():
    # Rejects: fixed costs (rank 2), 0 units, units that are not whole.
    x = data.price_table(20_000, generator=seeded()).numpy()
    units, profit = x.T
    np.testing.assert_array_equal(profit, 1.5 * units)
    counts = np.bincount(units.astype(int), minlength=101)
    assert (units == units.round()).all()
    assert counts[0] == 0
    assert len(counts) == 101
    assert stats.chisquare(counts[1:]).pvalue > 1e-6
    assert np.linalg.matrix_rank(x) == 1


def test_price_table_is_ruled_by_its_unit():
    # What lecture 01 shows with it; rejects a profit that dwarfs the units as it is.
    x = data.price_table(200, generator=seeded()).double().numpy()
    for factors, ruled in (((1, 1), False), ((100, 1), True), ((1, 100), True)):
        _, _, vt = np.linalg.svd((x - x.mean(0)) * factors)
        assert (abs(vt[0]).max() > 0.99) == ruled
        assert ruled or abs(vt[0]).max() < 0.9


# Property


@pytest.mark.parametrize("name", RANDOM)
def test_generator_alone_decides(name):
    # Rejects: a generator that is taken but not used, or used for half of the draws.
    make = RANDOM[name]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(make(seeded(3)), first)
    assert not torch.equal(make(seeded(4)), first)


@pytest.mark.parametrize("name", RANDOM)
def test_without_generator_the_global_one(name):
    make = RANDOM[name]
    torch.manual_seed(5)
    first, second = make(None), make(None)
    torch.manual_seed(5)
    assert torch.equal(make(None), first)
    assert not torch.equal(first, second)


# Error


@pytest.mark.parametrize("name", TOY_SETS)
def test_bad_count(name):
    with pytest.raises(ValueError, match=f"^{name}: expected n >= 1, but got 0$"):
        TOY_SETS[name](0)
    message = f"^{name}: expected an integer n, but got float$"
    with pytest.raises(TypeError, match=message):
        TOY_SETS[name](2.0)


LOPSIDED, INDEFINITE = [[1.0, 0.5], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]


DEFINITE = "covariance symmetric and positive definite"


@pytest.mark.parametrize(
    ("name", "arguments", "expected", "got"),
    [
        ("line", (3, -1.0), "a finite noise >= 0", "-1.0"),
        ("arc", (3, 0), "degrees in (0, 360]", "0"),
        ("arc", (3, 361), "degrees in (0, 360]", "361"),
        ("arc", (3, 90, math.nan), "a finite noise >= 0", "nan"),
        ("ring", (3, 0), "modes >= 1", "0"),
        ("ring", (3, 8, -2), "a finite radius >= 0", "-2"),
        ("ring", (3, 8, 2, math.inf), "a finite std >= 0", "inf"),
        ("gaussian", (3, [1.0]), "covariance of shape (d, d)", "(1,)"),
        ("gaussian", (3, [[1.0, 0.0]]), "covariance of shape (d, d)", "(1, 2)"),
        ("gaussian", (3, LOPSIDED), DEFINITE, str(LOPSIDED)),
        ("gaussian", (3, INDEFINITE), DEFINITE, str(INDEFINITE)),
        ("gaussian", (3, [[1.0]], [0.0, 1.0]), "mean of shape (1,)", "(2,)"),
    ],
)
def test_bad_value(name, arguments, expected, got):
    sentence = re.escape(f"{name}: expected {expected}, but got {got}")
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        getattr(data, name)(*arguments)
