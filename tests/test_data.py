"""What is fed to the models: image sets, toy sets, corruptions."""

import dataclasses
import gzip
import math
import re
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from torch.testing import assert_close

from aelab import data

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
COVARIANCE = [[4.0, 1.5, 0.0], [1.5, 1.0, -0.3], [0.0, -0.3, 0.5]]

# Every set and every corruption that is random, by name, as a function of a generator.
GREY = torch.full((8, 6), 0.5)
RANDOM = {
    "line": lambda g: data.line(40, 0.3, generator=g),
    "gaussian": lambda g: data.gaussian(40, COVARIANCE, generator=g),
    "arc": lambda g: data.arc(40, generator=g),
    "ring": lambda g: data.ring(40, generator=g),
    "price_table": lambda g: data.price_table(40, generator=g),
    "add_gaussian_noise": lambda g: data.add_gaussian_noise(GREY, 0.3, generator=g),
    "mask": lambda g: data.mask(GREY, 0.5, generator=g),
    "salt_and_pepper": lambda g: data.salt_and_pepper(GREY, 0.5, generator=g),
}
TOY_SETS = {
    "line": lambda n, **kwargs: data.line(n, 0.3, **kwargs),
    "gaussian": lambda n, **kwargs: data.gaussian(n, [[2, 1], [1, 2]], **kwargs),
    "circle": data.circle,
    "arc": data.arc,
    "ring": data.ring,
    "price_table": data.price_table,
}
CORRUPTIONS = {
    "add_gaussian_noise": data.add_gaussian_noise,
    "mask": data.mask,
    "salt_and_pepper": data.salt_and_pepper,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


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


def assert_mean_and_covariance(x, mean, covariance):
    """Compare sample moments with the true ones, each within 5 standard errors."""
    x, mean, covariance = x.double().numpy(), np.array(mean), np.array(covariance)
    n, variance = len(x), np.diag(covariance)
    se_mean = np.sqrt(variance / n)
    se_covariance = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert (abs(x.mean(0) - mean) < 5 * se_mean).all()
    assert (abs(np.cov(x.T) - covariance) < 5 * se_covariance).all()


def assert_rate(hits, rate, axis=None):
    """Compare shares of hits (along an axis) with a rate, within 5 standard errors."""
    hits = np.asarray(hits)
    share = hits.mean(axis=axis)
    se = math.sqrt(rate * (1 - rate) * share.size / hits.size)
    assert (abs(share - rate) <= 5 * se).all()


@pytest.fixture(autouse=True)
def _clean_room(monkeypatch):
    monkeypatch.delenv("AELAB_DATA", raising=False)
    monkeypatch.delenv("AELAB_DATASET", raising=False)
    with torch.random.fork_rng(devices=[]):
        yield


# Shape and dtype


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "shape", "classes"),
    [
        ("digits", 1297, 500, (8, 8), 10),
        ("faces", 70, 30, (25, 25), 1),
        ("mnist", 6, 4, (3, 5), None),
        ("fashion_mnist", 6, 4, (3, 5), None),
    ],
)
def test_one_interface(name, n_train, n_test, shape, classes, tmp_path):
    write_set(tmp_path)
    train, test = data.images(name, root=tmp_path)
    for part, n in ((train, n_train), (test, n_test)):
        assert (part.name, part.shape, len(part)) == (name, shape, n)
        assert part.x.shape == (n, shape[0] * shape[1])
        assert part.images().shape == (n, *shape)
        assert part.images().data_ptr() == part.x.data_ptr()  # a view
        assert part.y.shape == (n,)
        assert (part.x.dtype, part.y.dtype) == (torch.float32, torch.int64)
        assert part.x.min() >= 0
        assert part.x.max() <= 1
        assert classes is None or part.y.unique().tolist() == list(range(classes))
        text = f"ImageSet({name}: {n} images of {shape[0]} x {shape[1]} pixels)"
        assert repr(part) == text


def test_default_is_digits():
    assert data.images()[0].name == "digits"


