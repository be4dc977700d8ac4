"""The idx format, in which MNIST and its kin are published."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor


def read_idx(path: Path, ndim: int) -> Tensor:
    """Read an idx file of bytes: 0, 0, 8, ndim, the sizes (4 bytes each), the data.

    Parameters
    ----------
    path : Path
        The file, packed by gzip if its name ends in .gz.
    ndim : int
        The number of dimensions that it should have.

    Returns
    -------
    Tensor of uint8, with ndim dimensions

    Raises
    ------
    ValueError
        If the file is malformed.

    Notes
    -----
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
        raise malformed(path, "whole gzip data", f"damage: {error}") from None
    _check_length(path, sizes, len(data))
    return torch.frombuffer(data, dtype=torch.uint8).view(sizes)


def _idx_sizes(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * ndim:
        expected = f"an idx header of {4 + 4 * ndim} bytes"
        raise malformed(path, expected, f"{len(header)} bytes")
    if header[:2] != b"\0\0":
        expected = "an idx file, which begins with the bytes 0000,"
        remedy = (
            "end the name of a gzip file (1f8b) with .gz, or download the file again"
        )
        raise malformed(path, expected, header[:2].hex(), remedy)
    if header[2] != 8:
        expected = "the type code 0x08 (unsigned bytes)"
        remedy = "store the data as unsigned bytes"
        raise malformed(path, expected, f"0x{header[2]:02x}", remedy)
    if header[3] != ndim:
        remedy = "look whether images and labels are interchanged"
        raise malformed(path, f"{ndim} dimension(s)", header[3], remedy)
    sizes = struct.unpack(f">{ndim}I", header[4:])
    if 0 in sizes:
        raise malformed(path, "sizes of at least 1", " x ".join(map(str, sizes)))
    return sizes


def _check_length(path: Path, sizes: tuple[int, ...], held: int) -> None:
    promised = math.prod(sizes)
    if held != promised:
        text = " x ".join(map(str, sizes))
        got = "more" if held > promised else f"{held} bytes"
        raise malformed(path, f"{promised} bytes of data ({text})", got)


def malformed(
    path: Path, expected: str, got: object, remedy: str = "download the file again"
) -> ValueError:
    """Return the error for a file that does not hold what it should.

    Parameters
    ----------
    path : Path
        The file.
    expected : str
        What it should hold.
    got : object
        What it holds.
    remedy : str
        What the reader can do.

    Returns
    -------
    ValueError
    """
    return ValueError(f"images: expected {expected} in {path}, but got {got}; {remedy}")
