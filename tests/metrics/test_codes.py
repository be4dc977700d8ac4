"""Codes: subspaces, neighbours, probes and units, against scikit-learn and SciPy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aelab import metrics, ops


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def classes(n=300, m=200, seed=0):
    """Return codes and labels of three overlapping classes: train, then test."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n + m,), generator=generator)
    z = normal(n + m, 2, seed=seed + 1) + 1.5 * torch.nn.functional.one_hot(y)[:, :2]
    return z[:n], y[:n], z[n:], y[n:]


# Shape and dtype


def test_all_are_plain_floats():
    assert type(metrics.subspace_sine(normal(2, 5), normal(2, 5, seed=1))) is float
    assert type(metrics.knn_accuracy(*classes())) is float
    assert type(metrics.probe_accuracy(*classes())) is float


def test_float32_codes_are_accepted():
    z_train, y_train, z, y = classes()
    codes = (z_train.float(), y_train, z.float(), y)
    assert metrics.knn_accuracy(*codes) == metrics.knn_accuracy(z_train, y_train, z, y)
    assert metrics.probe_accuracy(*codes) > 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_code_has_one_price_a_unit_and_one_count(dtype):
    mu, logvar = normal(8, 3, dtype=dtype), normal(8, 3, seed=1, dtype=dtype)
    price = metrics.kl_units(mu, logvar)
    assert price.shape == (3,)
    assert price.dtype == dtype
    assert type(metrics.active_units(mu)) is int


# Value against an outside oracle


