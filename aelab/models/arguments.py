"""The checks of the models' arguments, once: each names who asks."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Choice = TypeVar("Choice")


def sizes(who: str, name: str, value: int | Sequence[int], least: int = 1) -> list[int]:
    """Return sizes as a list, if they are integers of at least `least`.

    Parameters
    ----------
    who, name : str
        The class, and what its argument is called.
    value : int or sequence of int
        One size is a list of one.
    least : int

    Returns
    -------
    list of int

    Raises
    ------
    TypeError, ValueError
        If a size is no integer, or smaller.
    """
    found = list(value) if isinstance(value, Sequence) else [value]
    for size in found:
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{who}: expected integer {name}, but got {size!r}")
        if size < least:
            raise ValueError(f"{who}: expected {name} >= {least}, but got {size}")
    return found


def choice(who: str, name: str, value: str, among: Mapping[str, Choice]) -> Choice:
    """Return what a name stands for.

    Parameters
    ----------
    who, name, value : str
        The class, what its argument is called, and its value.
    among : dict from str
        The names that are known.

    Returns
    -------
    The entry of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if value not in among:
        raise ValueError(
            f"{who}: expected {name} to be one of {', '.join(among)}, but got {value!r}"
        )
    return among[value]


def rows(who: str, name: str, value: Tensor, width: int, more: str = "") -> None:
    """Check that there is one example a row, in floating-point numbers.

    Parameters
    ----------
    who, name : str
        The method, and what its argument is called.
    value : Tensor of shape (batch, width)
    width : int
    more : str
        What the width is made of, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is no floating-point tensor, or of another shape.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"{who}: expected {name} to be a floating-point tensor, but got {got}; "
            f"convert it with torch.as_tensor({name}, dtype=torch.float32)"
        )
    if value.ndim != 2 or value.shape[1] != width:
        raise ValueError(
            f"{who}: expected {name} of shape (batch, {more or width}), but got "
            f"{tuple(value.shape)}; pass one example a row, images by flatten(1)"
        )


def sequences(who: str, name: str, value: Tensor, n_symbols: int) -> None:
    """Check that there is one sequence a row, of symbols or of rows of numbers.

    Parameters
    ----------
    who, name : str
        The method, and what its argument is called.
    value : Tensor of shape (batch, time), int64, or (batch, time, n_symbols), floating
    n_symbols : int

    Raises
    ------
    TypeError, ValueError
        If it is neither, of another shape, without a step in time, or a symbol is not
        in the alphabet.
    """
    numbers = isinstance(value, Tensor) and value.is_floating_point()
    if not numbers and getattr(value, "dtype", None) != torch.int64:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"{who}: expected {name} to be an int64 tensor, but got {got}; number the "
            "symbols from 0"
        )
    form = ("batch", "time", n_symbols) if numbers else ("batch", "time")
    fits = value.ndim == len(form) and value.shape[1] >= 1
    if not fits or (numbers and value.shape[2] != n_symbols):
        raise ValueError(
            f"{who}: expected {name} of shape ({', '.join(map(str, form))}) with time "
            f">= 1, but got {tuple(value.shape)}; give each sequence one row"
        )
    if not numbers and len(value) and not 0 <= value.min() <= value.max() < n_symbols:
        raise ValueError(
            f"{who}: expected symbols from 0 to {n_symbols - 1} in {name}, but got "
            f"{value.min()} to {value.max()}; n_symbols is the size of the alphabet"
        )
