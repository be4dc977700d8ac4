"""The reader of idx files, raw and packed, whole and damaged."""

import gzip
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from idx_files import FILES, idx, place, write_set
from sklearn.datasets import load_digits
from torch.testing import assert_close

from aelab import data
from aelab.data.idx import read_idx

IMAGES, LABELS = FILES[:2]


# Shape and dtype


@pytest.mark.parametrize("sizes", [(7,), (4, 6), (2, 3, 5)])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_bytes_of_any_shape(sizes, ending, tmp_path):
    path = tmp_path / f"file{ending}"
    content = idx(np.ones(sizes))
    path.write_bytes(gzip.compress(content) if ending else content)
    x = read_idx(path, len(sizes))
    assert (x.shape, x.dtype) == (sizes, torch.uint8)


# Value against an outside oracle


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_of_digits(name, tmp_path):
    # Rejects: division by 256, little-endian sizes, height and width interchanged,
    # train and test interchanged, labels of the other part.
    bunch = load_digits()
    pictures, labels = 15 * bunch.images[:, 1:], bunch.target  # 7 x 8 pixels
    arrays = (pictures[300:], labels[300:], pictures[:300], labels[:300])
    for file, array in zip(FILES, arrays, strict=True):
        (tmp_path / file).write_bytes(idx(array))
    parts = data.images(name, root=tmp_path)
    for part, x, y in zip(parts, arrays[::2], arrays[1::2], strict=True):
        assert_close(part.images(), torch.tensor(x / 255, dtype=torch.float32))
        assert part.y.tolist() == y.tolist()


# Property


sizes = st.integers(1, 6)


@given(
    n=st.tuples(sizes, sizes),
    shape=st.tuples(sizes, sizes),
    seed=st.integers(0, 99),
    zipped=st.tuples(*[st.booleans()] * 4),
)
def test_round_trip_raw_or_gzip(n, shape, seed, zipped):
    with tempfile.TemporaryDirectory() as folder:
        arrays = write_set(Path(folder), n=n, shape=shape, seed=seed, zipped=zipped)
        train, test = data.images("mnist", root=folder)
    for part, x, y in ((train, *arrays[:2]), (test, *arrays[2:])):
        assert part.shape == shape
        assert (255 * part.images()).round().tolist() == x.tolist()
        assert part.y.tolist() == y.tolist()


def test_gzip_in_two_members(tmp_path):
    # What `cat a.gz b.gz` makes is one file to gzip.
    arrays = write_set(tmp_path)
    path = tmp_path / FILES[1]
    content = path.read_bytes()
    path.unlink()
    zipped = gzip.compress(content[:9]) + gzip.compress(content[9:])
    path.with_name(f"{path.name}.gz").write_bytes(zipped)
    assert data.images("mnist", root=tmp_path)[0].y.tolist() == arrays[1].tolist()


@pytest.mark.parametrize("zipped", [False, True])
def test_every_cut_is_noticed(zipped, tmp_path):
    # Rejects: a gzip file whose check sum is never read.
    write_set(tmp_path, n=(2, 1), shape=(1, 3), zipped=(zipped,) * 4)
    path = tmp_path / (FILES[0] + ".gz" * zipped)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=FILES[0]):
            data.images("mnist", root=tmp_path)


@given(position=st.integers(0, 150), value=st.integers(0, 255))
def test_a_wrong_byte_in_a_gzip_file(position, value):
    # Either it is noticed, in one sentence, or it carries no data (the time stamp).
    with tempfile.TemporaryDirectory() as folder:
        arrays = write_set(Path(folder), zipped=(True,) * 4)
        path = Path(folder, f"{FILES[0]}.gz")
        content = bytearray(path.read_bytes())
        content[position % len(content)] = value
        path.write_bytes(content)
        try:
            found = (255 * data.images("mnist", root=folder)[0].images()).round()
        except ValueError as error:
            found = str(error)
    if isinstance(found, str):
        assert found.startswith("images: expected ")
        assert str(path) in found
    else:
        assert found.tolist() == arrays[0].tolist()


# Error


GOOD = idx(np.ones((6, 3, 5)))  # what IMAGES may hold


ZIPPED = gzip.compress(GOOD)


SHORT, LONG = gzip.compress(GOOD[:-1]), gzip.compress(GOOD + b"\0")


NO_IDX = "an idx file, which begins with the bytes 0000,"


NAME = "end the name of a gzip file (1f8b) with .gz, or download the file again"


MIXED = "look whether images and labels are interchanged"


SIZES = "sizes of at least 1"


DATA = "90 bytes of data (6 x 3 x 5)"


