"""Image sets: rows of pixels with a label each."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aelab.data.checks import require_known
from aelab.data.idx import malformed, read_idx
from aelab.data.sources import find

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
        them. Default: the folder that ``python -m aelab data fetch NAME`` downloads
        into. The sets that come with a library do not need it.

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    FileNotFoundError
        If one of the four files is missing: nothing is downloaded unasked.
    ValueError
        If the name is unknown, or a file is malformed.

    Notes
    -----
    The digits are split by one fixed permutation, and the faces, which come in random
    order, after the 70th. The same split on every machine: a figure quoted in a lecture
    holds for every reader.
    """
    require_known("images", "name", name, IMAGE_SETS)
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
    require_known("chosen", "AELAB_DATASET or default", name, IMAGE_SETS)
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
    paths = find(name, root=root, who="images")
    train, test = _idx_part(name, *paths[:2]), _idx_part(name, *paths[2:])
    if train.shape != test.shape:
        expected = f"images of {train.shape} pixels, as in {paths[0].name},"
        raise malformed(paths[2], expected, test.shape, ONE_DOWNLOAD)
    return train, test


def _idx_part(name: str, image_path: Path, label_path: Path) -> ImageSet:
    pixels = read_idx(image_path, 3)  # (n, height, width), uint8
    labels = read_idx(label_path, 1)  # (n,), uint8
    n, height, width = pixels.shape
    if len(labels) != n:
        expected = f"{n} labels, one for each image of {image_path.name},"
        raise malformed(label_path, expected, len(labels), ONE_DOWNLOAD)
    if labels.max() > 9:
        raise malformed(label_path, "labels from 0 to 9", int(labels.max()))
    x = pixels.view(n, height * width).float() / 255
    return ImageSet(x, labels.long(), (height, width), name)
