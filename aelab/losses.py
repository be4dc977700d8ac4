"""What is minimised: terms, one number an example, and objectives made of them.

A term compares data with what a decoder gives, summed over the features; the mean over
the batch is taken in ``training``, once. Terms are negative log-likelihoods in nats up
to a constant, the squared error one of a Gaussian of variance 1/2.

An objective is a function ``(model, x, generator) -> dict of terms`` whose key ``loss``
is what training minimises; the other keys are curves to look at. A new idea is a new
objective, and ``training`` stays as it is.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

Term = Callable[[Tensor, Tensor], Tensor]
Objective = Callable[[nn.Module, Tensor, Generator], dict[str, Tensor]]


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the squared error of each example, summed over its features.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Data and reconstruction.

    Returns
    -------
    Tensor of shape (batch,)
        d times the mean squared error of each row, in squared units of `x`. Its mean
        over the batch is Eq. (1.2) of lecture 01.

    Raises
    ------
    ValueError
        If the shapes differ: nothing is broadcast.
    """
    _check("squared_error", x, x_hat, "x_hat")
    return (x - x_hat).square().sum(dim=1)


def bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy of pixels, each a coin, summed over the features.

    Parameters
    ----------
    x : Tensor of shape (batch, d)
        Zeros and ones, or intensities in between.
    logits : Tensor of shape (batch, d)
        What the coin's probability is the sigmoid of: the decoder before its output
        activation. The sigmoid itself would lose its digits where it saturates.

    Returns
    -------
    Tensor of shape (batch,)
        In nats.

    Raises
    ------
    ValueError
        If the shapes differ, or x leaves [0, 1].
    """
    _check("bernoulli", x, logits, "logits")
    _check_shares("bernoulli", x)
    terms = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return terms.sum(dim=1)


def categorical(x: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy of one choice among d.

    Parameters
    ----------
    x : Tensor of shape (batch, d)
        One-hot rows, or probabilities that sum to 1.
    logits : Tensor of shape (batch, d)
        What the probabilities are the softmax of.

    Returns
    -------
    Tensor of shape (batch,)
        In nats.

    Raises
    ------
    ValueError
        If the shapes differ, x leaves [0, 1], or a row does not sum to 1.
    """
    _check("categorical", x, logits, "logits")
    _check_shares("categorical", x)
    off = (x.sum(dim=1) - 1).abs().max().item() if len(x) else 0.0
    if off > 1e-3:
        raise ValueError(
            f"categorical: expected rows of x that sum to 1, but one is {off:.3g} off; "
            "encode a column of classes with torch.nn.functional.one_hot"
        )
    return -(x * F.log_softmax(logits, dim=1)).sum(dim=1)


def mixed(*blocks: tuple[Term, int]) -> Term:
    """Return the term of a table whose columns are of several kinds.

    Parameters
    ----------
    *blocks : tuple of term and int
        From left to right, a term and how many columns it judges:
        ``mixed((squared_error, 2), (bernoulli, 1), (categorical, 3))`` is for two
        numbers, one yes or no, and one of three classes, one-hot. A squared error
        reads the last layer as the number itself.

    Returns
    -------
    term
        ``(x, logits) -> Tensor of shape (batch,)``, the sum over the blocks.

    Raises
    ------
    ValueError
        If there is no block, or a width is below 1; by the term, if the columns of
        its input are more or fewer.
    """
    widths = [width for _, width in blocks]
    if not blocks or min(widths) < 1:
        raise ValueError(
            f"mixed: expected blocks of at least one column, but got widths {widths}; "
            "write mixed((term, width), ...)"
        )

    def term(x: Tensor, logits: Tensor) -> Tensor:
        _check("mixed", x, logits, "logits")
        if x.shape[1] != sum(widths):
            raise ValueError(
                f"mixed: expected x with {' + '.join(map(str, widths))} columns, but "
                f"got {x.shape[1]}; give each column to one block"
            )
        parts = zip(blocks, x.split(widths, 1), logits.split(widths, 1), strict=True)
        return torch.stack([of(a, b) for (of, _), a, b in parts]).sum(dim=0)

    return term


def weight_penalty(model: nn.Module) -> Tensor:
    """Return the sum of the squares of all weights, biases excepted.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters of two dimensions or more count, a shared one once.

    Returns
    -------
    Tensor
        A scalar: ||W1||^2 + ||W2||^2 + ...
    """
    weights = [p for p in model.parameters() if p.ndim > 1]
    return torch.stack([weight.square().sum() for weight in weights]).sum()


def reconstruction(term: Term = squared_error, *, l2: float = 0.0) -> Objective:
    """Return the objective of a plain autoencoder: the input is its own label.

    Parameters
    ----------
    term : callable
        ``(x, x_hat)`` or ``(x, logits) -> Tensor of shape (batch,)``. The name of its
        second argument says which field of the model's output it reads.
    l2 : float
        Weight lambda of :func:`weight_penalty`.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the key ``loss``; with a penalty also
        its two parts, ``reconstruction`` and ``l2``.

    Raises
    ------
    ValueError
        If `l2` is negative or not finite, or the term names no field of the output.

    Notes
    -----
    A linear autoencoder of centred data that minimises the mean squared error, summed
    over features, plus l2 (||W1||^2 + ||W2||^2) has W1 = W2^T, and W2 the singular
    values sqrt(1 - l2 / s_i^2), where s_i^2 > l2 are the largest eigenvalues of
    X^T X / n: the covariance with 1/n, not 1/(n - 1).

    References
    ----------
    Kunin et al., Loss landscapes of regularized linear autoencoders, 2019.
    """
    if not 0 <= l2 < float("inf"):
        raise ValueError(f"reconstruction: expected a finite l2 >= 0, but got {l2}")
    field = list(inspect.signature(term).parameters)[1]

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        output = model(x)
        if not hasattr(output, field):
            raise ValueError(
                f"reconstruction: expected the model's output to have {field}, which "
                f"the term reads, but got {type(output).__name__} with "
                f"{', '.join(getattr(output, '_fields', [])) or 'no fields'}; name the "
                "term's second argument after one of them"
            )
        error = term(x, getattr(output, field))
        if l2 == 0:
            return {"loss": error}
        penalty = (l2 * weight_penalty(model)).expand_as(error)
        return {"loss": error + penalty, "reconstruction": error, "l2": penalty}

    return objective


def _check(who: str, x: Tensor, other: Tensor, name: str) -> None:
    if x.ndim != 2 or x.shape != other.shape:
        raise ValueError(
            f"{who}: expected x and {name} of one shape (batch, d), but got "
            f"{tuple(x.shape)} and {tuple(other.shape)}; nothing is broadcast"
        )


def _check_shares(who: str, x: Tensor) -> None:
    if len(x) == 0:
        return
    low, high = (value.item() for value in torch.aminmax(x))
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{who}: expected x in [0, 1], but got values in [{low:.3g}, {high:.3g}]; "
            "rescale the data, or use squared_error"
        )
