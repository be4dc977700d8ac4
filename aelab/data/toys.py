"""Toy sets, made in place: points whose distribution is known exactly.

Two arguments mean the same everywhere. ``generator`` is the source of randomness;
without one, torch's global generator is used. ``dtype`` is that of the result, float32
unless said otherwise. Arguments out of their range raise ``ValueError``, and arguments
of the wrong type ``TypeError``.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from aelab.data.checks import require, require_count


def line(
    n: int,
    noise: float = 0.0,
    *,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return points ``(2a, a) + noise * eps``, with ``a`` and ``eps`` from N(0, 1).

    Parameters
    ----------
    n : int
    noise : float
        Standard deviation of the isotropic noise; 0 puts all points on the line.

    Returns
    -------
    x : Tensor of shape (n, 2)
    """
    require_count("line", "n", n)
    require(0 <= noise < math.inf, "line", "a finite noise >= 0", noise)
    a = torch.randn(n, 1, generator=generator, dtype=dtype)
    eps = torch.randn(n, 2, generator=generator, dtype=dtype)
    return a * torch.tensor([2.0, 1.0], dtype=dtype) + noise * eps


def gaussian(
    n: int,
    covariance: Tensor | Sequence[Sequence[float]],
    mean: Tensor | Sequence[float] | None = None,
    *,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return draws ``mean + L eps`` of N(mean, covariance), where L L^T = covariance.

    Parameters
    ----------
    n : int
    covariance : Tensor of shape (d, d), or nested list
        Symmetric and positive definite.
    mean : Tensor of shape (d,), or list, optional
        Default: zero.

    Returns
    -------
    x : Tensor of shape (n, d)
    """
    require_count("gaussian", "n", n)
    covariance = torch.as_tensor(covariance, dtype=dtype)
    shape = tuple(covariance.shape)
    square = len(shape) == 2 and shape[0] == shape[1]
    require(square, "gaussian", "covariance of shape (d, d)", shape)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    valid = torch.allclose(covariance, covariance.T) and not failed
    expected = "covariance symmetric and positive definite"
    require(valid, "gaussian", expected, covariance.tolist())
    mean = torch.as_tensor([0.0] * shape[0] if mean is None else mean, dtype=dtype)
    expected = f"mean of shape {shape[:1]}"
    require(mean.shape == shape[:1], "gaussian", expected, tuple(mean.shape))
    eps = torch.randn(n, shape[0], generator=generator, dtype=dtype)
    return mean + eps @ factor.T


def circle(n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ``(cos t, sin t)`` at the n angles ``t = 2 pi i / n``: nothing is random.

    Parameters
    ----------
    n : int

    Returns
    -------
    x : Tensor of shape (n, 2)
    """
    require_count("circle", "n", n)
    return _on_circle(2 * math.pi * torch.arange(n, dtype=torch.float64) / n).to(dtype)


def arc(
    n: int,
    degrees: float = 180.0,
    noise: float = 0.05,
    *,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return ``(cos t, sin t) + noise * eps``, with t uniform from 0 to ``degrees``.

    Parameters
    ----------
    n : int
    degrees : float
        Length of the arc of the unit circle, in (0, 360].
    noise : float
        Standard deviation of the isotropic Gaussian noise.

    Returns
    -------
    x : Tensor of shape (n, 2)
    """
    require_count("arc", "n", n)
    require(0 < degrees <= 360, "arc", "degrees in (0, 360]", degrees)
    require(0 <= noise < math.inf, "arc", "a finite noise >= 0", noise)
    t = math.radians(degrees) * torch.rand(n, generator=generator, dtype=dtype)
    eps = torch.randn(n, 2, generator=generator, dtype=dtype)
    return _on_circle(t) + noise * eps


def ring(
    n: int,
    modes: int = 8,
    radius: float = 2.0,
    std: float = 0.05,
    *,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return draws of a mixture of equal Gaussians whose means stand on a ring.

    Parameters
    ----------
    n : int
    modes : int
        Number of Gaussians; mean j is ``radius * (cos t, sin t)``, t = 2 pi j / modes.
    radius : float
        Distance of the means from zero.
    std : float
        Standard deviation of each Gaussian, the same in every direction.

    Returns
    -------
    x : Tensor of shape (n, 2)
    """
    require_count("ring", "n", n)
    require_count("ring", "modes", modes)
    require(0 <= radius < math.inf, "ring", "a finite radius >= 0", radius)
    require(0 <= std < math.inf, "ring", "a finite std >= 0", std)
    mode = torch.randint(modes, (n,), generator=generator)
    eps = torch.randn(n, 2, generator=generator, dtype=dtype)
    return radius * circle(modes, dtype=dtype)[mode] + std * eps


def price_table(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a table of n sales, ``(units sold, profit)``: one number, twice.

    Parameters
    ----------
    n : int

    Returns
    -------
    x : Tensor of shape (n, 2)
        Units, an integer uniform on 1 ... 100, and ``profit = 1.5 * units``.
    """
    require_count("price_table", "n", n)
    units = torch.randint(1, 101, (n, 1), generator=generator).to(dtype)
    return torch.cat([units, 1.5 * units], dim=1)


def _on_circle(t: Tensor) -> Tensor:
    return torch.stack([t.cos(), t.sin()], dim=1)