# Case: a file, what it holds, and the sentence: expected | got | remedy, where no
# remedy stands for "download the file again".
MALFORMED = {
    "magic number": (IMAGES, b"\1\0" + GOOD[2:], f"{NO_IDX} | 0100 | {NAME}"),
    "gzip without .gz": (IMAGES, ZIPPED, f"{NO_IDX} | 1f8b | {NAME}"),
    "type code": (
        IMAGES,
        GOOD[:2] + b"\x0d" + GOOD[3:],
        "the type code 0x08 (unsigned bytes) | 0x0d | store the data as unsigned bytes",
    ),
    "labels for images": (IMAGES, idx(np.ones(20)), f"3 dimension(s) | 1 | {MIXED}"),
    "images for labels": (LABELS, GOOD, f"1 dimension(s) | 3 | {MIXED}"),
    "empty": (IMAGES, b"", "an idx header of 16 bytes | 0 bytes"),
    "empty labels": (LABELS, b"", "an idx header of 8 bytes | 0 bytes"),
    "empty gzip": (f"{IMAGES}.gz", b"", "an idx header of 16 bytes | 0 bytes"),
    "half a header": (IMAGES, GOOD[:15], "an idx header of 16 bytes | 15 bytes"),
    "zero images": (IMAGES, idx(np.ones((0, 3, 5))), f"{SIZES} | 0 x 3 x 5"),
    "zero width": (IMAGES, idx(np.ones((6, 3, 0))), f"{SIZES} | 6 x 3 x 0"),
    "zero labels": (LABELS, idx(np.ones(0)), f"{SIZES} | 0"),
    "only a header": (IMAGES, GOOD[:16], f"{DATA} | 0 bytes"),
    "too few bytes": (IMAGES, GOOD[:-1], f"{DATA} | 89 bytes"),
    "too many bytes": (IMAGES, GOOD + b"\0", f"{DATA} | more"),
    "too few in gzip": (f"{IMAGES}.gz", SHORT, f"{DATA} | 89 bytes"),
    "too many in gzip": (f"{IMAGES}.gz", LONG, f"{DATA} | more"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_file(case, tmp_path):
    file, content, sentence = MALFORMED[case]
    path = place(tmp_path, file, content)
    expected, got, *remedy = sentence.split(" | ")
    remedy = remedy[0] if remedy else "download the file again"
    with pytest.raises(ValueError, match="images: expected") as caught:
        data.images("mnist", root=tmp_path)
    sentence = f"images: expected {expected} in {path}, but got {got}; {remedy}"
    assert str(caught.value) == sentence


WRONG_SUM = ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:]


DAMAGED = {
    "not gzip": b"no gzip at all",
    "idx with the ending .gz": GOOD,
    "cut in the head": ZIPPED[:5],
    "cut in the data": ZIPPED[:-9],
    "cut in the check sum": ZIPPED[:-1],
    "wrong check sum": WRONG_SUM,
    "something after it": ZIPPED + b"<html>",
    "no deflate": ZIPPED[:10] + b"\xff" * 40,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_gzip(case, tmp_path):
    path = place(tmp_path, f"{IMAGES}.gz", DAMAGED[case])
    with pytest.raises(ValueError, match="whole gzip data") as caught:
        data.images("mnist", root=tmp_path)
    start = f"images: expected whole gzip data in {path}, but got damage: "
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("; download the file again")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # one traceback, not two


def peak_of_error(folder):
    """Return the most bytes that Python held while it found the folder malformed."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bytes of data .* but got "):
            data.images("mnist", root=folder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    "sizes", [(2**31, 1, 1), (2**31, 28, 28), (2**32 - 1, 2**32 - 1, 2**32 - 1)]
)
def test_huge_sizes_take_no_memory(sizes, ending, tmp_path):
    # Rejects: read(promised) and every buffer of the promised size.
    content = idx(np.ones((6, 3, 5)), sizes=sizes)
    content = gzip.compress(content) if ending else content
    place(tmp_path, FILES[0] + ending, content)
    assert peak_of_error(tmp_path) < 4 * 2**20


@pytest.mark.parametrize("promised", [10, 2**31])
def test_a_raw_file_is_measured_before_it_is_read(promised, tmp_path):
    header = idx(np.ones((0, 1, 1)), sizes=(promised, 1, 1))
    path = place(tmp_path, FILES[0], header)
    with path.open("r+b") as file:
        file.truncate(2**26)  # a hole: it takes no room on the disk
    assert peak_of_error(tmp_path) < 4 * 2**20


def test_a_gzip_bomb_is_left_folded(tmp_path):
    # 64 MiB of zeros behind a header that promises 10 bytes.
    header = idx(np.ones((0, 1, 1)), sizes=(10, 1, 1))
    bomb = gzip.compress(header + bytes(2**26), compresslevel=1)
    place(tmp_path, f"{FILES[0]}.gz", bomb)
    assert peak_of_error(tmp_path) < 4 * 2**20
