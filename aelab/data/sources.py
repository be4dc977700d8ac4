"""What can be downloaded, from where, with which digest; and where it is kept.

Neither importing this downloads anything, nor asking for a set: only :func:`fetch`, by
``python -m aelab data fetch NAME``.
"""

import os
from pathlib import Path
from typing import NamedTuple

import platformdirs

from aelab.data.checks import require_known
from aelab.data.download import Report, retrieve


class File(NamedTuple):
    """A file by its name, its length in bytes, and the SHA-256 of its content."""

    name: str
    size: int
    sha256: str


class Source(NamedTuple):
    """The files of a set, and the mirrors: addresses with ``{file}`` for the name."""

    files: tuple[File, ...]
    mirrors: tuple[str, ...]


# Where the digests come from. Lengths and SHA-256: mnist.txt, fashion_mnist.txt and
# tiny_shakespeare.txt in tensorflow_datasets/url_checksums of tensorflow/datasets;
# fashion_mnist also in keras/src/datasets/fashion_mnist.py. Computed anew from
# fgnt/mnist (all but the training images), zalandoresearch/fashion-mnist (the labels)
# and karpathy/char-rnn: the same. The MD5 of these files, where computed, is that of
# torchvision/datasets/mnist.py. Unpacked, the files of MNIST have the MD5
#     train images 6bbc9ace898e44ae57da46a324031adb (as published; not computed anew)
#     train labels a25bea736e30d166cdddb491f175f624
#     test images  2646ac647ad5339dbf082846283269ea
#     test labels  27ae3e4e09519cfbb04c329615203637
SOURCES = {
    "mnist": Source(
        (
            File(
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/{file}",
            "https://ossci-datasets.s3.amazonaws.com/mnist/{file}",
            "https://raw.githubusercontent.com/fgnt/mnist/master/{file}",
        ),
    ),
    "fashion_mnist": Source(
        (
            File(
                "train-images-idx3-ubyte.gz",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        (
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/{file}",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master"
            "/data/fashion/{file}",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}",
        ),
    ),
    "tinyshakespeare": Source(
        (
            File(
                "tinyshakespeare.txt",
                1115394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        (
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data"
            "/tinyshakespeare/input.txt",
            "https://raw.githubusercontent.com/jcjohnson/torch-rnn/master/data"
            "/tiny-shakespeare.txt",
        ),
    ),
}


def cache_folder() -> Path:
    """Return the folder of the downloads: AELAB_DATA, or the platform's cache."""
    if chosen := os.environ.get("AELAB_DATA"):
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("aelab", appauthor=False)


def find(name: str, *, root: str | Path | None = None, who: str = "find") -> list[Path]:
    """Return the files of a set that can be downloaded, where they lie now.

    Parameters
    ----------
    name : str
        One of ``SOURCES``.
    root : path, optional
        The folder with the files, or a folder with a subfolder ``name`` that has them.
        Default: :func:`cache_folder`.
    who : str
        The function that an error names.

    Returns
    -------
    list of Path
        One for each file, in the order of ``SOURCES``; what is published packed (.gz)
        may also lie there unpacked, without that ending.

    Raises
    ------
    FileNotFoundError
        If one of them is missing.
    """
    folder = Path(root).expanduser().absolute() if root else cache_folder()
    if (folder / name).is_dir():
        folder = folder / name
    paths = []
    for file in SOURCES[name].files:
        names = dict.fromkeys([file.name.removesuffix(".gz"), file.name])
        there = [folder / n for n in names if (folder / n).is_file()]
        if not there:
            raise FileNotFoundError(
                f"{who}: expected {' or '.join(names)} in {folder}, but got "
                f"{'neither' if len(names) == 2 else 'no such file'}; run "
                f"python -m aelab data fetch {name}, or name the folder that has the "
                f"files of {name} by root= or by the environment variable AELAB_DATA"
            )
        paths.append(there[0])
    return paths


def stored(name: str) -> list[Path]:
    """Return the files of a set as :func:`find` does, or none if one is missing.

    Parameters
    ----------
    name : str
        One of ``SOURCES``.

    Returns
    -------
    list of Path
    """
    try:
        return find(name)
    except FileNotFoundError:
        return []


def fetch(
    name: str,
    *,
    rounds: int = 3,
    pause: float = 1.0,
    timeout: float = 15.0,
    report: Report | None = None,
) -> list[Path]:
    """Download the files of a set into its subfolder of the cache, if need be.

    Parameters
    ----------
    name : str
        One of ``SOURCES``.
    rounds, pause, timeout, report
        As for :func:`aelab.data.download.retrieve`.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If the name is unknown.
    OSError
        If a file cannot be had from any mirror, or cannot be kept.

    Notes
    -----
    The environment variable ``AELAB_MIRROR`` takes the place of all mirrors: an address
    under which the file ``NAME/FILE`` lies. Its files must have the same digests.
    """
    require_known("fetch", "name", name, tuple(SOURCES))
    mirror = os.environ.get("AELAB_MIRROR")
    mirrors = (f"{mirror}/{name}/{{file}}",) if mirror else SOURCES[name].mirrors
    paths = []
    for file in SOURCES[name].files:
        paths.append(cache_folder() / name / file.name)
        retrieve(
            [mirror.replace("{file}", file.name) for mirror in mirrors],
            paths[-1],
            size=file.size,
            sha256=file.sha256,
            rounds=rounds,
            pause=pause,
            timeout=timeout,
            report=report,
        )
    return paths
