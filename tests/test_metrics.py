"""Numbers about results, against scikit-learn, SciPy and sums by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.stats import entropy, norm
from skimage.metrics import peak_signal_noise_ratio
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

from aelab import data, metrics, ops


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def classes(n=300, m=200, seed=0):
    """Return codes and labels of three overlapping classes: train, then test."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n + m,), generator=generator)
    z = normal(n + m, 2, seed=seed + 1) + 1.5 * torch.nn.functional.one_hot(y)[:, :2]
    return z[:n], y[:n], z[n:], y[n:]


def pictures(n=4, d=72, seed=0):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed)).double()


def chain(m=5, seed=0):
    p = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)).double()
    return p / p.sum(dim=1, keepdim=True)


# Shape and dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_psnr_and_ssim_are_one_number_a_picture(dtype):
    x, x_hat = pictures().to(dtype), pictures(seed=1).to(dtype)
    for value in (metrics.psnr(x, x_hat), metrics.ssim(x, x_hat, shape=(8, 9))):
        assert value.shape == (4,)
        assert value.dtype == dtype
    assert metrics.psnr(x[:0], x[:0]).shape == (0,)
    assert metrics.ssim(x[:0], x[:0], shape=(8, 9)).shape == (0,)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_keep_the_shape_of_nats(dtype):
    for shape in [(), (3,), (2, 0)]:
        bits = metrics.bits_per_dimension(torch.zeros(shape, dtype=dtype), 4)
        assert bits.shape == shape
        assert bits.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chains_have_one_share_a_state_and_one_rate(dtype):
    p = chain().to(dtype)
    assert metrics.stationary(p).shape == (5,)
    assert metrics.stationary(p).dtype == dtype
    assert type(metrics.entropy_rate(p)) is float
    assert metrics.bits_per_character(p).dtype == dtype


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


def test_psnr_is_scikit_images():
    x, x_hat = pictures(), pictures(seed=1)
    pairs = zip(x.numpy(), x_hat.numpy(), strict=True)
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    assert metrics.psnr(x, x_hat).tolist() == pytest.approx(expected)


def test_psnr_by_hand():
    """Rejects: the mean over the batch first, natural logarithm, root of the error."""
    x, off = torch.zeros(2, 4), torch.tensor([[0.1] * 4, [0.2, 0, 0, 0]])
    assert metrics.psnr(x, off).tolist() == pytest.approx([20.0, 20.0])
    assert metrics.psnr(x, 10 * off).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert metrics.psnr(x, x).tolist() == [math.inf, math.inf]


def test_ssim_is_its_formula_in_a_single_window():
    """With 7 x 7 pixels there is one window; Eq. (13) of Wang et al., by hand.

    The cross terms are sample moments, with 1 / (n - 1), as in scikit-image.
    """
    x, x_hat = pictures(d=49), pictures(d=49, seed=1)
    mean, mean_hat = x.mean(dim=1), x_hat.mean(dim=1)
    both = ((x - mean[:, None]) * (x_hat - mean_hat[:, None])).sum(dim=1) / 48
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean * mean_hat + c1) * (2 * both + c2)
    variances = x.var(dim=1) + x_hat.var(dim=1)
    bottom = (mean.square() + mean_hat.square() + c1) * (variances + c2)
    ours = metrics.ssim(x, x_hat, shape=(7, 7))
    torch.testing.assert_close(ours, top / bottom)


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


@pytest.mark.parametrize("levels", [17, 256])
def test_bits_of_a_grey_level_are_the_entropy_of_its_cells(levels):
    """A Gaussian pixel, wide beside the cells: SciPy's probability of every cell."""
    pixel, width = norm(0.45, 0.13), 1 / (levels - 1)
    grey = torch.arange(levels) * width  # what the pixel can be
    p = torch.from_numpy(pixel.cdf(grey + width / 2) - pixel.cdf(grey - width / 2))
    nats = -torch.from_numpy(pixel.logpdf(grey))
    bits = (p * metrics.bits_per_dimension(nats, 1, levels=levels)).sum()
    assert bits == pytest.approx(entropy(p, base=2), abs=0.01)


