"""The corruptions, each held against its distribution."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from aelab import data

GREY = torch.full((8, 6), 0.5)


# Every corruption, by name, as a function of a generator.
RANDOM = {
    "add_gaussian_noise": lambda g: data.add_gaussian_noise(GREY, 0.3, generator=g),
    "mask": lambda g: data.mask(GREY, 0.5, generator=g),
    "salt_and_pepper": lambda g: data.salt_and_pepper(GREY, 0.5, generator=g),
}


CORRUPTIONS = {
    "add_gaussian_noise": data.add_gaussian_noise,
    "mask": data.mask,
    "salt_and_pepper": data.salt_and_pepper,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_rate(hits, rate, axis=None):
    """Compare shares of hits (along an axis) with a rate, within 5 standard errors."""
    hits = np.asarray(hits)
    share = hits.mean(axis=axis)
    se = math.sqrt(rate * (1 - rate) * share.size / hits.size)
    assert (abs(share - rate) <= 5 * se).all()


# Shape and dtype


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(4, 6), (1, 1), (0, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corruptions(name, shape, dtype):
    x = torch.full(shape, 0.5, dtype=dtype)
    x_noisy = CORRUPTIONS[name](x, 0.5)
    assert (x_noisy.shape, x_noisy.dtype) == (x.shape, dtype)
    assert (x == 0.5).all()  # not in place


# Value against an outside oracle


def test_gaussian_noise():
    # Rejects: std as a variance, one eps for a row or a column, clipping.
    x = torch.linspace(0, 1, 200).expand(100, 200)
    eps = (data.add_gaussian_noise(x, 0.25, generator=seeded()) - x).numpy() / 0.25
    assert stats.kstest(eps.ravel(), "norm").pvalue > 1e-6
    assert (abs(eps.mean(axis=0)) < 5 / math.sqrt(100)).all()
    assert (abs(eps.mean(axis=1)) < 5 / math.sqrt(200)).all()


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_mask_rate(axis):
    # Rejects: nu for 1 - nu, one mask for all rows or columns, dropout's 1 / (1 - nu).
    x = torch.linspace(0.1, 1, 300).expand(400, 300)
    x_noisy = data.mask(x, 0.3, generator=seeded())
    assert_rate(x_noisy == 0, 0.3, axis)
    kept = x_noisy != 0
    assert_close(x_noisy[kept], x[kept], rtol=0, atol=0)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_salt_and_pepper_rates(axis):
    # Rejects: nu for each of the two, only one of the two, one pattern for all rows.
    x = torch.linspace(0.1, 0.9, 300).expand(400, 300)
    x_noisy = data.salt_and_pepper(x, 0.3, generator=seeded())
    assert_rate(x_noisy == 0, 0.15, axis)
    assert_rate(x_noisy == 1, 0.15, axis)
    kept = (x_noisy != 0) & (x_noisy != 1)
    assert_close(x_noisy[kept], x[kept], rtol=0, atol=0)


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


@given(nu=st.floats(0, 1), seed=st.integers(0, 100))
def test_masked_entries_are_zero_or_kept(nu, seed):
    x = torch.rand(6, 5, generator=seeded(seed)) + 0.1
    x_noisy = data.mask(x, nu, generator=seeded(seed))
    assert ((x_noisy == 0) | (x_noisy == x)).all()


@given(nu=st.floats(0, 1), seed=st.integers(0, 100))
def test_salted_entries_are_zero_one_or_kept(nu, seed):
    x = 0.8 * torch.rand(6, 5, generator=seeded(seed)) + 0.1
    x_noisy = data.salt_and_pepper(x, nu, generator=seeded(seed))
    assert ((x_noisy == 0) | (x_noisy == 1) | (x_noisy == x)).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_no_corruption_at_all(name):
    x = torch.rand(20, 30, generator=seeded())
    assert torch.equal(CORRUPTIONS[name](x, 0.0), x)


def test_complete_corruption():
    x = torch.full((200, 300), 0.5)
    assert (data.mask(x, 1.0) == 0).all()
    x_noisy = data.salt_and_pepper(x, 1.0, generator=seeded())
    assert ((x_noisy == 0) | (x_noisy == 1)).all()
    assert_rate(x_noisy, 0.5)


def test_masks_hide_even_what_is_not_a_number():
    # Rejects: multiplying by a mask, which keeps NaN and infinity.
    x = torch.tensor([[math.nan, math.inf]])
    assert (data.mask(x, 1.0) == 0).all()
    assert (data.salt_and_pepper(x, 1.0) <= 1).all()


# Error


@pytest.mark.parametrize(
    ("name", "arguments", "expected", "got"),
    [
        ("add_gaussian_noise", (GREY, -0.1), "a finite std >= 0", "-0.1"),
        ("mask", (GREY, 1.5), "nu in [0, 1]", "1.5"),
        ("mask", (GREY, -0.5), "nu in [0, 1]", "-0.5"),
        ("salt_and_pepper", (GREY, 1.5), "nu in [0, 1]", "1.5"),
        ("salt_and_pepper", (GREY, -0.5), "nu in [0, 1]", "-0.5"),
    ],
)
def test_bad_value(name, arguments, expected, got):
    sentence = re.escape(f"{name}: expected {expected}, but got {got}")
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        getattr(data, name)(*arguments)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(
    ("x", "got"),
    [
        ([[0.5]], "list"),
        (np.ones((1, 2)), "ndarray"),
        (torch.ones(1, 2).long(), "torch.int64"),
    ],
)
def test_bad_type(name, x, got):
    message = f"^{name}: expected a floating-point tensor x, but got {got}$"
    with pytest.raises(TypeError, match=message):
        CORRUPTIONS[name](x, 0.5)
