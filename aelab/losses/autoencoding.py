"""What autoencoders minimise: terms, penalties, and objectives made of them."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

Term = Callable[..., Tensor]
Penalty = Callable[[Tensor], Tensor]
Corruption = Callable[[Tensor, Generator], Tensor]
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


def l1(z: Tensor) -> Tensor:
    """Return the sum of the magnitudes of each code's entries.

    Parameters
    ----------
    z : Tensor of shape (batch, k)
        Codes of any sign.

    Returns
    -------
    Tensor of shape (batch,)
        In the units of `z`: a code half as large costs half as much. Eq. (3.2) of
        lecture 03.

    Raises
    ------
    ValueError
        If z is not of shape (batch, k).
    """
    _check_codes("l1", z)
    return z.abs().sum(dim=1)


def kl_sparsity(z: Tensor, rho: float) -> Tensor:
    """Return the divergence of each unit's mean activation from rho, summed over units.

    With rho_hat_j the mean of unit j over the batch, the sum over j of
    ``rho log(rho / rho_hat_j) + (1 - rho) log((1 - rho) / (1 - rho_hat_j))``, the
    divergence of a coin with probability rho_hat_j from one with probability rho.

    Parameters
    ----------
    z : Tensor of shape (batch, k)
        Activations in [0, 1], as a sigmoid gives them.
    rho : float
        The mean activation that costs nothing, between 0 and 1.

    Returns
    -------
    Tensor of shape (batch,)
        In nats: one number, of the batch as a whole, repeated for each example, Eq.
        (3.3) of lecture 03. It is infinite if a unit is 0, or 1, on the whole batch.

    Raises
    ------
    ValueError
        If z is not of shape (batch, k) or leaves [0, 1], or rho is not in (0, 1).

    References
    ----------
    Ng, Sparse autoencoder, lecture notes of CS294A, Stanford, 2011.
    """
    _check_codes("kl_sparsity", z)
    if not 0 < rho < 1:
        raise ValueError(
            f"kl_sparsity: expected rho with 0 < rho < 1, but got {rho}; it is the "
            "share of the time that a unit should be on"
        )
    low, high = (v.item() for v in torch.aminmax(z)) if z.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            "kl_sparsity: expected activations z in [0, 1], but got values in "
            f"[{low:.3g}, {high:.3g}]; take code_activation='sigmoid', or l1"
        )
    rho_hat = z.mean(dim=0)  # (k,)
    on = rho * (math.log(rho) - rho_hat.log())
    off = (1 - rho) * (math.log1p(-rho) - torch.log1p(-rho_hat))
    return (on + off).sum().expand(len(z))


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
    check_weight("reconstruction", "l2", l2)

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        error = judge("reconstruction", term, x, model(x))
        if l2 == 0:
            return {"loss": error}
        penalty = (l2 * weight_penalty(model)).expand_as(error)
        return {"loss": error + penalty, "reconstruction": error, "l2": penalty}

    return objective


def sparse(penalty: Penalty, weight: float, term: Term = squared_error) -> Objective:
    """Return the objective of a sparse autoencoder, Eq. (3.1): rebuild, and pay for z.

    Parameters
    ----------
    penalty : callable
        ``z -> Tensor of shape (batch,)``: :func:`l1`, or :func:`kl_sparsity` with its
        rho, as in ``functools.partial(kl_sparsity, rho=0.1)``.
    weight : float
        Weight lambda of the penalty.
    term : callable
        As for :func:`reconstruction`.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the keys ``loss`` and its two parts,
        ``reconstruction`` and ``sparsity``, the latter with its weight.

    Raises
    ------
    ValueError
        If `weight` is negative or not finite; by the objective, if the model's output
        has no code ``z``, or lacks the field that the term reads.
    """
    check_weight("sparse", "weight", weight)

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        output = model(x)
        error = judge("sparse", term, x, output)
        price = weight * penalty(_read("sparse", output, "z", "penalty"))
        return {"loss": error + price, "reconstruction": error, "sparsity": price}

    return objective


def denoising(
    corrupt: Corruption,
    term: Term = squared_error,
    *,
    target: Corruption | None = None,
) -> Objective:
    """Return a denoising autoencoder's objective, Eq. (3.8): damaged in, clean out.

    Parameters
    ----------
    corrupt : callable
        ``(x, generator) -> x_noisy``, what the model is to see. It is drawn anew for
        every batch, in training and in ``evaluate``; the model itself draws nothing.
    term : callable
        As for :func:`reconstruction`: ``(x, x_hat)`` or ``(x, logits)``.
    target : callable, optional
        ``(x, generator) -> label``, what the output is compared with; it is drawn
        after `corrupt`, so its noise is independent. Default: x, the clean example.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the key ``loss``.

    Raises
    ------
    TypeError
        If `corrupt` or `target` is no function, or what it returns is no tensor.
    ValueError
        If the term names no field of the output; by the term, if the shapes of label
        and output differ.

    References
    ----------
    Vincent et al., Extracting and composing robust features with denoising
    autoencoders, 2008. Lehtinen et al., Noise2Noise: learning image restoration
    without clean data, 2018.
    """
    steps = {"corrupt": corrupt} | ({} if target is None else {"target": target})
    for name, step in steps.items():
        if not callable(step):
            raise TypeError(
                f"denoising: expected {name} to be a function (x, generator) -> "
                f"Tensor, but got {type(step).__name__}; wrap it: lambda x, generator: "
                "data.mask(x, 0.3, generator=generator)"
            )

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        drawn = {name: step(x, generator) for name, step in steps.items()}
        for name, value in drawn.items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"denoising: expected {name} to return a Tensor, but got "
                    f"{type(value).__name__}; does it lack a return?"
                )
        output = model(drawn["corrupt"])
        return {"loss": judge("denoising", term, drawn.get("target", x), output)}

    return objective


def judge(who: str, term: Term, x: Tensor, output: Any) -> Tensor:
    """Return what a term says of a model's output.

    Parameters
    ----------
    who : str
        The objective that asks.
    term : callable
        Its first argument is `x`; the names of the others say which fields of the
        output they are.
    x : Tensor of shape (batch, d)
    output : NamedTuple
        What the model's forward pass gave.

    Returns
    -------
    Tensor of shape (batch,)

    Raises
    ------
    ValueError
        If the output lacks a field.
    """
    fields = list(inspect.signature(term).parameters)[1:]
    return term(x, *(_read(who, output, field) for field in fields))


def _read(who: str, output: Any, field: str, reader: str = "term") -> Tensor:
    if not hasattr(output, field):
        remedy = "name the term's arguments after the first after them"
        raise ValueError(
            f"{who}: expected the model's output to have {field}, which the {reader} "
            f"reads, but got {type(output).__name__} with "
            f"{', '.join(getattr(output, '_fields', [])) or 'no fields'}; "
            f"{remedy if reader == 'term' else 'train a model with a code'}"
        )
    return getattr(output, field)


def check_weight(who: str, name: str, value: float) -> None:
    """Check the weight of a penalty.

    Parameters
    ----------
    who, name : str
        The objective that asks, and what its argument is called.
    value : float

    Raises
    ------
    ValueError
        If it is negative or not finite.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"{who}: expected a finite {name} >= 0, but got {value}")


def _check_codes(who: str, z: Tensor) -> None:
    if z.ndim != 2:
        raise ValueError(
            f"{who}: expected codes z of shape (batch, k), but got {tuple(z.shape)}; "
            "pass one code a row"
        )


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
