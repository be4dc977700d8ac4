"""Training on file: written whole or not at all, read without running any code."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor, nn

Parts = tuple[nn.Module, torch.optim.Optimizer, Generator]


def save(path: Path, parts: Parts, about: dict[str, Any]) -> None:
    """Write the state of a training to one safetensors file.

    Parameters
    ----------
    path : Path
        Replaced at the very end: a reader meets the old file or the new one, whole.
    parts : tuple of model, optimizer and generator
        What is saved.
    about : dict
        Whatever else belongs to it, as JSON can hold it.

    Raises
    ------
    OSError
        If the disk is full or the folder missing; an older file is then untouched.
    """
    model, optimizer, generator = parts
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["generator"] = generator.get_state()
    # Clones, since the format holds no memory that two tensors share.
    tensors = {name: value.clone().contiguous() for name, value in tensors.items()}
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(to_bytes(tensors, {"about": json.dumps(about)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path, parts: Parts, expected: dict[str, Any]) -> dict[str, Any]:
    """Bring model, optimizer and generator into the state that a file holds.

    Parameters
    ----------
    path : Path
        What :func:`save` wrote.
    parts : tuple of model, optimizer and generator
        Changed in place; made like those that were saved.
    expected : dict
        Entries that `about` must have, with these values.

    Returns
    -------
    about : dict
        What was saved beside the parts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, or one of something else.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint: expected a file {path}, but got none; train without resume "
            "first"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(file.metadata()["about"])
        for name, value in expected.items():
            if about[name] != value:
                raise ValueError(f"one of {name} = {about[name]}, not {value}")
        model, optimizer, generator = parts
        model.load_state_dict(_under("model.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, entry = name.split(".", 1)
            state.setdefault(int(number), {})[entry] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        generator.set_state(tensors["generator"])
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"checkpoint: expected {path} to hold this training, but got {error}; "
            "resume with the same model, data and arguments, or train anew"
        ) from error
    return about


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in own.items()}
