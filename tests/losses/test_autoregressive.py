"""What sequence models minimise, against counts and a loop over the symbols."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from aelab import losses, training
from aelab.models import SequenceModel
from aelab.models.sequence import KINDS


class Table(nn.Module):
    """A model that knows only the last symbol: logits from a table."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens):
        return SimpleNamespace(logits=self.logits[tokens])


def windows(n=6, time=9, n_symbols=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n_symbols, (n, time + 1), generator=generator)


def made(kind, seed=0):
    torch.manual_seed(seed)
    return SequenceModel(5, 8, kind).double()


def counter(dtype=torch.float64):
    """A table that expects 0, 1, 2, 3, 4, 0, 1 ..., and says so in nats."""
    follows = torch.full((5, 5), 0.05, dtype=dtype)
    follows[torch.arange(5), (torch.arange(5) + 1) % 5] = 0.8
    return Table(follows.log())


# Shape and dtype


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_one_number_a_window(kind, dtype):
    for n in (6, 0):
        terms = losses.next_token(made(kind).to(dtype), windows(n))
        assert list(terms) == ["loss"]
        assert terms["loss"].shape == (n,)
        assert terms["loss"].dtype == dtype


# Value against an outside oracle


def test_a_count_is_judged_by_what_follows():
    # Rejects targets that are not shifted, and shifted the wrong way: both are at
    # -log 0.05 where the right answer is -log 0.8.
    tokens = (torch.arange(10) % 5).expand(3, 10)
    loss = losses.next_token(counter(), tokens)["loss"]
    assert_close(loss, torch.full((3,), -math.log(0.8)).double())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_mean_over_time_of_log_p(kind):
    model, tokens = made(kind), windows()
    p = model(tokens[:, :-1]).logits.softmax(dim=2).detach()
    for row, loss in enumerate(losses.next_token(model, tokens)["loss"]):
        log_p = [math.log(p[row, t, tokens[row, t + 1]]) for t in range(9)]
        assert loss.item() == pytest.approx(-sum(log_p) / 9)


def test_its_minimum_are_the_counts():
    # Gradient descent on a table ends at the frequencies of each pair.
    tokens = windows(40, 30)
    pairs = torch.zeros(5, 5).index_put_(
        (tokens[:, :-1].flatten(), tokens[:, 1:].flatten()),
        torch.ones(1200),
        accumulate=True,
    )
    model = Table(torch.zeros(5, 5))
    training.fit(
        model, losses.next_token, tokens, epochs=200, lr=0.1, batch_size=None,
        progress=False,
    )  # fmt: skip
    share = pairs / pairs.sum(dim=1, keepdim=True)
    assert_close(model.logits.softmax(dim=1), share, rtol=0, atol=1e-3)


# Property


@pytest.mark.parametrize("kind", KINDS)
def test_windows_do_not_meet(kind):
    # Rejects a hidden state that leaks from one window or batch to the next.
    model, tokens = made(kind), windows()
    whole = losses.next_token(model, tokens)["loss"]
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert_close(losses.next_token(model, tokens[order])["loss"], whole[order])
    again = [losses.next_token(model, row[None])["loss"] for row in tokens]
    assert_close(torch.cat(again), whole)


def test_the_last_symbol_is_only_a_target():
    model, seen = counter(), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    losses.next_token(model, windows())
    assert torch.equal(seen[0], windows()[:, :-1])


def test_nothing_is_drawn():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    losses.next_token(counter(), windows(), generator)
    assert torch.equal(generator.get_state(), before)


# Error


@pytest.mark.parametrize(
    ("error", "message", "tokens"),
    [
        (TypeError, "int64 tensor, but got torch.float32", windows().float()),
        (TypeError, "int64 tensor, but got list", [0, 1]),
        (ValueError, "with time >= 1, but got (6, 1)", windows(6, 0)),
        (ValueError, "with time >= 1, but got (10,); cut the text", windows()[0]),
    ],
)
def test_bad_tokens_are_named(error, message, tokens):
    with pytest.raises(error, match="next_token: expected .*" + re.escape(message)):
        losses.next_token(counter(), tokens)


def test_a_model_that_answers_once_is_refused():
    class Last(Table):
        def forward(self, tokens):
            return SimpleNamespace(logits=self.logits[tokens[:, -1]])

    with pytest.raises(ValueError, match=r"\(6, 9, 'n_symbols'\), but got \(6, 5\)"):
        losses.next_token(Last(torch.zeros(5, 5)), windows())