def test_bits_of_fair_coins():
    nll = 5 * torch.tensor([math.log(2)])
    assert metrics.bits_per_dimension(nll, 5).item() == pytest.approx(1)


def test_the_stationary_share_is_where_powers_go():
    p = chain()
    assert_close(metrics.stationary(p), torch.linalg.matrix_power(p, 200)[0])


def test_two_states_have_the_textbooks_rate():
    # a leaves the first state, b the second: (b h(a) + a h(b)) / (a + b).
    a, b = 0.1, 0.4
    p = torch.tensor([[1 - a, a], [b, 1 - b]], dtype=torch.float64)
    rate = (b * entropy([a, 1 - a]) + a * entropy([b, 1 - b])) / (a + b)
    assert metrics.entropy_rate(p) == pytest.approx(rate)


def test_the_rate_is_the_growth_of_the_entropy_of_strings():
    p = chain(3)
    joint = metrics.stationary(p)[:, None, None] * p[:, :, None] * p
    growth = entropy(joint.flatten()) - entropy(joint.sum(dim=2).flatten())
    assert metrics.entropy_rate(p) == pytest.approx(growth)


def test_a_bit_is_log_two_nats():
    nll = torch.tensor([math.log(2), math.log(256)]).double()
    assert_close(metrics.bits_per_character(nll), torch.tensor([1.0, 8.0]).double())


# Property


@given(st.integers(1, 100), st.integers(2, 300), st.integers(0, 99))
def test_bits_do_not_mind_the_unit_of_grey(d, levels, seed):
    """Levels 0, 1, 2, ... have cells of width 1, and (levels - 1)^-d the density."""
    nll = normal(3, seed=seed)
    wide = metrics.bits_per_dimension(nll + d * math.log(levels - 1), d)
    fine = metrics.bits_per_dimension(nll, d, levels=levels)
    assert torch.allclose(wide, fine, atol=1e-9)


def test_twice_the_pixels_of_the_same_kind_cost_the_same():
    nll = normal(5)
    one = metrics.bits_per_dimension(nll, 8, levels=17)
    assert torch.allclose(metrics.bits_per_dimension(2 * nll, 16, levels=17), one)


@given(seed=st.integers(0, 2**31), times=st.floats(1.1, 3.0))
def test_more_of_the_same_error_is_worse_by_its_square(seed, times):
    x, off = pictures(seed=seed), 0.1 * pictures(seed=seed + 1)
    less, more = metrics.psnr(x, x + off), metrics.psnr(x, x + times * off)
    expected = [20 * math.log10(times)] * 4
    assert (less - more).tolist() == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**31))
def test_ssim_is_at_most_one_and_symmetric(seed):
    x, x_hat = pictures(2, seed=seed), pictures(2, seed=seed + 1)
    ours = metrics.ssim(x, x_hat, shape=(9, 8))
    assert (ours < 1).all()
    torch.testing.assert_close(ours, metrics.ssim(x_hat, x, shape=(9, 8)))
    same = metrics.ssim(x, x, shape=(9, 8))
    torch.testing.assert_close(same, torch.ones_like(same))


