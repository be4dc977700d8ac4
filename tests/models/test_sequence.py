"""Sequence models: reading, reading on, writing, and what is refused."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from aelab.models import SequenceModel
from aelab.models.sequence import KINDS, Block

every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, *, n_symbols=11, hidden_dim=8, seed=0, **options):
    torch.manual_seed(seed)
    return SequenceModel(n_symbols, hidden_dim, kind, **options).double()


def symbols(batch=3, time=16, n_symbols=11, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n_symbols, (batch, time), generator=generator)


def one_hot(tokens, n_symbols=11):
    return F.one_hot(tokens, n_symbols).double()


# Shape and dtype


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_place_has_its_logits(kind, dtype):
    model = made(kind).to(dtype)
    for batch, time in ((3, 16), (1, 1), (0, 4)):
        output = model(symbols(batch, time))
        assert output.logits.shape == (batch, time, 11)
        assert output.logits.dtype == output.state.dtype == dtype


@every_kind
def test_the_state_is_as_large_as_it_says(kind):
    state = made(kind)(symbols(3, 5)).state
    assert state.shape == ((2, 3, 4, 5, 2) if kind == "transformer" else (1, 3, 8))


@every_kind
def test_a_sample_is_the_start_and_what_follows(kind):
    model = made(kind, context=6)
    for time, n in ((1, 20), (9, 3), (6, 0)):
        start = symbols(3, time)
        text = model.sample(start, n, generator=torch.Generator().manual_seed(0))
        assert text.shape == (3, time + n)
        assert text.dtype == torch.int64
        assert torch.equal(text[:, :time], start)
        assert 0 <= text.min() <= text.max() < 11


# Value against an outside oracle


def test_the_rnn_is_the_formula():
    model, tokens = made("rnn"), symbols()
    w, u = model.core.weight_hh_l0, model.core.weight_ih_l0
    bias = model.core.bias_hh_l0 + model.core.bias_ih_l0
    h, answers = torch.zeros(3, 8).double(), []
    for t in range(16):
        h = torch.tanh(h @ w.T + model.embedding.weight[tokens[:, t]] @ u.T + bias)
        answers.append(h @ model.head.weight.T + model.head.bias)
    output = model(tokens)
    assert_close(output.logits, torch.stack(answers, dim=1))
    assert_close(output.state[0], h)


def test_the_gru_is_the_formula():
    model, tokens = made("gru"), symbols()
    ours, h = model.core, torch.zeros(3, 8).double()
    for t in range(16):
        x = model.embedding.weight[tokens[:, t]]
        from_x = (x @ ours.weight_ih_l0.T + ours.bias_ih_l0).chunk(3, dim=1)
        from_h = (h @ ours.weight_hh_l0.T + ours.bias_hh_l0).chunk(3, dim=1)
        reset, keep = (torch.sigmoid(from_x[i] + from_h[i]) for i in (0, 1))
        new = torch.tanh(from_x[2] + reset * from_h[2])
        h = keep * h + (1 - keep) * new
    assert_close(model(tokens).state[0], h)


def test_the_block_is_torchs_encoder_layer_behind_a_causal_mask():
    # Rejects a transposed mask, unscaled scores and softmax over the wrong axis.
    block = Block(8, 16, 2).double()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    modules = {
        theirs.self_attn.out_proj: block.answer,
        theirs.linear1: block.network[0],
        theirs.linear2: block.network[2],
    }
    for other, module in modules.items():
        other.load_state_dict(module.state_dict())
    theirs.self_attn.in_proj_weight.data = block.ask.weight.data
    theirs.self_attn.in_proj_bias.data = block.ask.bias.data
    x = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0)).double()
    mask = nn.Transformer.generate_square_subsequent_mask(16).double()
    expected = F.layer_norm(theirs(x + block.position, src_mask=mask), (8,))
    assert_close(block(x, None)[0], expected)


# Property


@every_kind
def test_the_future_changes_nothing(kind):
    model, tokens = made(kind), symbols()
    other = tokens.clone()
    other[:, 9:] = (other[:, 9:] + 1) % 11
    before, after = model(tokens).logits, model(other).logits
    assert_close(before[:, :9], after[:, :9])
    assert (before[:, 9:] - after[:, 9:]).abs().amin() > 1e-9


@every_kind
def test_the_past_is_remembered(kind):
    model, tokens = made(kind), symbols()
    other = tokens.clone()
    other[:, 0] = (other[:, 0] + 1) % 11
    assert (model(tokens).logits[:, 5] - model(other).logits[:, 5]).abs().amin() > 1e-9


@every_kind
@pytest.mark.parametrize("cuts", [(5, 1, 10), (1,) * 16])
def test_reading_in_pieces_is_reading_in_one(kind, cuts):
    model, tokens = made(kind), symbols()
    whole, state, pieces = model(tokens), None, []
    for piece in tokens.split(cuts, dim=1):
        logits, state = model(piece, state)
        pieces.append(logits)
    assert_close(torch.cat(pieces, dim=1), whole.logits)
    assert_close(state, whole.state)


@every_kind
def test_sequences_do_not_meet(kind):
    model, tokens = made(kind), symbols()
    alone = torch.cat([model(row[None]).logits for row in tokens])
    assert_close(model(tokens).logits, alone)


@every_kind
def test_a_symbol_is_a_one_hot_row(kind):
    model, tokens = made(kind), symbols()
    assert_close(model(one_hot(tokens)).logits, model(tokens).logits)
    doubled = model(2 * one_hot(tokens)).logits
    assert (doubled - model(tokens).logits).abs().amax() > 1e-3


def test_the_transformer_knows_where():
    model = made("transformer")
    same = model(torch.full((1, 16), 3)).logits[0]
    assert (same[1:] - same[:-1]).abs().amax(dim=1).min() > 1e-6


@every_kind
def test_draws_have_the_frequencies_of_the_softmax(kind):
    model, start = made(kind), symbols(1, 4).expand(20_000, 4)
    model.head.weight.data *= 5
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(start, 1, temperature=0.7, generator=generator)[:, -1]
    p = (model(start[:1]).logits[0, -1] / 0.7).softmax(dim=0)
    share = drawn.bincount(minlength=11) / 20_000
    assert (p.max() - p.min()) > 0.05
    assert ((share - p).abs() < 5 * (p / 20_000).sqrt()).all()


@every_kind
def test_writing_at_temperature_zero_takes_the_likeliest(kind):
    model, text = made(kind), symbols(3, 2)
    written = model.sample(text, 10, temperature=0)
    for _ in range(10):
        best = model(text).logits[:, -1].argmax(dim=1, keepdim=True)
        text = torch.cat([text, best], dim=1)
    assert torch.equal(written, text)


def test_a_full_context_is_begun_again_with_its_last_half():
    model = made("transformer", context=6)
    text = model.sample(symbols(2, 6), 2, temperature=0)
    best = model(text[:, 4:7]).logits[:, -1].argmax(dim=1)
    assert torch.equal(text[:, 7], best)


@every_kind
def test_draws_come_from_the_generator_alone(kind):
    model, start = made(kind), symbols(3, 2)

    def write(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.sample(start, 30, generator=generator)

    before = torch.get_rng_state()
    first = write(0)
    assert torch.equal(first, write(0))
    assert not torch.equal(first, write(1))
    assert torch.equal(before, torch.get_rng_state())
    assert not first.requires_grad


# Error


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "expected integer n_symbols, but got 2.0", {"n_symbols": 2.0}),
        (ValueError, "expected hidden_dim >= 1, but got 0", {"hidden_dim": 0}),
        (ValueError, "kind to be one of rnn, gru, transformer", {"kind": "lstm"}),
        (ValueError, "expected context >= 1, but got 0", {"context": 0}),
        (ValueError, "n_heads to divide hidden_dim = 8, but got 3", {"n_heads": 3}),
    ],
)
def test_a_bad_argument_is_named(error, message, options):
    given = {"n_symbols": 11, "hidden_dim": 8, "kind": "transformer"} | options
    with pytest.raises(error, match=re.escape(message)):
        SequenceModel(**given)


@every_kind
@pytest.mark.parametrize(
    ("error", "message", "tokens"),
    [
        (TypeError, "int64 tensor, but got torch.int32; n", symbols().int()),
        (TypeError, "int64 tensor, but got str", "text"),
        (ValueError, "of shape (batch, time) with time >= 1, but got (3, 0)", (3, 0)),
        (ValueError, "(batch, time) with time >= 1, but got (16,)", symbols()[0]),
        (ValueError, "from 0 to 10 in tokens, but got 11 to 11", symbols() * 0 + 11),
        (ValueError, "(batch, time, 11) with time", torch.zeros(3, 16, 12)),
        (ValueError, "(batch, time, 11) with time", torch.zeros(3, 11)),
    ],
)
def test_bad_tokens_are_named(kind, error, message, tokens):
    tokens = symbols(*tokens) if isinstance(tokens, tuple) else tokens
    with pytest.raises(error, match="SequenceModel.forward: .*" + re.escape(message)):
        made(kind)(tokens)


@every_kind
def test_the_state_of_others_is_refused(kind):
    model = made(kind)
    with pytest.raises(ValueError, match="the state of 2 sequences, but got that of 3"):
        model(symbols(2), model(symbols(3)).state)


def test_more_symbols_than_positions_are_refused():
    model = made("transformer", context=6)
    with pytest.raises(ValueError, match="at most context = 6 symbols, but got 7"):
        model(symbols(3, 7))
    with pytest.raises(ValueError, match="at most context = 6 symbols, but got 8"):
        model(symbols(3, 3), model(symbols(3, 5)).state)


@pytest.mark.parametrize("temperature", [-1.0, float("inf"), float("nan")])
def test_a_bad_temperature_is_named(temperature):
    with pytest.raises(ValueError, match=r"sample: expected a finite temperature >= 0"):
        made("gru").sample(symbols(), 1, temperature=temperature)


def test_a_bad_start_and_length_are_named():
    model = made("gru")
    with pytest.raises(TypeError, match=r"start to be an int64 tensor, but got torch"):
        model.sample(one_hot(symbols()), 1)
    with pytest.raises(ValueError, match=r"sample: expected start of shape"):
        model.sample(symbols(3, 0), 1)
    with pytest.raises(ValueError, match=r"sample: expected n >= 0, but got -1"):
        model.sample(symbols(), -1)