@pytest.mark.parametrize("name", TOY_SETS)
@pytest.mark.parametrize("n", [1, 7])
def test_toy_sets(name, n):
    assert TOY_SETS[name](n).shape == (n, 2)
    assert TOY_SETS[name](np.int64(n)).shape == (n, 2)
    assert TOY_SETS[name](n).dtype == torch.float32
    assert TOY_SETS[name](n, dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(4, 6), (1, 1), (0, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corruptions(name, shape, dtype):
    x = torch.full(shape, 0.5, dtype=dtype)
    x_noisy = CORRUPTIONS[name](x, 0.5)
    assert (x_noisy.shape, x_noisy.dtype) == (x.shape, dtype)
    assert (x == 0.5).all()  # not in place


# Value against an outside oracle


def test_digits_are_those_of_scikit_learn():
    # Rejects: a row lost or held twice, labels that are not shuffled with the images.
    train, test = data.images("digits")
    x, y = torch.cat([train.x, test.x]), torch.cat([train.y, test.y])
    ours = np.column_stack([16 * x.numpy(), y.numpy()])
    bunch = load_digits()
    theirs = np.column_stack([bunch.data, bunch.target])
    rows = [table[np.lexsort(table.T)] for table in (ours, theirs)]
    np.testing.assert_array_equal(*rows)


def test_digits_split():
    # Rejects: the file's own order, another seed. The lectures quote figures of this
    # very split; integers are the same on every machine.
    _, test = data.images("digits")
    assert test.y[:12].tolist() == [9, 2, 5, 0, 6, 3, 5, 4, 8, 4, 8, 3]
    counts = test.y.bincount()
    assert counts.min() >= 40
    assert counts.max() <= 60


def test_faces_are_those_of_scikit_image():
    # Rejects: the other half of lfw_subset, which shows no faces; parts that overlap.
    from skimage.data import lfw_subset

    faces = torch.from_numpy(lfw_subset()[:100].astype(np.float32))
    train, test = data.images("faces")
    assert_close(train.images(), faces[:70], rtol=0, atol=0)
    assert_close(test.images(), faces[70:], rtol=0, atol=0)


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


@pytest.mark.parametrize("environment", [False, True])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_where_the_folder_may_be(inside, environment, tmp_path, monkeypatch):
    arrays = write_set(tmp_path / inside)
    if environment:
        monkeypatch.setenv("AELAB_DATA", str(tmp_path))
    train, _ = data.images("mnist", root=None if environment else str(tmp_path))
    assert train.y.tolist() == arrays[1].tolist()


def test_root_comes_before_the_environment(tmp_path, monkeypatch):
    write_set(tmp_path / "here", n=(6, 4))
    write_set(tmp_path / "there", n=(5, 3))
    monkeypatch.setenv("AELAB_DATA", str(tmp_path / "there"))
    assert len(data.images("mnist", root=tmp_path / "here")[0]) == 6


def test_the_subfolder_comes_before_the_folder(tmp_path):
    # Rejects: Fashion-MNIST read where MNIST lies in a subfolder of its own.
    write_set(tmp_path, n=(6, 4))
    write_set(tmp_path / "mnist", n=(5, 3))
    assert len(data.images("mnist", root=tmp_path)[0]) == 5
    assert len(data.images("fashion_mnist", root=tmp_path)[0]) == 6


def test_raw_comes_before_gzip(tmp_path):
    write_set(tmp_path)
    (tmp_path / f"{FILES[0]}.gz").write_bytes(b"never opened")
    assert len(data.images("mnist", root=tmp_path)[0]) == 6


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "idx")
    assert len(data.images("mnist", root="~/idx")[0]) == 6


def test_chosen(monkeypatch):
    assert data.chosen() == "digits"
    assert data.chosen("faces") == "faces"
    monkeypatch.setenv("AELAB_DATASET", "")
    assert data.chosen("faces") == "faces"
    monkeypatch.setenv("AELAB_DATASET", "mnist")
    assert data.chosen("faces") == "mnist"


def test_line_without_noise():
    x = data.line(50, generator=seeded()).numpy()
    np.testing.assert_array_equal(x[:, 0], 2 * x[:, 1])
    assert np.linalg.matrix_rank(x) == 1


def test_line_with_noise():
    # Rejects: (a, 2a), one eps for both coordinates, noise as a variance.
    x = data.line(20_000, 0.3, generator=seeded())
    assert_mean_and_covariance(x, [0, 0], [[4.09, 2.0], [2.0, 1.09]])
    across = (x @ torch.tensor([1.0, -2.0]) / (0.3 * math.sqrt(5))).numpy()
    assert stats.kstest(across, "norm").pvalue > 1e-6


@pytest.mark.parametrize("mean", [[0.0, 0.0, 0.0], [1.0, -2.0, 30.0]])
def test_gaussian(mean):
    # Rejects: L^T for L, the covariance as its own factor, a mean that is forgotten.
    x = data.gaussian(20_000, COVARIANCE, mean, generator=seeded(), dtype=torch.float64)
    assert_mean_and_covariance(x, mean, COVARIANCE)
    rest = x.numpy() - mean
    distance = np.einsum("ni,ij,nj->n", rest, np.linalg.inv(COVARIANCE), rest)
    assert stats.kstest(distance, stats.chi2(3).cdf).pvalue > 1e-6


def test_gaussian_arguments():
    # Lists and tensors mean the same, and no mean is a mean of zero.
    lists = data.gaussian(5, COVARIANCE, [0.0, 0.0, 0.0], generator=seeded())
    tensors = data.gaussian(5, torch.tensor(COVARIANCE), generator=seeded())
    assert lists.shape == (5, 3)
    assert torch.equal(lists, tensors)


@pytest.mark.parametrize("n", [1, 3, 8, 100])
def test_circle_is_the_roots_of_unity(n):
    # Rejects: n + 1 steps or n - 1 (a point twice), degrees for radians.
    x = data.circle(n, dtype=torch.float64).numpy()
    ours, theirs = x[:, 0] + 1j * x[:, 1], np.roots([1] + [0] * (n - 1) + [-1])
    apart = abs(ours[:, None] - theirs)
    assert apart.min(axis=0).max() < 1e-9
    assert apart.min(axis=1).max() < 1e-9


@pytest.mark.parametrize("degrees", [90.0, 180.0, 360.0])
def test_arc_without_noise(degrees):
    # Rejects: an arc from -degrees / 2, radians for degrees, equally likely x.
    x = data.arc(5000, degrees, 0.0, generator=seeded(), dtype=torch.float64).numpy()
    np.testing.assert_allclose(np.hypot(*x.T), 1, rtol=1e-12)
    angle = np.degrees(np.arctan2(x[:, 1], x[:, 0])) % 360
    assert stats.kstest(angle / degrees, "uniform").pvalue > 1e-6


def test_arc_noise():
    # Rejects: noise along the radius only, noise as a variance.
    noisy = data.arc(20_000, noise=0.2, generator=seeded())
    exact = data.arc(20_000, noise=0.0, generator=seeded())
    assert_mean_and_covariance(noisy - exact, [0, 0], [[0.04, 0], [0, 0.04]])


def test_ring():
    # Rejects: unequal weights, a mode too few, noise shared by a mode, std as variance.
    x = data.ring(20_000, modes=5, radius=3.0, std=0.1, generator=seeded())
    points = x[:, 0].double().numpy() + 1j * x[:, 1].double().numpy()
    modes = 3 * np.exp(2j * np.pi * np.arange(5) / 5)
    nearest = abs(points[:, None] - modes).argmin(axis=1)
    assert stats.chisquare(np.bincount(nearest, minlength=5)).pvalue > 1e-6
    rest = points - modes[nearest]
    rest = torch.tensor(np.column_stack([rest.real, rest.imag]))
    assert_mean_and_covariance(rest, [0, 0], [[0.01, 0], [0, 0.01]])


def test_price_table():
    # Rejects: fixed costs (rank 2), 0 units, units that are not whole.
    x = data.price_table(20_000, generator=seeded()).numpy()
    units, profit = x.T
    np.testing.assert_array_equal(profit, 1.5 * units)
    counts = np.bincount(units.astype(int), minlength=101)
    assert (units == units.round()).all()
    assert counts[0] == 0
    assert len(counts) == 101
    assert stats.chisquare(counts[1:]).pvalue > 1e-6
    assert np.linalg.matrix_rank(x) == 1


def test_price_table_is_ruled_by_its_unit():
    # What lecture 01 shows with it; rejects a profit that dwarfs the units as it is.
    x = data.price_table(200, generator=seeded()).double().numpy()
    for factors, ruled in (((1, 1), False), ((100, 1), True), ((1, 100), True)):
        _, _, vt = np.linalg.svd((x - x.mean(0)) * factors)
        assert (abs(vt[0]).max() > 0.99) == ruled
        assert ruled or abs(vt[0]).max() < 0.9


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


@pytest.mark.parametrize("name", ["digits", "faces"])
def test_image_sets_leave_global_seeds_alone(name):
    # Rejects: a split that seeds, or draws from, a global generator.
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = data.images(name)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.manual_seed(8)
    np.random.seed(8)  # noqa: NPY002
    for one, other in zip(first, data.images(name), strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)


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

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = FILES
GOOD = idx(np.ones((6, 3, 5)))  # what IMAGES may hold
ZIPPED = gzip.compress(GOOD)
SHORT, LONG = gzip.compress(GOOD[:-1]), gzip.compress(GOOD + b"\0")
NO_IDX = "an idx file, which begins with the bytes 0000,"
NAME = "end the name of a gzip file (1f8b) with .gz, or download the file again"
MIXED = "look whether images and labels are interchanged"
TOGETHER = "take all four files from one download"
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
    "too few labels": (
        LABELS,
        idx(np.ones(5)),
        f"6 labels, one for each image of {IMAGES}, | 5 | {TOGETHER}",
    ),
    "too many labels": (
        TEST_LABELS,
        idx(np.ones(6)),
        f"4 labels, one for each image of {TEST_IMAGES}, | 6 | {TOGETHER}",
    ),
    "a label of 10": (LABELS, idx([0, 1, 10, 3, 4, 9]), "labels from 0 to 9 | 10"),
    "test images of another shape": (
        TEST_IMAGES,
        idx(np.ones((4, 5, 3))),
        f"images of (3, 5) pixels, as in {IMAGES}, | (5, 3) | {TOGETHER}",
    ),
}


