"""The VQ-VAE: an autoencoder whose code is a few words of a dictionary (lecture 04)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aelab.models import arguments

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class VQVAEOutput(NamedTuple):
    """What a forward pass gives: the reconstruction, and the code in three forms."""

    x_hat: Tensor  # (batch, input_dim)
    z: Tensor  # (batch, n_slots, code_dim): the codebook's vectors
    codes: Tensor  # (batch, n_slots), int64: which of them
    encoded: Tensor  # (batch, n_slots, code_dim): what the encoder had answered


class VQVAE(nn.Module):
    """An encoder to some vectors, each replaced by the nearest one of a codebook.

    The choice has no slope. The decoder's gradient is handed to the encoder as if
    nothing had been replaced (straight-through); the codebook gets none of it, and
    learns by :func:`aelab.losses.vector_quantised`.

    Parameters
    ----------
    input_dim : int
        Length d of a row.
    n_slots : int
        Vectors a row.
    code_dim : int
        Length of a vector.
    hidden_dim : int or sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    n_codes : int
        Vectors in the codebook, which all slots share.
    activation : str
        After each hidden layer: one of ``ACTIVATIONS``.

    Attributes
    ----------
    encoder, decoder : torch.nn.Sequential
        The layers, from a row to its slots side by side, and back.
    codebook : torch.nn.Parameter of shape (n_codes, code_dim)
        Starts as draws from N(0, I / code_dim).
    latent_dim : int
        Numbers that the decoder gets, n_slots * code_dim. The code itself is n_slots
        choices, n_slots * log(n_codes) nats at most.

    Raises
    ------
    TypeError
        If a size is not an integer; by the methods, if rows are not floating-point or
        codes not int64.
    ValueError
        If a size is too small, or the activation unknown; by the methods, if the shape
        is another, or a code is not in the codebook.

    References
    ----------
    Van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning,
    2017.
    """

    def __init__(
        self,
        input_dim: int,
        n_slots: int,
        code_dim: int,
        hidden_dim: int | Sequence[int] = 128,
        *,
        n_codes: int,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        (self.input_dim,) = arguments.sizes("VQVAE", "input_dim", [input_dim])
        (self.n_slots,) = arguments.sizes("VQVAE", "n_slots", [n_slots])
        (self.code_dim,) = arguments.sizes("VQVAE", "code_dim", [code_dim])
        (self.n_codes,) = arguments.sizes("VQVAE", "n_codes", [n_codes])
        hidden = arguments.sizes("VQVAE", "hidden_dim", hidden_dim)
        f = arguments.choice("VQVAE", "activation", activation, ACTIVATIONS)
        self.latent_dim = n_slots * code_dim

        def layers(*widths: int) -> nn.Sequential:
            dense = (nn.Linear(before, after) for before, after in pairwise(widths))
            modules = [m for layer in dense for m in (layer, f())]
            return nn.Sequential(*modules[:-1])

        self.encoder = layers(input_dim, *hidden, self.latent_dim)
        self.decoder = layers(self.latent_dim, *hidden[::-1], input_dim)
        self.codebook = nn.Parameter(torch.randn(n_codes, code_dim) / code_dim**0.5)

    def encode(self, x: Tensor) -> Tensor:
        """Return which vectors of the codebook stand for each row.

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim)

        Returns
        -------
        codes : Tensor of shape (batch, n_slots), int64
            From 0 to n_codes - 1.
        """
        return self._nearest(self._vectors("encode", x))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the reconstructions of some choices.

        Parameters
        ----------
        codes : Tensor of shape (batch, n_slots), int64

        Returns
        -------
        x_hat : Tensor of shape (batch, input_dim)
        """
        self._check(codes)
        return self.decoder(self.codebook[codes].flatten(1))

    def forward(self, x: Tensor, *, generator: object = None) -> VQVAEOutput:
        """Encode, choose, and decode, with a gradient to the encoder.

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim)
        generator : object
            Not used: nothing is drawn. Taken since other models draw.

        Returns
        -------
        VQVAEOutput
        """
        encoded = self._vectors("forward", x)
        codes = self._nearest(encoded)
        z = self.codebook[codes]
        straight = encoded + (z - encoded).detach()  # its value is z, its slope encoded
        return VQVAEOutput(self.decoder(straight.flatten(1)), z, codes, encoded)

    def _vectors(self, method: str, x: Tensor) -> Tensor:
        arguments.rows(f"VQVAE.{method}", "x", x, self.input_dim)
        return self.encoder(x).unflatten(1, (self.n_slots, self.code_dim))

    def _nearest(self, encoded: Tensor) -> Tensor:
        # By differences, and not by the products that are faster and lose digits.
        exact = "donot_use_mm_for_euclid_dist"
        with torch.no_grad():
            return torch.cdist(encoded, self.codebook, compute_mode=exact).argmin(dim=2)

    def _check(self, codes: Tensor) -> None:
        if not isinstance(codes, Tensor) or codes.dtype != torch.int64:
            got = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
            raise TypeError(
                f"VQVAE.decode: expected codes to be an int64 tensor, but got {got}; "
                "pass what encode returns"
            )
        if codes.ndim != 2 or codes.shape[1] != self.n_slots:
            raise ValueError(
                f"VQVAE.decode: expected codes of shape (batch, {self.n_slots}), but "
                f"got {tuple(codes.shape)}; pass what encode returns"
            )
        if codes.numel() and not 0 <= codes.min() <= codes.max() < self.n_codes:
            raise ValueError(
                f"VQVAE.decode: expected codes from 0 to {self.n_codes - 1}, but got "
                f"{codes.min()} to {codes.max()}; pass what encode returns"
            )
