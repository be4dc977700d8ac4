"""The doctor: what works on this machine, and what to do about the rest."""

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PYTHON = (3, 11)
TORCH = (2, 11)


class Finding(NamedTuple):
    """One line of the doctor's report.

    ``ok`` is None for what the course can do without.
    """

    ok: bool | None
    text: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    """Return the findings about the interpreter."""
    version = platform.python_version()
    yield Finding(
        sys.version_info >= PYTHON,
        f"Python {version} in {sys.prefix}",
        "install Python 3.11 or newer, and make .venv again with it",
    )


def torch_() -> Iterator[Finding]:
    """Return the findings about PyTorch."""
    try:
        import torch

        from aelab import extension
    except ImportError as error:
        yield Finding(False, f"torch cannot be imported: {error}", "pip install torch")
        return
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    yield Finding(
        release >= TORCH,
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"CPU capability {torch.backends.cpu.get_cpu_capability()}",
        "pip install 'torch>=2.11'",
    )
    tested = extension.tested()
    yield Finding(
        True if tested else None,
        f"the extension is tested with torch {', '.join(extension.TESTED)}"
        + ("" if tested else ": what it does with this one is not known"),
        "make test",
    )


def extension() -> Iterator[Finding]:
    """Return how the extension loads, and how far it is off the plain op."""
    from aelab import extension

    off = extension.mode() == "off"
    if off or importlib.util.find_spec("aelab._C") is None:
        required = extension.mode() == "require"
        why = "switched off by AELAB_EXTENSION" if off else "not built"
        yield Finding(
            False if required else None,
            f"extension {why}: reparam_kl runs in plain PyTorch, several times slower",
            "unset AELAB_EXTENSION" if off else extension.BUILD,
        )
        return
    import torch

    from aelab import ops

    assert ops._C is not None, "find_spec found it, and off was ruled out"
    error = _difference("cpu")
    yield Finding(
        error < 1e-5,
        f"extension loaded: CPU loops for {ops._C.cpu_loops()}, "
        f"{ops._C.count_threads()} threads, {error:.0e} off plain PyTorch",
        extension.BUILD,
    )
    compiled = extension.cuda_compiled()
    if not compiled:
        yield Finding(None, "CUDA not compiled in; GPU tensors take the plain op")
    elif not torch.cuda.is_available():
        yield Finding(None, f"CUDA {compiled} compiled in, not run: no GPU here")
    else:
        error = _difference("cuda")
        name = torch.cuda.get_device_name()
        yield Finding(
            error < 1e-5, f"CUDA {compiled} run on {name}, off by {error:.0e}"
        )


def _difference(device: str) -> float:
    """Return the largest difference of the op from its plain twin, eps given."""
    import torch

    from aelab import ops

    mu, logvar, eps = torch.randn(3, 100, 33, device=device)
    pairs = zip(
        ops.reparam_kl(mu, logvar, eps),
        ops.reparam_kl_reference(mu, logvar, eps),
        strict=True,
    )
    return max(((a - b).abs() / (1 + b.abs())).max().item() for a, b in pairs)


def compiler() -> Iterator[Finding]:
    """Return what is here of what building the extension needs."""
    names = (os.environ.get("CXX", "c++"), "g++", "clang++")
    found = next(filter(None, map(shutil.which, names)), None)
    header = Path(sysconfig.get_path("include"), "Python.h").is_file()
    yield Finding(
        True if found and header else None,
        f"to build the extension: C++ compiler {found or 'not found'}, Python.h "
        f"{'found' if header else 'not found'}",
        "Debian: apt install g++ python3-dev; macOS: xcode-select --install",
    )
    tools = {"scikit_build_core", "pybind11", "cmake", "ninja", "setuptools_scm"}
    missing = sorted(tool for tool in tools if importlib.util.find_spec(tool) is None)
    yield Finding(
        None if missing else True,
        f"to build the extension: Python's {' '.join(missing) or 'build tools'} "
        f"{'not found' if missing else 'found'}",
        f"pip install {' '.join(missing)}",
    )


def cache() -> Iterator[Finding]:
    """Return where downloads are kept, how much room is there, and what is there."""
    from aelab import data

    folder = data.cache_folder()
    there = next(f for f in (folder, *folder.parents) if f.exists())
    here = [name for name in data.SOURCES if data.stored(name)]
    writable = there.is_dir() and os.access(there, os.W_OK)
    room = f"{shutil.disk_usage(there).free / 1e9:.1f} GB free"
    yield Finding(
        True if writable else None,
        f"data cache {folder}: {room if writable else 'not writable'}, "
        f"holds {', '.join(here) or 'nothing'}",
        "name another folder by the environment variable AELAB_DATA",
    )


def data_sets() -> Iterator[Finding]:
    """Return how every image set and every text loads that is here."""
    from aelab import data

    for name in (*data.IMAGE_SETS, *data.TEXTS):
        load = data.images if name in data.IMAGE_SETS else data.text
        try:
            train, test = load(name)
        except FileNotFoundError:
            yield Finding(
                None, f"data set {name}: not here", f"python -m aelab data fetch {name}"
            )
        except (OSError, ValueError) as error:
            yield Finding(False, f"data set {name}: {error}")
        else:
            yield Finding(True, f"data set {name}: {len(train)} + {len(test)}")


def jupyter() -> Iterator[Finding]:
    """Return which Python the kernel runs that the lectures name."""
    if importlib.util.find_spec("ipykernel") is None:
        yield Finding(None, "Jupyter not installed", "pip install 'aelab[lectures]'")
        return
    from jupyter_client.manager import KernelManager

    replies: list[str] = []
    manager = KernelManager(kernel_name="python3", transport="ipc")
    try:
        manager.start_kernel()
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute_interactive(
            "import sys; print(sys.prefix)",
            timeout=60,
            output_hook=lambda m: replies.append(m["content"].get("text", "")),
        )
        client.stop_channels()
    except Exception as error:  # whatever a foreign kernel does, the doctor reports
        replies.append(f"{type(error).__name__}: {error}")
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
    answer = "".join(replies).strip()
    yield Finding(
        answer == sys.prefix,
        f"Jupyter kernel python3 runs in {answer}",
        f"{sys.executable} -m ipykernel install --sys-prefix",
    )


EXAMINATIONS: list[Callable[[], Iterator[Finding]]] = [
    python,
    torch_,
    extension,
    compiler,
    cache,
    data_sets,
    jupyter,
]


def doctor() -> int:
    """Print one line a finding, and the remedy under what is not well.

    Returns
    -------
    int
        0 if the lectures can run, else 1.
    """
    marks = {True: "[OK]  ", False: "[FAIL]", None: "[--]  "}
    failed = False
    for examine in EXAMINATIONS:
        try:
            findings = list(examine())
        except Exception as error:  # an examination that breaks is a finding
            findings = [Finding(False, f"{examine.__name__}: {error}")]
        for ok, text, remedy in findings:
            print(marks[ok], text)
            if not ok and remedy:
                print(" " * 7 + f"remedy: {remedy}")
            failed = failed or ok is False
    print("\nThe lectures can run." if not failed else "\nMend what is marked [FAIL].")
    return int(failed)
