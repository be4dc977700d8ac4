"""The checks at the border of this room, each an error in one form of sentence."""

from numbers import Integral

from torch import Tensor


def require(holds: bool, who: str, expected: str, got: object) -> None:
    """Raise ValueError unless a condition holds.

    Parameters
    ----------
    holds : bool
        The condition.
    who : str
        The function that asks.
    expected : str
        The condition in words.
    got : object
        What came in its place.

    Raises
    ------
    ValueError
        If the condition does not hold.
    """
    if not holds:
        raise ValueError(f"{who}: expected {expected}, but got {got}")


def require_known(who: str, what: str, name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError unless a name is one of those known.

    Parameters
    ----------
    who, what : str
        The function that asks, and what it asks for.
    name : str
        The name that it got.
    known : tuple of str
        The names that it knows.
    """
    require(name in known, who, f"{what} to be one of {', '.join(known)}", repr(name))


def require_count(who: str, what: str, value: int) -> None:
    """Raise TypeError unless a value is an integer, ValueError unless it is >= 1.

    Parameters
    ----------
    who, what : str
        The function that asks, and its argument.
    value : int
        What it got.
    """
    if not isinstance(value, Integral):
        got = type(value).__name__
        raise TypeError(f"{who}: expected an integer {what}, but got {got}")
    require(value >= 1, who, f"{what} >= 1", value)


def require_floats(who: str, x: Tensor) -> None:
    """Raise TypeError unless x is a tensor of floating-point numbers.

    Parameters
    ----------
    who : str
        The function that asks.
    x : Tensor
        What it got.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{who}: expected a floating-point tensor x, but got {got}")
