"""Where the examples come from, and what noise is put on them.

Image sets (``images``), toy sets made in place (``line``, ``gaussian``, ``circle``,
``arc``, ``ring``, ``price_table``) and corruptions (``add_gaussian_noise``, ``mask``,
``salt_and_pepper``). Nothing is downloaded.

Two arguments mean the same everywhere. ``generator`` is the source of randomness;
without one, torch's global generator is used. ``dtype`` is that of the result, float32
unless said otherwise. Arguments out of their range raise ``ValueError``, and arguments
of the wrong type ``TypeError``.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

IMAGE_SETS = ("digits", "faces", "mnist", "fashion_mnist")
ONE_DOWNLOAD = "take all four files from one download"


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images as rows of one matrix, with a label each.

    Attributes
    ----------
    x : Tensor of shape (n, d), float32
        Intensity in [0, 1]. A row is an image, flattened row by row.
    y : Tensor of shape (n,), int64
        Class labels.
    shape : tuple of int
        ``(height, width)`` in pixels, with ``d = height * width``.
    name : str
        The name that :func:`images` knows the set by.
    """

    x: Tensor
    y: Tensor
    shape: tuple[int, int]
    name: str

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        height, width = self.shape
        return f"ImageSet({self.name}: {len(self)} images of {height} x {width} pixels)"

    def images(self) -> Tensor:
        """Return the rows as pictures, a view of shape (n, height, width)."""
        return self.x.view(-1, *self.shape)


def images(
    name: str = "digits", *, root: str | Path | None = None
) -> tuple[ImageSet, ImageSet]:
    """Return the train and the test part of an image set.

    Parameters
    ----------
    name : str
        - ``"digits"``: 1,297 + 500 digits of 8 x 8 pixels, from scikit-learn.
        - ``"faces"``: 70 + 30 faces of 25 x 25 pixels, from scikit-image; ``y`` is 0.
        - ``"mnist"``, ``"fashion_mnist"``: 60,000 + 10,000 images of 28 x 28 pixels,
          read from four files, raw or gzip: ``train-images-idx3-ubyte``,
          ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
          ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.
    root : path, optional
        The folder with the four files, or a folder with a subfolder ``name`` that has
        them. Default: the environment variable ``AELAB_DATA``. The sets that come with
        a library do not need it.

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    FileNotFoundError
        If one of the four files, or the folder itself, is missing.
    ValueError
        If the name is unknown, or a file is malformed.

    Notes
    -----
    The digits are split by one fixed permutation, and the faces, which come in random
    order, after the 70th. The same split on every machine: a figure quoted in a lecture
    holds for every reader.
    """
    _require_known("images", "name", name)
    if name == "digits":
        return _digits()
    if name == "faces":
        return _faces()
    return _idx_set(name, root)


