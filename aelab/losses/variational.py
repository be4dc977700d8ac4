"""What variational autoencoders minimise: negative ELBO, tighter bound, VQ-VAE."""

import math

import torch
from torch import Generator, Tensor, nn

from aelab.losses.autoencoding import (
    Objective,
    Term,
    bernoulli,
    check_weight,
    judge,
    squared_error,
)


def gaussian(x: Tensor, x_hat: Tensor, x_logvar: Tensor) -> Tensor:
    """Return -log N(x; x_hat, exp(x_logvar) I), summed over the features.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Data, and the means that a decoder gives.
    x_logvar : Tensor of shape ()
        Logarithm of the variance of every feature, in squared units of `x`.

    Returns
    -------
    Tensor of shape (batch,)
        In nats, with all constants: ``d/2 (log 2 pi + x_logvar)`` plus the squared
        error divided by twice the variance, Eq. (4.24) of lecture 04a. At variance 1/2
        that is the squared error itself, up to a constant.

    Raises
    ------
    ValueError
        If the shapes of x and x_hat differ, or x_logvar is no scalar.
    """
    if x_logvar.ndim != 0:
        raise ValueError(
            "gaussian: expected x_logvar to be a scalar, one variance for all "
            f"features, but got shape {tuple(x_logvar.shape)}"
        )
    constant = x.shape[-1] * (math.log(2 * math.pi) + x_logvar)
    return (squared_error(x, x_hat) * torch.exp(-x_logvar) + constant) / 2


def elbo(
    term: Term = bernoulli, *, beta: float = 1.0, free_bits: float = 0.0
) -> Objective:
    """Return the objective of a variational autoencoder, Eq. (4.14): nll + beta KL.

    Parameters
    ----------
    term : callable
        -log p(x | z) of every example, such as :func:`bernoulli` or :func:`gaussian`.
        The names of its arguments after the first say which fields of the model's
        output it reads.
    beta : float
        Weight of the KL. At 1 the loss is the negative ELBO, an upper bound on
        -log p(x); else it is beta-VAE's.
    free_bits : float
        Nats of each unit's mean KL over the batch that cost nothing.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the keys ``loss``, ``nll`` and ``kl``,
        in nats; the model is called with ``generator=``. Of rows that are wider than
        the reconstruction, the rest is the label of a conditional model.

    Raises
    ------
    ValueError
        If beta or free_bits is negative or not finite.

    References
    ----------
    Kingma and Welling, Auto-encoding variational Bayes, 2014. Higgins et al.,
    beta-VAE, 2017. Kingma et al., Improved variational inference with inverse
    autoregressive flow, 2016 (free bits).
    """
    check_weight("elbo", "beta", beta)
    check_weight("elbo", "free_bits", free_bits)

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        output = model(x, generator=generator)
        nll = judge("elbo", term, x[:, : output.x_hat.shape[1]], output)
        price = output.kl
        if free_bits > 0:
            mu, logvar = output.mu, output.logvar
            units = (mu.square() + torch.expm1(logvar) - logvar).mean(dim=0) / 2
            price = units.clamp(min=free_bits).sum().expand_as(nll)
        return {"loss": nll + beta * price, "nll": nll, "kl": output.kl}

    return objective


def importance_weighted(n_samples: int, term: Term = bernoulli) -> Objective:
    """Return the objective whose bound on -log p(x) tightens with the samples.

    Parameters
    ----------
    n_samples : int
        Number K of codes drawn for each example; with one it is the negative ELBO,
        with a sample of log q - log p in the place of the KL.
    term : callable
        As for :func:`elbo`.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the key ``loss``, in nats:
        ``-log(1/K sum_k p(x | z_k) p(z_k) / q(z_k | x))``.

    Raises
    ------
    TypeError, ValueError
        If `n_samples` is no integer, or below 1.

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016.
    """
    if not isinstance(n_samples, int) or isinstance(n_samples, bool):
        raise TypeError(
            f"importance_weighted: expected integer n_samples, but got {n_samples!r}"
        )
    if n_samples < 1:
        raise ValueError(
            f"importance_weighted: expected n_samples >= 1, but got {n_samples}"
        )

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        output = model(x.repeat_interleave(n_samples, dim=0), generator=generator)
        rows = x[:, : output.x_hat.shape[1]].repeat_interleave(n_samples, dim=0)
        nll = judge("importance_weighted", term, rows, output)
        eps = (output.z - output.mu) * torch.exp(-output.logvar / 2)
        # log p(z) - log q(z | x): the constants cancel.
        ratio = (eps.square() + output.logvar - output.z.square()).sum(dim=1) / 2
        weights = (ratio - nll).reshape(len(x), n_samples)  # logarithms of w
        return {"loss": math.log(n_samples) - weights.logsumexp(dim=1)}

    return objective


def vector_quantised(
    term: Term = squared_error, *, commitment: float = 0.25
) -> Objective:
    """Return the objective of a VQ-VAE: nll, and two pulls between code and codebook.

    Parameters
    ----------
    term : callable
        As for :func:`elbo`; it trains the decoder and, straight through the choice,
        the encoder.
    commitment : float
        How hard the encoder is pulled to the vector that stands for its answer, beside
        1 for the pull of that vector to the answer.

    Returns
    -------
    objective
        ``(model, x, generator) -> dict`` with the keys ``loss``, ``nll``, ``codebook``
        and ``commitment``. The last two are both the squared distance of answer and
        codebook, one with a gradient to the codebook only, one to the encoder only.
        A uniform prior of the codes makes the KL a constant, which is left out.

    Raises
    ------
    ValueError
        If commitment is negative or not finite; by the objective, if the model's
        output has no codes.

    References
    ----------
    Van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning,
    2017, Eq. 3.
    """
    check_weight("vector_quantised", "commitment", commitment)

    def objective(
        model: nn.Module, x: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        output = model(x, generator=generator)
        if not hasattr(output, "encoded"):
            raise ValueError(
                "vector_quantised: expected the model's output to have encoded, what "
                f"the encoder answered, but got {type(output).__name__}; train a model "
                "with a codebook"
            )
        nll = judge("vector_quantised", term, x, output)
        z, encoded = output.z, output.encoded
        codebook = (z - encoded.detach()).square().sum(dim=(1, 2))
        pull = (z.detach() - encoded).square().sum(dim=(1, 2))
        loss = nll + codebook + commitment * pull
        return {"loss": loss, "nll": nll, "codebook": codebook, "commitment": pull}

    return objective
