"""Idx files, written by hand: the good ones, and places for bad ones."""

import gzip
import struct

import numpy as np

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array, *, sizes=None):
    """Return the bytes of an idx file, written by hand; sizes makes its header lie."""
    array = np.asarray(array).astype(np.uint8)
    sizes = array.shape if sizes is None else sizes
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *sizes)
    return header + array.tobytes()


def write_set(folder, *, n=(6, 4), shape=(3, 5), seed=0, zipped=(False,) * 4):
    """Write four good files of random content; return what is in them, in order."""
    rng = np.random.default_rng(seed)
    arrays = []
    for count in n:
        arrays.append(rng.integers(0, 256, (count, *shape), dtype=np.uint8))
        arrays.append(rng.integers(0, 10, count, dtype=np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    for file, array, zip_it in zip(FILES, arrays, zipped, strict=True):
        content = gzip.compress(idx(array)) if zip_it else idx(array)
        (folder / (file + ".gz" * zip_it)).write_bytes(content)
    return arrays


def place(folder, file, content):
    """Write a good set, then content in the place of one of its files."""
    write_set(folder)
    (folder / file.removesuffix(".gz")).unlink()
    (folder / file).write_bytes(content)
    return folder / file