def place(folder, file, content):
    """Write a good set, then content in the place of one of its files."""
    write_set(folder)
    (folder / file.removesuffix(".gz")).unlink()
    (folder / file).write_bytes(content)
    return folder / file


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


@pytest.mark.parametrize("file", FILES)
def test_missing_file(file, tmp_path):
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / file).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        data.images("mnist", root=tmp_path)
    assert str(caught.value) == (
        f"images: expected {file} or {file}.gz in {tmp_path / 'mnist'}, but got "
        "neither; put the four idx files of mnist into one folder, and name that "
        "folder by root= or by the environment variable AELAB_DATA"
    )


def test_missing_folder(tmp_path):
    nowhere = tmp_path / "nowhere"
    message = re.escape(f"{FILES[0]}.gz in {nowhere}, but got neither")
    with pytest.raises(FileNotFoundError, match=message):
        data.images("fashion_mnist", root=nowhere)


def test_a_relative_folder_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = re.escape(f"in {tmp_path / 'here'}, but got neither")
    with pytest.raises(FileNotFoundError, match=message):
        data.images("mnist", root="here")


@pytest.mark.parametrize("environment", [None, ""])
def test_no_folder(environment, monkeypatch):
    if environment is not None:
        monkeypatch.setenv("AELAB_DATA", environment)
    message = "^images: expected a folder with the files of mnist, but got none; put "
    with pytest.raises(FileNotFoundError, match=message):
        data.images("mnist")