def test_ssim_sees_where_pixels_are_and_psnr_does_not():
    """Rejects: a shape whose height and width are exchanged."""
    _, faces = data.images("faces")
    x = faces.x[:5]
    noisy = data.add_gaussian_noise(x, 0.1, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(625, generator=torch.Generator().manual_seed(0))
    shuffled = x[:, order], noisy[:, order]
    torch.testing.assert_close(metrics.psnr(*shuffled), metrics.psnr(x, noisy))
    change = metrics.ssim(*shuffled, shape=(25, 25)) - metrics.ssim(
        x, noisy, shape=(25, 25)
    )
    assert (change.abs() > 0.01).all()


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


def test_chains_without_memory_and_without_chance():
    share = torch.tensor([0.5, 0.3, 0.2]).double()
    assert_close(metrics.stationary(share.expand(3, 3)), share)
    assert metrics.entropy_rate(share.expand(3, 3)) == pytest.approx(entropy(share))
    turn = torch.eye(4).roll(1, dims=1)  # a period of 4, each state as often
    assert_close(metrics.stationary(turn), torch.full((4,), 0.25))
    assert metrics.entropy_rate(turn) == pytest.approx(0, abs=1e-12)
    assert metrics.entropy_rate(torch.ones(1, 1)) == 0


def test_states_that_are_left_for_ever_count_nothing():
    p = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    assert_close(metrics.stationary(p), torch.tensor([0.0, 0.5, 0.5]))
    assert metrics.entropy_rate(p) == pytest.approx(math.log(2))


@pytest.mark.parametrize("seed", range(5))
def test_memory_never_hurts(seed):
    p = chain(seed=seed)
    rate = metrics.entropy_rate(p)
    assert 0 < rate < entropy(metrics.stationary(p)) < math.log(5)


# Error


def test_pictures_of_other_shapes():
    x = pictures()
    for wrong in (x[:1], x[:, :1], x[0], x[:, :, None]):
        with pytest.raises(ValueError, match=r"^psnr: expected x and x_hat of one"):
            metrics.psnr(x, wrong)
        with pytest.raises(ValueError, match=r"^ssim: expected x and x_hat of one"):
            metrics.ssim(x, wrong, shape=(8, 9))
    with pytest.raises(ValueError, match=r"but got \(72,\) and \(72,\); flatten"):
        metrics.psnr(x[0], x[0])
    with pytest.raises(TypeError, match=r"expected x_hat to be .* but got torch.int64"):
        metrics.psnr(x, x.long())


@pytest.mark.parametrize("shape", [(8, 8), (6, 12), (72, 1)])
def test_ssim_needs_the_shape_and_room_for_a_window(shape):
    with pytest.raises(ValueError, match="height \\* width = 72, neither below 7, but"):
        metrics.ssim(pictures(), pictures(), shape=shape)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "nll to be a floating-point tensor, but got int", {"nll": 3}),
        (TypeError, "an integer d, but got 2.5", {"d": 2.5}),
        (TypeError, "an integer levels, but got True", {"levels": True}),
        (ValueError, "expected d >= 1, but got 0", {"d": 0}),
        (ValueError, "expected levels >= 2, but got 1", {"levels": 1}),
    ],
)
def test_bits_of_what_is_no_picture(error, message, arguments):
    with pytest.raises(error, match=f"bits_per_dimension: .*{message}"):
        metrics.bits_per_dimension(**({"nll": normal(3), "d": 4} | arguments))


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


@pytest.mark.parametrize(
    ("transition", "error", "message"),
    [
        (torch.eye(3).long(), TypeError, "transition to be a floating-point tensor"),
        (torch.ones(2, 3) / 3, ValueError, r"of shape \(m, m\), but got \(2, 3\)"),
        (torch.ones(0, 0), ValueError, r"but got \(0, 0\)"),
        (torch.ones(2, 2), ValueError, "sum is off by 1; divide each row"),
        (torch.tensor([[1.5, -0.5], [0.5, 0.5]]), ValueError, "smallest entry is -0.5"),
        (torch.full((2, 2), torch.nan), ValueError, "off by nan"),
        (torch.eye(3), ValueError, "got 3 parts that are never left"),
    ],
)
def test_what_is_no_chain_is_named(transition, error, message):
    for ask in (metrics.stationary, metrics.entropy_rate):
        with pytest.raises(error, match=f"stationary: expected .*{message}"):
            ask(transition)


def test_bits_of_integers_are_refused():
    with pytest.raises(TypeError, match="bits_per_character: expected nll to be a fl"):
        metrics.bits_per_character(torch.ones(3).long())
