"""What sequence models minimise: surprise at the next symbol."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F


def next_token(
    model: nn.Module, tokens: Tensor, generator: Generator | None = None
) -> dict[str, Tensor]:
    """Return the cross-entropy of each window: every symbol, given those before it.

    The model reads the window without its last symbol; its logits at t are judged by
    the symbol t + 1. Each window begins without a state, so nothing of one reaches
    another.

    Parameters
    ----------
    model : torch.nn.Module
        Its output has `logits` of shape (batch, time, n_symbols).
    tokens : Tensor of shape (batch, time + 1), int64
        Windows of text, one a row.
    generator : torch.Generator, optional
        Not used: nothing is drawn. Taken since other objectives draw.

    Returns
    -------
    dict
        The key ``loss`` of shape (batch,): the mean over the time steps of -log p, in
        nats a symbol. A mean and no sum, so that windows of any length compare.

    Raises
    ------
    TypeError
        If tokens are not int64.
    ValueError
        If a window has fewer than two symbols, or the logits are not one a step.
    """
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64:
        got = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise TypeError(
            f"next_token: expected tokens to be an int64 tensor, but got {got}; number "
            "the symbols from 0"
        )
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(
            "next_token: expected tokens of shape (batch, time + 1) with time >= 1, "
            f"but got {tuple(tokens.shape)}; cut the text with unfold(0, time + 1, "
            "time)"
        )
    target = tokens[:, 1:]
    logits = model(tokens[:, :-1]).logits
    if logits.shape[:-1] != target.shape:
        raise ValueError(
            f"next_token: expected logits of shape {(*target.shape, 'n_symbols')}, but "
            f"got {tuple(logits.shape)}; the model must answer after every symbol"
        )
    surprise = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
    return {"loss": surprise.mean(dim=1)}
