"""The door to ``aelab._C``, the compiled half of ``aelab.ops``.

The environment variable ``AELAB_EXTENSION`` decides, when ``aelab.ops`` is imported:

``auto`` (default)
    Use the extension; without it warn once, and run in plain PyTorch.
``require``
    Without the extension, importing fails.
``off``
    Run in plain PyTorch, silently, even where the extension was built.

An extension that is there but cannot be loaded is an error in the first two cases.
"""

import importlib
import importlib.util
import os
import warnings
from types import ModuleType

import torch

MODES = ("auto", "require", "off")
TESTED = ("2.13",)  # the releases of torch that the extension's tests ran on
BUILD = "AELAB_EXTENSION=require pip install --no-build-isolation --no-deps -v -e ."


def mode() -> str:
    """Return what ``AELAB_EXTENSION`` asks for.

    Returns
    -------
    str
        One of ``MODES``.

    Raises
    ------
    ValueError
        If the variable holds anything else.
    """
    value = os.environ.get("AELAB_EXTENSION") or "auto"
    if value not in MODES:
        raise ValueError(
            f"AELAB_EXTENSION: expected one of {', '.join(MODES)}, but got {value!r}; "
            "unset it for the default, auto"
        )
    return value


def load() -> ModuleType | None:
    """Import ``aelab._C`` as far as ``AELAB_EXTENSION`` allows.

    Returns
    -------
    module or None
        None where the op has to run in plain PyTorch.

    Raises
    ------
    ImportError
        If the extension is required and missing, or there and broken.
    """
    wanted = mode()
    if wanted == "off":
        return None
    if importlib.util.find_spec("aelab._C") is None:
        missing = (
            "aelab runs without its extension: reparam_kl gives the same results in "
            "plain PyTorch, but slower. To build it, run in the course's folder: "
            f"{BUILD}"
        )
        if wanted == "require":
            raise ImportError(f"AELAB_EXTENSION=require, but {missing}")
        warnings.warn(missing, stacklevel=2)
        return None
    built = importlib.import_module("aelab._build").torch_version
    try:
        if _release(built) != _release(torch.__version__):
            raise ImportError("PyTorch keeps no binary interface between releases")
        module = importlib.import_module("aelab._C")
    except ImportError as error:
        raise ImportError(
            f"aelab._C is broken: it was built against torch {built}, and torch "
            f"{torch.__version__} is found ({error}). To build it again, run in the "
            f"course's folder: {BUILD}"
        ) from error
    if not tested():
        warnings.warn(
            f"aelab's extension is tested with torch {', '.join(TESTED)}, and not with "
            f"torch {torch.__version__}: run `make test` in the course's folder, or "
            "set AELAB_EXTENSION=off to do without it",
            stacklevel=2,
        )
    return module


def tested() -> bool:
    """Return whether the extension's tests ran on this release of torch.

    Returns
    -------
    bool
    """
    return ".".join(_release(torch.__version__)) in TESTED


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def cuda_compiled() -> str | None:
    """Return the CUDA version that the extension was built with, if any.

    Returns
    -------
    str or None
        Such as ``"13.0"``.
    """
    version = importlib.import_module("aelab._build").cuda_version
    return None if version == "none" else version
