"""Bits and rates against SciPy, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, norm
from torch.testing import assert_close

from aelab import metrics


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def chain(m=5, seed=0):
    p = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)).double()
    return p / p.sum(dim=1, keepdim=True)


# Shape and dtype


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
