"""The variational autoencoder: a code that is a distribution (lecture 04)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from aelab import ops
from aelab.models import arguments

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}
LIKELIHOODS: dict[str, type[nn.Module]] = {  # what makes x_hat of the logits
    "bernoulli": nn.Sigmoid,
    "gaussian": nn.Identity,
}


class VAEOutput(NamedTuple):
    """What a forward pass gives: the mean of p(x|z), z, and the posterior it is of."""

    x_hat: Tensor  # (batch, input_dim): mean of p(x | z)
    z: Tensor  # (batch, latent_dim): one sample of q(z | x)
    logits: Tensor  # (batch, input_dim): x_hat before the output activation
    mu: Tensor  # (batch, latent_dim): mean of q(z | x)
    logvar: Tensor  # (batch, latent_dim): log of its variances
    kl: Tensor  # (batch,): KL(q(z | x) || N(0, I)) in nats
    x_logvar: Tensor  # (): log of the variance of p(x | z), if that is Gaussian


class VAE(nn.Module):
    """An encoder to the mean and the log-variance of a code, and a decoder.

    q(z | x) = N(mu(x), diag exp(logvar(x))), p(z) = N(0, I), and p(x | z) Bernoulli
    with mean x_hat(z), or Gaussian with mean x_hat(z) and one variance for all pixels:
    Eqs. (4.8) and (4.9) of lecture 04a.

    Parameters
    ----------
    input_dim : int
        Length d of a row.
    latent_dim : int
        Length k of the code.
    hidden_dim : int or sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
        With ``()`` both are linear: probabilistic PCA's model.
    likelihood : str
        Of a pixel, given z: ``"bernoulli"`` or ``"gaussian"``.
    variance : float
        Variance of the Gaussian p(x | z), in squared units of x.
    learn_variance : bool
        Whether that variance is only where training begins.
    n_classes : int
        Number c of classes of a conditional VAE: rows are then x and, beside it, the
        one-hot label, and so is the input of the decoder: z and the label.
    activation : str
        After each hidden layer: one of ``ACTIVATIONS``.

    Attributes
    ----------
    encoder, decoder : torch.nn.Sequential
        The layers; `encoder` ends with mu and logvar side by side, `decoder` before
        the output activation.
    x_logvar : Tensor of shape ()
        Logarithm of the variance of p(x | z); a parameter, if it is learnt.

    Raises
    ------
    TypeError
        If a size is not an integer; by the methods, if rows are not floating-point.
    ValueError
        If a size or the variance is too small, or a name is unknown; by the methods,
        if rows are of another width.

    References
    ----------
    Kingma and Welling, Auto-encoding variational Bayes, 2014.
    """

    def __init__(
        self,
        input_dim: int,
        latent_dim: int,
        hidden_dim: int | Sequence[int] = 128,
        *,
        likelihood: str = "bernoulli",
        variance: float = 1.0,
        learn_variance: bool = False,
        n_classes: int = 0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        (self.input_dim,) = arguments.sizes("VAE", "input_dim", [input_dim])
        (self.latent_dim,) = arguments.sizes("VAE", "latent_dim", [latent_dim])
        (self.n_classes,) = arguments.sizes("VAE", "n_classes", [n_classes], least=0)
        hidden = arguments.sizes("VAE", "hidden_dim", hidden_dim)
        self.output = arguments.choice("VAE", "likelihood", likelihood, LIKELIHOODS)()
        f = arguments.choice("VAE", "activation", activation, ACTIVATIONS)
        if not 0 < variance < math.inf:
            raise ValueError(f"VAE: expected a finite variance > 0, but got {variance}")
        logvar = torch.tensor(math.log(variance))
        if learn_variance:
            self.x_logvar = nn.Parameter(logvar)
        else:
            self.register_buffer("x_logvar", logvar)

        def layers(*widths: int) -> nn.Sequential:
            dense = (nn.Linear(before, after) for before, after in pairwise(widths))
            modules = [m for layer in dense for m in (layer, f())]
            return nn.Sequential(*modules[:-1])

        self.encoder = layers(input_dim + n_classes, *hidden, 2 * latent_dim)
        self.decoder = layers(latent_dim + n_classes, *hidden[::-1], input_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log-variance of q(z | x).

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim + n_classes)

        Returns
        -------
        mu, logvar : Tensor of shape (batch, latent_dim)
        """
        self._check("encode", "x", x, self.input_dim)
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Return the means of p(x | z) for some codes.

        Parameters
        ----------
        z : Tensor of shape (batch, latent_dim + n_classes)

        Returns
        -------
        x_hat : Tensor of shape (batch, input_dim)
        """
        self._check("decode", "z", z, self.latent_dim)
        return self.output(self.decoder(z))

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> VAEOutput:
        """Encode, draw one code a row, and decode it.

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim + n_classes)
        eps : Tensor of shape (batch, latent_dim), optional
            The noise of z = mu + std eps; zeros give z = mu. Drawn if not given.
        generator : torch.Generator, optional
            Where drawn noise comes from.

        Returns
        -------
        VAEOutput
        """
        mu, logvar = self.encode(x)
        z, kl = ops.reparam_kl(mu, logvar, eps, generator=generator)
        logits = self.decoder(torch.cat([z, x[:, self.input_dim :]], dim=1))
        x_hat = self.output(logits)
        return VAEOutput(x_hat, z, logits, mu, logvar, kl, self.x_logvar)

    def _check(self, method: str, name: str, value: Tensor, width: int) -> None:
        c = self.n_classes
        more = f"{width} + {c} of the one-hot label" if c else ""
        arguments.rows(f"VAE.{method}", name, value, width + c, more)
