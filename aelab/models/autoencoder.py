"""The autoencoder: PCA's network, bent and stacked (lecture 02)."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from aelab.models import arguments

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}
Pair = tuple[int, int]


class AutoencoderOutput(NamedTuple):
    """What a forward pass gives: the reconstruction, the code, and the last layer."""

    x_hat: Tensor  # (batch, input_dim)
    z: Tensor  # (batch, latent_dim)
    logits: Tensor  # (batch, input_dim): x_hat before the output activation


class Autoencoder(nn.Module):
    """An encoder down to a bottleneck, and its mirror image as decoder.

    Parameters
    ----------
    input_dim : int
        Length d of a row. Images come as flattened rows, also for convolutions.
    latent_dim : int
        Length k of the code. It may exceed d.
    hidden_dim : int or sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
        With ``()`` and the identity, this is PCA's network.
    channels : int or sequence of int
        Channels of convolutions before the hidden layers, if any: 3 x 3 kernels that
        halve height and width, rounding up.
    shape : tuple of int, optional
        Height and width of the images for the convolutions. Default: square.
    activation : str
        After each hidden layer: one of ``ACTIVATIONS``.
    code_activation, output_activation : str
        After the last layer of the encoder, and of the decoder.
    bias : bool
        Whether the layers have biases.
    tied : bool
        Whether the decoder's weights are the encoder's, transposed; not so biases.
    residual : int
        Number of residual blocks x + W2 f(W1 x + b1) + b2 after each hidden layer.
    top_k : int, optional
        How many entries of a code stay, the largest; the others become 0.
    unit_norm : bool
        Whether the columns of the first weight of the decoder, one for each entry of
        the code, are divided by their Euclidean norms whenever the weight is used.

    Attributes
    ----------
    encoder, decoder : torch.nn.Sequential
        The layers; `decoder` ends before the output activation.

    Raises
    ------
    TypeError
        If a size is not an integer; by the methods, if rows are not floating-point.
    ValueError
        If a size is too small, `shape` or `top_k` does not fit, an activation is
        unknown, or `unit_norm` meets tied weights; by the methods, if rows are of
        another width.

    Notes
    -----
    The first weights come from torch's global generator, as for every layer of torch:
    ``torch.manual_seed`` right before makes a model reproducible.
    """

    def __init__(
        self,
        input_dim: int,
        latent_dim: int,
        hidden_dim: int | Sequence[int] = 128,
        *,
        channels: int | Sequence[int] = (),
        shape: tuple[int, int] | None = None,
        activation: str = "relu",
        code_activation: str = "identity",
        output_activation: str = "identity",
        bias: bool = True,
        tied: bool = False,
        residual: int = 0,
        top_k: int | None = None,
        unit_norm: bool = False,
    ) -> None:
        super().__init__()
        (self.input_dim,) = arguments.sizes("Autoencoder", "input_dim", [input_dim])
        (self.latent_dim,) = arguments.sizes("Autoencoder", "latent_dim", [latent_dim])
        hidden = arguments.sizes("Autoencoder", "hidden_dim", hidden_dim)
        channels = arguments.sizes("Autoencoder", "channels", channels)
        arguments.sizes("Autoencoder", "residual", [residual], least=0)
        (kept,) = arguments.sizes(
            "Autoencoder", "top_k", [latent_dim if top_k is None else top_k]
        )
        if kept > latent_dim:
            raise ValueError(
                f"Autoencoder: expected top_k <= latent_dim = {latent_dim}, but got "
                f"{top_k}; a code has no more entries"
            )
        if unit_norm and tied:
            raise ValueError(
                "Autoencoder: expected unit_norm or tied, but got both; a tied decoder "
                "has no columns of its own"
            )
        f = arguments.choice("Autoencoder", "activation", activation, ACTIVATIONS)

        # Each layer beside its mirror image: read the right column upwards.
        pairs: list[tuple[nn.Module, nn.Module]] = []

        def add(layer: nn.Module, even: Pair = (0, 0)) -> None:
            pairs.append((layer, _mirror(layer, tied, even)))

        width = input_dim
        if channels:
            height, breadth = _image_shape(input_dim, shape)
            pairs.append((nn.Unflatten(1, (1, height, breadth)), nn.Flatten()))
            for before, after in pairwise([1, *channels]):
                conv = partial(nn.Conv2d, after, after, 3, padding=1, bias=bias)
                even = (1 - height % 2, 1 - breadth % 2)  # what halving forgets
                add(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=bias), even)
                add(f())
                for _ in range(residual):
                    add(_Residual(conv(), f(), conv()))
                height, breadth = (height + 1) // 2, (breadth + 1) // 2
            stack = (channels[-1], height, breadth)
            pairs.append((nn.Flatten(), nn.Unflatten(1, stack)))
            width = math.prod(stack)
        for before, after in pairwise([width, *hidden]):
            dense = partial(nn.Linear, after, after, bias)
            add(nn.Linear(before, after, bias))
            add(f())
            for _ in range(residual):
                add(_Residual(dense(), f(), dense()))
        add(nn.Linear(hidden[-1] if hidden else width, latent_dim, bias))

        last = arguments.choice(
            "Autoencoder", "code_activation", code_activation, ACTIVATIONS
        )()
        if top_k is not None:
            last = nn.Sequential(last, _TopK(top_k))
        self.encoder = nn.Sequential(*(left for left, _ in pairs), last)
        self.decoder = nn.Sequential(*(right for _, right in pairs[::-1]))
        self.output = arguments.choice(
            "Autoencoder", "output_activation", output_activation, ACTIVATIONS
        )()
        if unit_norm:
            parametrize.register_parametrization(
                self.decoder[0], "weight", _UnitColumns()
            )

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of some rows.

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim)

        Returns
        -------
        z : Tensor of shape (batch, latent_dim)
        """
        arguments.rows("Autoencoder.encode", "x", x, self.input_dim)
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstructions that some codes stand for.

        Parameters
        ----------
        z : Tensor of shape (batch, latent_dim)

        Returns
        -------
        x_hat : Tensor of shape (batch, input_dim)
        """
        arguments.rows("Autoencoder.decode", "z", z, self.latent_dim)
        return self.output(self.decoder(z))

    def forward(self, x: Tensor) -> AutoencoderOutput:
        """Encode and decode.

        Parameters
        ----------
        x : Tensor of shape (batch, input_dim)

        Returns
        -------
        AutoencoderOutput
            `x_hat`, `z`, and `logits`: `x_hat` before the output activation.
        """
        z = self.encode(x)
        logits = self.decoder(z)
        return AutoencoderOutput(self.output(logits), z, logits)


class _Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class _TopK(nn.Module):
    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k

    def forward(self, z: Tensor) -> Tensor:
        largest = z.topk(self.top_k, dim=1)
        return torch.zeros_like(z).scatter(1, largest.indices, largest.values)

    def extra_repr(self) -> str:
        return str(self.top_k)


class _UnitColumns(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return F.normalize(weight, dim=0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight  # what is assigned is stored as it is


class _Transposed(nn.Module):
    """A layer backwards: its weight, shared and transposed, and a bias of its own."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, output_padding: Pair) -> None:
        super().__init__()
        # A tuple, since a module in an attribute would be registered here once more.
        self.shared = (layer,)
        self.output_padding = output_padding
        size = layer.weight.shape[1]
        self.bias = None if layer.bias is None else nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.shared
        if isinstance(layer, nn.Linear):
            return F.linear(x, layer.weight.T, self.bias)
        return F.conv_transpose2d(
            x, layer.weight, self.bias, layer.stride, 1, self.output_padding
        )


def _mirror(layer: nn.Module, tied: bool, even: Pair = (0, 0)) -> nn.Module:
    if isinstance(layer, _Residual):
        return _Residual(*(_mirror(inner, tied) for inner in reversed(layer)))
    if isinstance(layer, nn.Linear | nn.Conv2d):
        if tied:
            return _Transposed(layer, even)
        bias = layer.bias is not None
        if isinstance(layer, nn.Linear):
            return nn.Linear(layer.out_features, layer.in_features, bias)
        back = partial(nn.ConvTranspose2d, kernel_size=3, padding=1, bias=bias)
        channels = layer.out_channels, layer.in_channels
        return back(*channels, stride=layer.stride[0], output_padding=even)
    return type(layer)()  # an activation


def _image_shape(input_dim: int, shape: Pair | None) -> Pair:
    height, width = shape or 2 * (math.isqrt(input_dim),)
    if height * width != input_dim:
        raise ValueError(
            f"Autoencoder: expected shape with height * width = {input_dim}, but got "
            f"{(height, width)}; pass shape=(height, width) of the images"
        )
    return height, width
