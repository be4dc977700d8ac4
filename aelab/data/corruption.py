"""What noise is put on the examples: each takes x and returns its corrupted copy.

``generator`` is the source of randomness; without one, torch's global generator is
used. Arguments out of their range raise ``ValueError``, and an ``x`` that is not a
floating-point tensor ``TypeError``.
"""

import math

import torch
from torch import Generator, Tensor

from aelab.data.checks import require, require_floats


def add_gaussian_noise(
    x: Tensor, std: float, *, generator: Generator | None = None
) -> Tensor:
    """Return ``x + std * eps``, with eps from N(0, 1); nothing is clipped to [0, 1].

    Parameters
    ----------
    x : Tensor of shape (batch, d)
    std : float
        Standard deviation of the noise, in units of intensity.

    Returns
    -------
    x_noisy : Tensor of shape (batch, d)
    """
    require_floats("add_gaussian_noise", x)
    require(0 <= std < math.inf, "add_gaussian_noise", "a finite std >= 0", std)
    eps = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return x + std * eps


def mask(x: Tensor, nu: float, *, generator: Generator | None = None) -> Tensor:
    """Return x with each entry set to 0 with probability nu (masking noise).

    Parameters
    ----------
    x : Tensor of shape (batch, d)
    nu : float
        Probability in [0, 1].

    Returns
    -------
    x_noisy : Tensor of shape (batch, d)
    """
    require_floats("mask", x)
    require(0 <= nu <= 1, "mask", "nu in [0, 1]", nu)
    u = torch.rand(x.shape, generator=generator, device=x.device)  # in [0, 1)
    return x.masked_fill(u < nu, 0.0)


def salt_and_pepper(
    x: Tensor, nu: float, *, generator: Generator | None = None
) -> Tensor:
    """Return x with each entry replaced, with probability nu, by 0 or by 1 (a coin).

    Parameters
    ----------
    x : Tensor of shape (batch, d)
    nu : float
        Probability in [0, 1].

    Returns
    -------
    x_noisy : Tensor of shape (batch, d)
    """
    require_floats("salt_and_pepper", x)
    require(0 <= nu <= 1, "salt_and_pepper", "nu in [0, 1]", nu)
    u = torch.rand(x.shape, generator=generator, device=x.device)  # in [0, 1)
    return x.masked_fill(u < nu, 1.0).masked_fill(u < nu / 2, 0.0)
