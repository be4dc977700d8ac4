"""Sequence models: guess the next symbol from all before it (lecture 05)."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from aelab.models import arguments

RECURRENT: dict[str, type[nn.RNN] | type[nn.GRU]] = {"rnn": nn.RNN, "gru": nn.GRU}
KINDS = (*RECURRENT, "transformer")


class SequenceOutput(NamedTuple):
    """What a forward pass gives: a guess after every symbol, and what is remembered."""

    logits: Tensor  # (batch, time, n_symbols): at t, of the symbol t + 1
    state: Tensor  # what forward needs to read on: see SequenceModel


class SequenceModel(nn.Module):
    """From the symbols so far to the logits of the next one, at every place.

    A symbol becomes a vector, a core mixes it with those before it, a last layer makes
    logits. Three cores have one interface: ``core(vectors, state) -> vectors, state``.

    Parameters
    ----------
    n_symbols : int
        Size of the alphabet.
    hidden_dim : int
        Length of every vector inside.
    kind : str
        The core: ``"rnn"``, ``"gru"`` or ``"transformer"``, one causal :class:`Block`.
    context : int
        The most symbols that the transformer can see. The others read any number.
    n_heads : int
        Heads of the transformer's attention; they share `hidden_dim` evenly.

    Attributes
    ----------
    embedding : torch.nn.Embedding
        The vector of each symbol.
    core : torch.nn.Module
        ``torch.nn.RNN`` (tanh), ``torch.nn.GRU`` or :class:`Block`.
    head : torch.nn.Linear
        From vectors to logits.

    Raises
    ------
    TypeError
        If a size is not an integer; by the methods, if symbols are not int64.
    ValueError
        If a size is too small, heads cannot share evenly, or the kind is unknown; by
        the methods, if a symbol is not in the alphabet, or a shape does not fit.

    Notes
    -----
    The state of the recurrent cores is h, of shape (1, batch, hidden_dim), however
    long the past. That of the transformer is every key and value so far, the *KV
    cache*: (2, batch, n_heads, past, hidden_dim / n_heads).

    References
    ----------
    Elman, Finding structure in time, 1990. Cho et al., Learning phrase representations
    using RNN encoder-decoder, 2014 (GRU). Vaswani et al., Attention is all you need,
    2017.
    """

    def __init__(
        self,
        n_symbols: int,
        hidden_dim: int,
        kind: str = "gru",
        *,
        context: int = 64,
        n_heads: int = 4,
    ) -> None:
        super().__init__()
        (self.n_symbols,) = arguments.sizes("SequenceModel", "n_symbols", [n_symbols])
        (width,) = arguments.sizes("SequenceModel", "hidden_dim", [hidden_dim])
        arguments.choice("SequenceModel", "kind", kind, dict.fromkeys(KINDS))
        self.hidden_dim, self.kind = width, kind
        self.embedding = nn.Embedding(n_symbols, width)
        self.core: nn.Module
        if kind in RECURRENT:
            self.core = RECURRENT[kind](width, width, batch_first=True)
        else:
            self.core = Block(width, context, n_heads)
            nn.init.normal_(self.embedding.weight, std=0.1)  # as the positions
        self.head = nn.Linear(width, n_symbols)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> SequenceOutput:
        """Return the logits of the symbol after each of these, and the state then.

        Parameters
        ----------
        tokens : Tensor of shape (batch, time), int64
            Symbols from 0 to n_symbols - 1. Or floating-point rows of shape (batch,
            time, n_symbols), of which a symbol is the one-hot case: the vector of a row
            is the sum of the symbols' vectors, weighted by it.
        state : Tensor, optional
            What an earlier call returned: these symbols then go on after those, and the
            answers are those of one call with all. Without it a sequence begins.

        Returns
        -------
        SequenceOutput
        """
        arguments.sequences("SequenceModel.forward", "tokens", tokens, self.n_symbols)
        if state is not None and state.shape[1] != len(tokens):
            raise ValueError(
                f"SequenceModel.forward: expected the state of {len(tokens)} "
                f"sequences, but got that of {state.shape[1]}; pass what these left"
            )
        numbers = tokens.is_floating_point()
        x = tokens @ self.embedding.weight if numbers else self.embedding(tokens)
        h, state = self.core(x, state)
        return SequenceOutput(self.head(h), state)

    @torch.no_grad()
    def sample(
        self,
        start: Tensor,
        n: int,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Write on: draw a symbol, append it, and ask for the next.

        Parameters
        ----------
        start : Tensor of shape (batch, time), int64
            What each sequence begins with, one symbol at least.
        n : int
            Symbols to append.
        temperature : float
            Logits are divided by it: below 1 the likely becomes likelier. At 0 the
            likeliest symbol is taken.
        generator : torch.Generator, optional
            Where the draws come from.

        Returns
        -------
        Tensor of shape (batch, time + n), int64
            The start and what follows. A transformer whose context is full reads the
            last half of it again, as if the text began there.
        """
        arguments.sequences("SequenceModel.sample", "start", start, self.n_symbols)
        if start.is_floating_point():
            raise TypeError(
                "SequenceModel.sample: expected start to be an int64 tensor, but got "
                f"{start.dtype}; rows of numbers are no choice among symbols"
            )
        arguments.sizes("SequenceModel.sample", "n", [n], least=0)
        if not 0 <= temperature < math.inf:
            raise ValueError(
                "SequenceModel.sample: expected a finite temperature >= 0, but got "
                f"{temperature}"
            )
        room = self.core.context if isinstance(self.core, Block) else None
        text, new, state = start, start if room is None else start[:, -room:], None
        for _ in range(n):
            if room is not None and state is not None and state.shape[3] == room:
                new, state = text[:, -max(1, room // 2) :], None
            logits, state = self(new, state)
            if temperature == 0:
                new = logits[:, -1].argmax(dim=1, keepdim=True)
            else:
                p = (logits[:, -1] / temperature).softmax(dim=1)
                new = torch.multinomial(p, 1, generator=generator)
            text = torch.cat([text, new], dim=1)
        return text


class Block(nn.Module):
    """One block of a transformer that looks only back.

    Each vector asks those before it, then passes through a small network; both times
    the answer is added to it. Positions are learnt.

    Parameters
    ----------
    hidden_dim : int
        Length of a vector.
    context : int
        How many positions there are.
    n_heads : int
        How many attentions side by side, each in hidden_dim / n_heads dimensions.

    Raises
    ------
    TypeError, ValueError
        If a size is no integer, too small, or the heads cannot share evenly; by
        `forward`, if there are more vectors than positions.
    """

    def __init__(self, hidden_dim: int, context: int, n_heads: int) -> None:
        super().__init__()
        (self.context,) = arguments.sizes("Block", "context", [context])
        (self.n_heads,) = arguments.sizes("Block", "n_heads", [n_heads])
        if hidden_dim % n_heads:
            raise ValueError(
                f"Block: expected n_heads to divide hidden_dim = {hidden_dim}, but got "
                f"{n_heads}"
            )
        self.position = nn.Parameter(0.1 * torch.randn(context, hidden_dim))
        self.ask = nn.Linear(hidden_dim, 3 * hidden_dim)  # queries, keys, values
        self.answer = nn.Linear(hidden_dim, hidden_dim)
        self.network = nn.Sequential(
            nn.Linear(hidden_dim, 4 * hidden_dim),
            nn.GELU(),
            nn.Linear(4 * hidden_dim, hidden_dim),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in range(3))

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return a vector for each, and all keys and values so far.

        Parameters
        ----------
        x : Tensor of shape (batch, time, hidden_dim)
        state : Tensor of shape (2, batch, n_heads, past, head_dim), or None

        Returns
        -------
        h : Tensor of shape (batch, time, hidden_dim)
        state : Tensor of shape (2, batch, n_heads, past + time, head_dim)
        """
        past, time = 0 if state is None else state.shape[3], x.shape[1]
        if past + time > self.context:
            raise ValueError(
                f"Block: expected at most context = {self.context} symbols, but got "
                f"{past + time}; pass the last ones, or make the model with a larger "
                "context"
            )
        x = x + self.position[past : past + time]
        asked = self.ask(self.norms[0](x)).unflatten(2, (3, self.n_heads, -1))
        q, k, v = asked.permute(2, 0, 3, 1, 4)  # (batch, n_heads, time, head_dim) each
        kv = torch.stack([k, v])
        if state is not None:
            kv = torch.cat([state, kv], dim=3)
        seen = torch.ones(time, past + time, dtype=torch.bool, device=x.device)
        mixed = F.scaled_dot_product_attention(q, kv[0], kv[1], seen.tril(past))
        x = x + self.answer(mixed.transpose(1, 2).flatten(2))
        x = x + self.network(self.norms[1](x))
        return self.norms[2](x), kv