@pytest.mark.parametrize("k", [1, 2, 5])
def test_subspace_sine_is_scipys_largest_angle(k):
    a, b = normal(k, 7), normal(k, 7, seed=1)
    expected = math.sin(subspace_angles(a.T.numpy(), b.T.numpy()).max())
    assert metrics.subspace_sine(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("angle", [1e-9, 1e-5, 0.3, math.pi / 2])
def test_subspace_sine_of_two_directions_is_exact_for_small_angles_too(angle):
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    assert metrics.subspace_sine(a, b) == pytest.approx(math.sin(angle), rel=1e-6)


@pytest.mark.parametrize("n_neighbors", [1, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_knn_accuracy_is_scikit_learns(n_neighbors, seed):
    z_train, y_train, z, y = classes(m=1500, seed=seed)  # more than one chunk
    knn = KNeighborsClassifier(n_neighbors).fit(z_train.numpy(), y_train.numpy())
    expected = knn.score(z.numpy(), y.numpy())
    found = metrics.knn_accuracy(z_train, y_train, z, y, n_neighbors=n_neighbors)
    assert found == pytest.approx(expected, abs=1e-12)


def test_probe_accuracy_is_that_of_standardised_logistic_regression():
    z_train, y_train, z, y = classes()
    scale = torch.tensor([100.0, 0.01], dtype=torch.float64)  # the probe must not mind
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    expected = probe.fit(z_train.numpy(), y_train.numpy()).score(z.numpy(), y.numpy())
    found = metrics.probe_accuracy(z_train * scale, y_train, z * scale, y)
    assert found == pytest.approx(expected, abs=1e-12)


def test_kl_of_units_is_that_of_torchs_distributions():
    """Rejects: log-std read as log-variance, no 1/2, the sum over the batch."""
    mu, logvar = normal(6, 4), normal(6, 4, seed=1)
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    standard = torch.distributions.Normal(torch.zeros(4).double(), 1.0)
    expected = torch.distributions.kl_divergence(q, standard).mean(dim=0)
    torch.testing.assert_close(metrics.kl_units(mu, logvar), expected)


def test_active_units_by_hand():
    """Rejects: the mean for the variance, the std, and 1/n for 1/(n - 1)."""
    mu = torch.tensor([[5.0, 0.09, 0.0], [5.0, -0.09, 2.0]])  # variances 0, 0.0162, 2
    assert metrics.active_units(mu) == 2
    assert metrics.active_units(mu, threshold=0.016) == 2
    assert metrics.active_units(mu, threshold=0.0163) == 1


# Property


@given(k=st.integers(1, 4), d=st.integers(4, 9), seed=st.integers(0, 2**31))
def test_subspace_sine_sees_the_subspace_and_not_its_basis(k, d, seed):
    a, b, mix = (
        normal(k, d, seed=seed),
        normal(k, d, seed=seed + 1),
        normal(k, k, seed=3),
    )
    sine = metrics.subspace_sine(a, b)
    assert 0 <= sine <= 1
    assert metrics.subspace_sine(b, a) == pytest.approx(sine, abs=1e-7)
    assert metrics.subspace_sine(mix @ a, b) == pytest.approx(sine, abs=1e-7)
    assert metrics.subspace_sine(mix @ a, a) < 1e-7


def test_knn_and_probe_see_separate_classes_and_are_lost_without():
    _, y_train, _, y = classes()
    apart = 20 * torch.nn.functional.one_hot(y_train).double()
    clear = (apart, y_train, 20 * torch.nn.functional.one_hot(y).double(), y)
    lost = (normal(300, 2, seed=8), y_train, normal(200, 2, seed=9), y)
    for accuracy in (metrics.knn_accuracy, metrics.probe_accuracy):
        assert accuracy(*clear) == 1.0
        assert accuracy(*lost) < 0.5


def test_knn_does_not_mind_a_label_that_training_has_not():
    z_train, y_train, z, y = classes()
    assert metrics.knn_accuracy(z_train, y_train, z, y + 10) == 0.0


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 3.0))
def test_the_units_share_the_price_of_the_code(seed, scale):
    mu, logvar = scale * normal(5, 4, seed=seed), scale * normal(5, 4, seed=seed + 1)
    price = metrics.kl_units(mu, logvar)
    assert (price >= 0).all()
    _, kl = ops.reparam_kl(mu, logvar, torch.zeros_like(mu))
    torch.testing.assert_close(price.sum(), kl.mean())
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    shuffled = metrics.kl_units(mu[:, order], logvar[:, order])
    torch.testing.assert_close(shuffled, price[order])


def test_a_collapsed_unit_costs_nothing_and_a_useless_one_may_cost_much():
    mu = torch.stack([torch.zeros(9), torch.full((9,), 3.0), 3 * normal(9)], dim=1)
    price = metrics.kl_units(mu, torch.zeros_like(mu))
    assert price[0] == 0
    assert price[1] == pytest.approx(4.5)
    assert metrics.active_units(mu) == 1


# Error


def test_codes_that_are_no_table():
    mu = normal(4, 2)
    for wrong in (mu[:, :1], mu[:3], mu[0]):
        with pytest.raises(
            ValueError, match=r"^kl_units: expected mu and logvar of one"
        ):
            metrics.kl_units(mu, wrong)
    with pytest.raises(
        ValueError, match=r"n >= 1, but got \(0, 2\) and \(0, 2\); give"
    ):
        metrics.kl_units(mu[:0], mu[:0])
    for wrong in (mu[0], mu[:1]):
        with pytest.raises(ValueError, match=r"^active_units: .* with n >= 2, but got"):
            metrics.active_units(wrong)
    with pytest.raises(TypeError, match=r"^active_units: expected mu to be a floating"):
        metrics.active_units(mu.long())


def test_what_is_no_floating_point_tensor():
    whole = torch.ones(2, 2, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"expected a to be .* but got list"):
        metrics.subspace_sine([[1.0, 2.0]], normal(1, 2))
    with pytest.raises(TypeError, match=r"expected z to be .* but got torch.int64"):
        metrics.knn_accuracy(
            normal(2, 2), torch.tensor([0, 1]), whole, torch.tensor([0, 1])
        )


@pytest.mark.parametrize(
    ("a", "b"), [((2, 4), (3, 4)), ((5, 4), (5, 4)), ((1, 2, 4), (1, 2, 4))]
)
def test_subspaces_that_cannot_be_compared(a, b):
    with pytest.raises(ValueError, match=r"one shape \(k, d\) with k <= d, but got"):
        metrics.subspace_sine(normal(*a), normal(*b))


@pytest.mark.parametrize("accuracy", [metrics.knn_accuracy, metrics.probe_accuracy])
def test_codes_and_labels_that_do_not_fit(accuracy):
    z_train, y_train, z, y = classes()
    message = rf"{accuracy.__name__}: expected z_train \(n, k\)"
    for wrong in (
        (z_train, y_train[1:], z, y),
        (z_train, y_train, z, y[1:]),
        (z_train, y_train, z[:, :1], y),
        (z_train[:, 0], y_train, z[:, 0], y),
        (z_train, y_train, z[:0], y[:0]),
    ):
        with pytest.raises(ValueError, match=message):
            accuracy(*wrong)


@pytest.mark.parametrize("n_neighbors", [0, 301])
def test_more_neighbours_than_codes(n_neighbors):
    with pytest.raises(ValueError, match="expected 1 <= n_neighbors <= 300, but got"):
        metrics.knn_accuracy(*classes(), n_neighbors=n_neighbors)
