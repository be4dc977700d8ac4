"""PSNR and SSIM against scikit-image and formulas by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from aelab import data, metrics


def pictures(n=4, d=72, seed=0):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed)).double()


# Shape and dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_psnr_and_ssim_are_one_number_a_picture(dtype):
    x, x_hat = pictures().to(dtype), pictures(seed=1).to(dtype)
    for value in (metrics.psnr(x, x_hat), metrics.ssim(x, x_hat, shape=(8, 9))):
        assert value.shape == (4,)
        assert value.dtype == dtype
    assert metrics.psnr(x[:0], x[:0]).shape == (0,)
    assert metrics.ssim(x[:0], x[:0], shape=(8, 9)).shape == (0,)


# Value against an outside oracle


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


# Property


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
