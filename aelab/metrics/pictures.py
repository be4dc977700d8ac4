"""How near pictures are to pictures: one number a picture."""

import torch
from torch import Tensor

from aelab.metrics.codes import check_floats


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each picture.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Pictures and what is to resemble them, with intensity in [0, 1]. Values outside
        count as they are: clamp what will be shown.

    Returns
    -------
    Tensor of shape (batch,)
        10 log10(1 / mean squared error of the picture), in dB, Eq. (3.10) of lecture
        03. Infinite where nothing differs. Ten times the error is 10 dB less.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ.
    """
    _check_pictures("psnr", x, x_hat)
    return -10 * (x - x_hat).square().mean(dim=1).log10()


def ssim(x: Tensor, x_hat: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Return the structural similarity of each picture, by scikit-image.

    In every window of 7 x 7 pixels it compares means, variances and the correlation of
    the two pictures, Eq. (3.15) of lecture 03; the windows are averaged.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Pictures and what is to resemble them, with intensity in [0, 1].
    shape : tuple of int
        Their height and width in pixels, 7 or more each.

    Returns
    -------
    Tensor of shape (batch,)
        1 for equal pictures, near 0 for unlike ones; never above 1.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ, or `shape` does not fit or is smaller than a window.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility
    to structural similarity, 2004.
    """
    from skimage.metrics import structural_similarity  # here: it takes a second

    _check_pictures("ssim", x, x_hat)
    height, width = shape
    if height * width != x.shape[1] or min(height, width) < 7:
        raise ValueError(
            f"ssim: expected shape with height * width = {x.shape[1]}, neither below "
            f"7, but got {(height, width)}; pass shape=(height, width) of the pictures"
        )
    pairs = torch.stack([x, x_hat], dim=1).double().numpy(force=True)
    values = [
        structural_similarity(*pair.reshape(2, height, width), data_range=1.0)
        for pair in pairs
    ]
    return torch.tensor(values, dtype=x.dtype, device=x.device)


def _check_pictures(who: str, x: Tensor, x_hat: Tensor) -> None:
    check_floats(who, x=x, x_hat=x_hat)
    if x.ndim != 2 or x.shape != x_hat.shape:
        raise ValueError(
            f"{who}: expected x and x_hat of one shape (batch, d), but got "
            f"{tuple(x.shape)} and {tuple(x_hat.shape)}; flatten pictures by flatten(1)"
        )