def chosen(default: str = "digits") -> str:
    """Return the name of the image set that a lecture runs on.

    Parameters
    ----------
    default : str
        What to return if the environment variable ``AELAB_DATASET`` is not set.

    Returns
    -------
    name : str
        One that :func:`images` knows.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    name = os.environ.get("AELAB_DATASET") or default
    _require_known("chosen", "AELAB_DATASET or default", name)
    return name


def _digits() -> tuple[ImageSet, ImageSet]:
    from sklearn.datasets import load_digits  # here, since it takes a second

    pixels, labels = load_digits(return_X_y=True)
    # The one generator that NumPy promises never to change.
    order = np.random.RandomState(1).permutation(len(labels))
    x = torch.tensor(pixels[order] / 16, dtype=torch.float32)  # (1797, 64)
    y = torch.tensor(labels[order], dtype=torch.int64)
    return _split(x, y, 1297, (8, 8), "digits")


def _faces() -> tuple[ImageSet, ImageSet]:
    from skimage.data import lfw_subset  # here, since only this set needs it

    pictures = lfw_subset()[:100]  # the other 100 show no face
    x = torch.tensor(pictures.reshape(100, 625), dtype=torch.float32)
    y = torch.zeros(100, dtype=torch.int64)
    return _split(x, y, 70, (25, 25), "faces")


def _split(
    x: Tensor, y: Tensor, n: int, shape: tuple[int, int], name: str
) -> tuple[ImageSet, ImageSet]:
    train = ImageSet(x[:n], y[:n], shape, name)
    test = ImageSet(x[n:], y[n:], shape, name)
    return train, test


def _idx_set(name: str, root: str | Path | None) -> tuple[ImageSet, ImageSet]:
    root = root or os.environ.get("AELAB_DATA")
    remedy = (
        f"put the four idx files of {name} into one folder, and name that folder by "
        "root= or by the environment variable AELAB_DATA"
    )
    if not root:
        expected = f"a folder with the files of {name}"
        raise FileNotFoundError(f"images: expected {expected}, but got none; {remedy}")
    folder = Path(root).expanduser().absolute()
    if (folder / name).is_dir():
        folder = folder / name
    paths = []
    for part in ("train", "t10k"):
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            raw, zipped = folder / f"{part}-{kind}", folder / f"{part}-{kind}.gz"
            if not raw.is_file() and not zipped.is_file():
                expected = f"{raw.name} or {zipped.name} in {folder}"
                raise FileNotFoundError(
                    f"images: expected {expected}, but got neither; {remedy}"
                )
            paths.append(raw if raw.is_file() else zipped)
    train, test = _idx_part(name, *paths[:2]), _idx_part(name, *paths[2:])
    if train.shape != test.shape:
        expected = f"images of {train.shape} pixels, as in {paths[0].name},"
        raise _malformed(paths[2], expected, test.shape, ONE_DOWNLOAD)
    return train, test


def _idx_part(name: str, image_path: Path, label_path: Path) -> ImageSet:
    pixels = _read_idx(image_path, 3)  # (n, height, width), uint8
    labels = _read_idx(label_path, 1)  # (n,), uint8
    n, height, width = pixels.shape
    if len(labels) != n:
        expected = f"{n} labels, one for each image of {image_path.name},"
        raise _malformed(label_path, expected, len(labels), ONE_DOWNLOAD)
    if labels.max() > 9:
        raise _malformed(label_path, "labels from 0 to 9", int(labels.max()))
    x = pixels.view(n, height * width).float() / 255
    return ImageSet(x, labels.long(), (height, width), name)


def _read_idx(path: Path, ndim: int) -> Tensor:
    """Read an idx file of bytes: 0, 0, 8, ndim, the sizes (4 bytes each), the data.

    The header may lie. A raw file's length is compared with it first; of a gzip file
    as many bytes are unpacked as it promises, and one more, which must not exist.
    """
    start = 4 + 4 * ndim
    zipped = path.suffix == ".gz"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            sizes = _idx_sizes(path, file.read(start), ndim)
            promised = math.prod(sizes)
            if not zipped:
                _check_length(path, sizes, path.stat().st_size - start)
            data = bytearray()  # grows with what is there, not with what is promised
            while chunk := file.read(min(2**20, promised + 1 - len(data))):
                data += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _malformed(path, "whole gzip data", f"damage: {error}") from None
    _check_length(path, sizes, len(data))
    return torch.frombuffer(data, dtype=torch.uint8).view(sizes)


def _idx_sizes(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * ndim:
        expected = f"an idx header of {4 + 4 * ndim} bytes"
        raise _malformed(path, expected, f"{len(header)} bytes")
    if header[:2] != b"\0\0":
        expected = "an idx file, which begins with the bytes 0000,"
        remedy = (
            "end the name of a gzip file (1f8b) with .gz, or download the file again"
        )
        raise _malformed(path, expected, header[:2].hex(), remedy)
    if header[2] != 8:
        expected = "the type code 0x08 (unsigned bytes)"
        remedy = "store the data as unsigned bytes"
        raise _malformed(path, expected, f"0x{header[2]:02x}", remedy)
    if header[3] != ndim:
        remedy = "look whether images and labels are interchanged"
        raise _malformed(path, f"{ndim} dimension(s)", header[3], remedy)
    sizes = struct.unpack(f">{ndim}I", header[4:])
    if 0 in sizes:
        raise _malformed(path, "sizes of at least 1", " x ".join(map(str, sizes)))
    return sizes


def _check_length(path: Path, sizes: tuple[int, ...], held: int) -> None:
    promised = math.prod(sizes)
    if held != promised:
        text = " x ".join(map(str, sizes))
        got = "more" if held > promised else f"{held} bytes"
        raise _malformed(path, f"{promised} bytes of data ({text})", got)


def _malformed(
    path: Path, expected: str, got: object, remedy: str = "download the file again"
) -> ValueError:
    return ValueError(f"images: expected {expected} in {path}, but got {got}; {remedy}")


# --- toy sets


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
    _require_count("line", "n", n)
    _require(0 <= noise < math.inf, "line", "a finite noise >= 0", noise)
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
    _require_count("gaussian", "n", n)
    covariance = torch.as_tensor(covariance, dtype=dtype)
    shape = tuple(covariance.shape)
    square = len(shape) == 2 and shape[0] == shape[1]
    _require(square, "gaussian", "covariance of shape (d, d)", shape)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    valid = torch.allclose(covariance, covariance.T) and not failed
    expected = "covariance symmetric and positive definite"
    _require(valid, "gaussian", expected, covariance.tolist())
    mean = torch.as_tensor([0.0] * shape[0] if mean is None else mean, dtype=dtype)
    expected = f"mean of shape {shape[:1]}"
    _require(mean.shape == shape[:1], "gaussian", expected, tuple(mean.shape))
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
    _require_count("circle", "n", n)
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
    _require_count("arc", "n", n)
    _require(0 < degrees <= 360, "arc", "degrees in (0, 360]", degrees)
    _require(0 <= noise < math.inf, "arc", "a finite noise >= 0", noise)
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
    _require_count("ring", "n", n)
    _require_count("ring", "modes", modes)
    _require(0 <= radius < math.inf, "ring", "a finite radius >= 0", radius)
    _require(0 <= std < math.inf, "ring", "a finite std >= 0", std)
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
    _require_count("price_table", "n", n)
    units = torch.randint(1, 101, (n, 1), generator=generator).to(dtype)
    return torch.cat([units, 1.5 * units], dim=1)


def _on_circle(t: Tensor) -> Tensor:
    return torch.stack([t.cos(), t.sin()], dim=1)


# --- corruptions


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
    _require_floats("add_gaussian_noise", x)
    _require(0 <= std < math.inf, "add_gaussian_noise", "a finite std >= 0", std)
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
    _require_floats("mask", x)
    _require(0 <= nu <= 1, "mask", "nu in [0, 1]", nu)
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
    _require_floats("salt_and_pepper", x)
    _require(0 <= nu <= 1, "salt_and_pepper", "nu in [0, 1]", nu)
    u = torch.rand(x.shape, generator=generator, device=x.device)  # in [0, 1)
    return x.masked_fill(u < nu, 1.0).masked_fill(u < nu / 2, 0.0)


# --- checks


def _require(holds: bool, who: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{who}: expected {expected}, but got {got}")


def _require_known(who: str, what: str, name: str) -> None:
    expected = f"{what} to be one of {', '.join(IMAGE_SETS)}"
    _require(name in IMAGE_SETS, who, expected, repr(name))


def _require_count(who: str, what: str, value: int) -> None:
    if not isinstance(value, Integral):
        got = type(value).__name__
        raise TypeError(f"{who}: expected an integer {what}, but got {got}")
    _require(value >= 1, who, f"{what} >= 1", value)


def _require_floats(who: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{who}: expected a floating-point tensor x, but got {got}")