KNOWN = "to be one of digits, faces, mnist, fashion_mnist, but got 'minst'$"


def test_unknown_name(monkeypatch):
    with pytest.raises(ValueError, match=f"^images: expected name {KNOWN}"):
        data.images("minst")
    message = f"^chosen: expected AELAB_DATASET or default {KNOWN}"
    with pytest.raises(ValueError, match=message):
        data.chosen("minst")
    monkeypatch.setenv("AELAB_DATASET", "minst")
    with pytest.raises(ValueError, match=message):
        data.chosen()


def test_image_set_is_frozen():
    train, _ = data.images("faces")
    with pytest.raises(dataclasses.FrozenInstanceError):
        train.x = train.x[:5]


@pytest.mark.parametrize("name", TOY_SETS)
def test_bad_count(name):
    with pytest.raises(ValueError, match=f"^{name}: expected n >= 1, but got 0$"):
        TOY_SETS[name](0)
    message = f"^{name}: expected an integer n, but got float$"
    with pytest.raises(TypeError, match=message):
        TOY_SETS[name](2.0)


LOPSIDED, INDEFINITE = [[1.0, 0.5], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]
DEFINITE = "covariance symmetric and positive definite"


@pytest.mark.parametrize(
    ("name", "arguments", "expected", "got"),
    [
        ("line", (3, -1.0), "a finite noise >= 0", "-1.0"),
        ("arc", (3, 0), "degrees in (0, 360]", "0"),
        ("arc", (3, 361), "degrees in (0, 360]", "361"),
        ("arc", (3, 90, math.nan), "a finite noise >= 0", "nan"),
        ("ring", (3, 0), "modes >= 1", "0"),
        ("ring", (3, 8, -2), "a finite radius >= 0", "-2"),
        ("ring", (3, 8, 2, math.inf), "a finite std >= 0", "inf"),
        ("gaussian", (3, [1.0]), "covariance of shape (d, d)", "(1,)"),
        ("gaussian", (3, [[1.0, 0.0]]), "covariance of shape (d, d)", "(1, 2)"),
        ("gaussian", (3, LOPSIDED), DEFINITE, str(LOPSIDED)),
        ("gaussian", (3, INDEFINITE), DEFINITE, str(INDEFINITE)),
        ("gaussian", (3, [[1.0]], [0.0, 1.0]), "mean of shape (1,)", "(2,)"),
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
