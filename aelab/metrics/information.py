"""Nats and bits: what a likelihood is worth, and the least that a chain can cost."""

import math

import torch
from torch import Tensor

from aelab.metrics.codes import check_floats


def bits_per_dimension(nll: Tensor, d: int, *, levels: int | None = None) -> Tensor:
    """Return negative log-likelihoods in bits for each of d numbers.

    A density depends on the unit of x; its logarithm may have any sign. Pictures of
    finitely many grey levels have *probabilities*, those of cells round them: if the
    density hardly changes within a cell, the density times the cell's volume, whose
    bits can be compared with the 8 that store a pixel of 256 levels as it is.

    Parameters
    ----------
    nll : Tensor of any shape
        ``-log p(x)`` in nats, summed over the d numbers of an example.
    d : int
        How many numbers an example has.
    levels : int, optional
        Number of grey levels that x takes, evenly spaced from 0 to 1: 17 for the
        digits, 256 for photographs. None if x is no grey level, or `nll` is already
        of probabilities, as a Bernoulli's is: nothing is added.

    Returns
    -------
    Tensor of the shape of nll
        ``nll / (d log 2) + log2(levels - 1)``.

    Raises
    ------
    TypeError
        If `nll` is not a floating-point tensor, or `d` or `levels` no integer.
    ValueError
        If d < 1 or levels < 2.

    Notes
    -----
    A density narrower than a cell gives no probability. Then draw each x uniformly
    from its cell before judging it: the mean is a bound.

    References
    ----------
    Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2016.
    """
    check_floats("bits_per_dimension", nll=nll)
    least = {"d": (d, 1)} | ({} if levels is None else {"levels": (levels, 2)})
    for name, (value, smallest) in least.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(
                f"bits_per_dimension: expected an integer {name}, but got {value!r}"
            )
        if value < smallest:
            raise ValueError(
                f"bits_per_dimension: expected {name} >= {smallest}, but got {value}"
            )
    cell = 0.0 if levels is None else math.log2(levels - 1)
    return nll / (d * math.log(2)) + cell


def bits_per_character(nll: Tensor) -> Tensor:
    """Return a cross-entropy a character in bits.

    Parameters
    ----------
    nll : Tensor of any shape
        -log p of a character, or its mean over some, in nats.

    Returns
    -------
    Tensor of the shape of nll
        ``nll / log 2``: how long a file gets, for each character, if what is likely is
        written briefly. Guessing among m alike costs log2(m).

    Raises
    ------
    TypeError
        If `nll` is not a floating-point tensor.
    """
    check_floats("bits_per_character", nll=nll)
    return nll / math.log(2)


def stationary(transition: Tensor) -> Tensor:
    """Return how often a Markov chain is in each state, in the long run.

    Parameters
    ----------
    transition : Tensor of shape (m, m)
        P: row i holds the probabilities of what follows i.

    Returns
    -------
    Tensor of shape (m,)
        The one distribution p with p P = p: the left eigenvector of eigenvalue 1,
        scaled to the sum 1.

    Raises
    ------
    TypeError
        If `transition` is not a floating-point tensor.
    ValueError
        If it is not square, a row is no distribution, or there are several such p,
        since the chain cannot leave every part of it.
    """
    check_floats("stationary", transition=transition)
    p = transition.double()
    if p.ndim != 2 or p.shape[0] != p.shape[1] or not len(p):
        raise ValueError(
            "stationary: expected transition of shape (m, m), but got "
            f"{tuple(transition.shape)}; row i holds what follows state i"
        )
    off = (p.sum(dim=1) - 1).abs().max().item()
    if not (p >= 0).all() or not off < 1e-5:  # NaN too
        raise ValueError(
            "stationary: expected rows of probabilities, but the smallest entry is "
            f"{p.min():.3g} and a row's sum is off by {off:.3g}; divide each row by "
            "its sum"
        )
    p = p / p.sum(dim=1, keepdim=True)
    values, vectors = torch.linalg.eig(p.T)
    ones = (values - 1).abs() < 1e-9
    if ones.sum() != 1:
        raise ValueError(
            "stationary: expected a chain that forgets where it began, but got "
            f"{int(ones.sum())} parts that are never left; let each follow the others"
        )
    vector = vectors[:, ones].real[:, 0]
    return (vector / vector.sum()).to(transition.dtype)


def entropy_rate(transition: Tensor) -> float:
    """Return the least cross-entropy a symbol with which a chain can be predicted.

    Parameters
    ----------
    transition : Tensor of shape (m, m)
        As for :func:`stationary`.

    Returns
    -------
    float
        In nats: the entropy of row i, averaged over how often the chain is in i. What
        is impossible adds nothing.

    Raises
    ------
    TypeError, ValueError
        As by :func:`stationary`.

    References
    ----------
    Shannon, A mathematical theory of communication, 1948.
    """
    p = stationary(transition).double()
    rows = torch.special.entr(transition.double()).sum(dim=1)  # -P log P
    return float(p @ rows)
