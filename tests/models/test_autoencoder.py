"""The autoencoder: shapes, the network that it is, what tying and mirroring mean."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from aelab.models import Autoencoder

KINDS = {
    "linear": {"hidden_dim": ()},
    "one hidden layer": {},
    "deep": {"hidden_dim": (32, 16), "activation": "tanh"},
    "without biases": {"bias": False},
    "tied": {"hidden_dim": (32, 16), "tied": True},
    "residual": {"hidden_dim": 32, "residual": 2},
    "convolutional": {"channels": (4, 8)},
    "convolutional, tied": {"channels": (4, 8), "hidden_dim": (), "tied": True},
    "top-k": {"top_k": 3, "unit_norm": True},
    "everything": {"channels": (4, 8), "tied": True, "residual": 1, "bias": False},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def options(request):
    return request.param


def make(input_dim=64, latent_dim=5, seed=0, **options):
    torch.manual_seed(seed)
    return Autoencoder(input_dim, latent_dim, **options)


def draw(n, d, seed=1):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


def numbers(model):
    return sum(p.numel() for p in model.parameters())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Shape and dtype


@pytest.mark.parametrize("input_dim", [64, 625, 784])
def test_shapes(options, input_dim):
    model = make(input_dim, **options)
    x_hat, z, logits = model(draw(3, input_dim))
    assert x_hat.shape == logits.shape == (3, input_dim)
    assert z.shape == (3, model.latent_dim) == (3, 5)
    assert x_hat.dtype == z.dtype == torch.float32
    assert model(draw(0, input_dim)).x_hat.shape == (0, input_dim)


def test_float64(options):
    output = make(**options).double()(draw(3, 64).double())
    assert {field.dtype for field in output} == {torch.float64}


def test_images_need_not_be_square():
    model = make(6 * 10, channels=(4, 4), shape=(6, 10))
    assert model(draw(2, 60)).x_hat.shape == (2, 60)


# Value against an outside oracle


def test_the_textbook_pair_by_hand():
    model = make(
        hidden_dim=(), code_activation="sigmoid", output_activation="tanh"
    ).double()
    x = draw(7, 64).double()
    w1, b1, w2, b2 = (p.detach().numpy() for p in model.parameters())
    a = sigmoid(x.numpy() @ w1.T + b1)
    logits = a @ w2.T + b2
    for ours, by_hand in zip(model(x), (np.tanh(logits), a, logits), strict=True):
        np.testing.assert_allclose(ours.detach(), by_hand, atol=1e-12)


def test_hidden_layers_by_hand():
    model = make(hidden_dim=(32, 16)).double()
    h = draw(7, 64).double().numpy()
    weights = [p.detach().numpy() for p in model.parameters()]
    for number, (w, b) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        h = h @ w.T + b
        if number not in (2, 5):  # no relu after the code and after the output
            h = np.maximum(h, 0)
    np.testing.assert_allclose(model(draw(7, 64).double()).x_hat.detach(), h, atol=1e-9)


def test_numbers_of_parameters_by_hand():
    dense = 64 * 32 + 32 + 32 * 5 + 5 + 5 * 32 + 32 + 32 * 64 + 64
    assert numbers(make(hidden_dim=32)) == dense
    block = 2 * (32 * 32 + 32)
    assert numbers(make(hidden_dim=32, residual=2)) == dense + 2 * 2 * block
    weights = 64 * 32 + 32 * 5
    assert numbers(make(hidden_dim=32, tied=True)) == dense - weights
    assert numbers(make(hidden_dim=32, tied=True, bias=False)) == weights
    filters = 9 * 4 + 9 * 4 * 8
    dense = 8 * 2 * 2 * 5
    both = numbers(make(channels=(4, 8), hidden_dim=(), bias=False))
    assert both == 2 * (filters + dense)


@pytest.mark.parametrize("name", ["linear", "deep", "convolutional, tied"])
def test_tied_decoder_is_the_adjoint(name):
    """<encoder x, z> = <x, decoder z>: by definition of the transpose."""
    options = {**KINDS[name], "tied": True, "bias": False, "activation": "identity"}
    model = make(625, **options).double()
    x, z = draw(4, 625).double(), draw(4, 5).double()
    assert_close((model.encode(x) * z).sum(), (x * model.decode(z)).sum())


def test_top_k_by_sorting():
    model = make(latent_dim=7, top_k=3, code_activation="tanh").double()
    x = draw(9, 64).double()
    dense = np.tanh(model.encoder[:3](x).detach().numpy())
    expected = np.where(dense >= np.sort(dense, axis=1)[:, -3:-2], dense, 0)
    np.testing.assert_allclose(model.encode(x).detach(), expected, atol=1e-12)


def test_unit_columns_by_hand():
    model = make(hidden_dim=(), unit_norm=True).double()
    raw = model.decoder[0].parametrizations.weight.original.detach().numpy()
    columns = raw / np.linalg.norm(raw, axis=0)
    np.testing.assert_allclose(model.decoder[0].weight.detach(), columns, atol=1e-12)
    z = draw(9, 5).double()
    by_hand = z.numpy() @ columns.T + model.decoder[0].bias.detach().numpy()
    np.testing.assert_allclose(model.decode(z).detach(), by_hand, atol=1e-12)


# Property


def test_forward_is_encode_then_decode(options):
    model, x = make(**options), draw(3, 64)
    x_hat, z, _ = model(x)
    assert torch.equal(z, model.encode(x))
    assert torch.equal(x_hat, model.decode(z))


def test_the_decoder_mirrors_the_encoder():
    """Every width of the way down comes again on the way up, in reverse."""

    def widths(layers, rows):
        seen = [rows.shape[1:]]
        for layer in layers:
            rows = layer(rows)
            seen += [rows.shape[1:]] if rows.shape[1:] != seen[-1] else []
        return seen

    model = make(625, hidden_dim=(32, 16), channels=(4, 8), residual=1)
    down = widths(model.encoder, draw(1, 625))
    assert down[2:4] == [(4, 13, 13), (8, 7, 7)]
    assert widths(model.decoder, draw(1, 5)) == down[::-1]


@given(st.integers(0, 2**31), st.floats(-3, 3))
def test_without_activations_the_network_is_linear(seed, scale):
    model = make(hidden_dim=(), bias=False, seed=seed).double()
    a, b = draw(2, 64, seed=seed).double()[:, None]
    assert_close(model(a + scale * b).x_hat, model(a).x_hat + scale * model(b).x_hat)


def test_a_residual_block_with_zero_weights_changes_nothing():
    model, x = make(hidden_dim=32, residual=1).double(), draw(3, 64).double()
    for block in (model.encoder[2], model.decoder[1]):
        nn.init.zeros_(block[2].weight)
        nn.init.zeros_(block[2].bias)
    bare = nn.Sequential(*model.encoder[:2], *model.encoder[3:])
    bare.extend([model.decoder[0], *model.decoder[2:]])
    assert torch.equal(model(x).x_hat, bare(x))


def test_every_parameter_learns(options):
    model = make(**options)
    model(draw(30, 64)).x_hat.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_tied_weights_stay_tied_in_a_copy():
    model = make(tied=True)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.encoder[0].weight)
    x = draw(3, 64)
    assert not twin(x).x_hat.any(), "the copy's decoder holds the original's weights"
    assert model(x).x_hat.any()
    assert len(model.state_dict()) == len(list(model.parameters()))


def test_the_seed_decides_the_first_weights():
    one, same, other = make(), make(), make(seed=1)
    for a, b, c in zip(
        one.parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@given(st.integers(0, 2**31), st.integers(1, 7))
def test_top_k_keeps_the_largest_and_nothing_else(seed, top_k):
    model = make(latent_dim=7, top_k=top_k, seed=seed)
    x = draw(4, 64, seed=seed)
    dense, z = model.encoder[:3](x), model.encode(x)
    assert ((z != 0).sum(dim=1) == top_k).all()
    assert torch.equal(z[z != 0], dense[z != 0])
    dropped = dense.masked_fill(z != 0, -torch.inf).amax(dim=1)
    assert (dropped <= z.masked_fill(z == 0, torch.inf).amin(dim=1)).all()


def test_what_is_not_kept_gets_no_gradient():
    model = make(latent_dim=7, top_k=2)
    dense = draw(4, 7).requires_grad_()
    z = model.encoder[-1](dense)
    z.square().sum().backward()
    assert torch.equal(dense.grad != 0, z != 0)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_unit_columns_forget_the_scale(scale):
    """Rejects: unit rows; columns made unit once, before training."""
    model, x = make(unit_norm=True), draw(3, 64)
    before = model(x).x_hat
    model.decoder[0].weight = scale * model.decoder[0].weight.detach()
    assert_close(model(x).x_hat, before)
    norms = model.decoder[0].weight.norm(dim=0)
    assert_close(norms, torch.ones(5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).x_hat.square().sum().backward()
    optimizer.step()
    assert_close(model.decoder[0].weight.norm(dim=0), torch.ones(5))


def test_unit_columns_survive_saving():
    model, twin, x = make(unit_norm=True), make(unit_norm=True, seed=1), draw(3, 64)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x).x_hat, model(x).x_hat)
    assert torch.equal(copy.deepcopy(model)(x).x_hat, model(x).x_hat)


def test_output_activation_stands_between_logits_and_x_hat():
    x_hat, _, logits = make(output_activation="sigmoid")(draw(3, 64))
    assert torch.equal(x_hat, logits.sigmoid())
    assert x_hat.min() > 0
    assert x_hat.max() < 1


# Error


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "expected integer input_dim, but got 6.4", {"input_dim": 6.4}),
        (ValueError, "expected latent_dim >= 1, but got 0", {"latent_dim": 0}),
        (ValueError, "expected hidden_dim >= 1, but got -3", {"hidden_dim": (8, -3)}),
        (TypeError, "expected integer channels, but got '8'", {"channels": "8"}),
        (TypeError, "expected integer residual, but got True", {"residual": True}),
        (ValueError, "one of identity, relu, sigmoid, tanh, gelu, but got 'rule'",
         {"activation": "rule"}),
        (ValueError, "expected code_activation to be", {"code_activation": "softmax"}),
        (ValueError, "expected top_k >= 1, but got 0", {"top_k": 0}),
        (ValueError, "expected top_k <= latent_dim = 2, but got 3", {"top_k": 3}),
        (TypeError, "expected integer top_k, but got 0.5", {"top_k": 0.5}),
        (ValueError, "expected unit_norm or tied, but got both; a tied decoder",
         {"unit_norm": True, "tied": True}),
        (ValueError, "expected output_activation to be", {"output_activation": None}),
        (ValueError, "height * width = 60, but got (7, 7); pass shape=",
         {"input_dim": 60, "channels": (4,)}),
        (ValueError, "height * width = 64, but got (4, 8)",
         {"channels": (4,), "shape": (4, 8)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_options_are_named(error, message, options):
    with pytest.raises(error, match=re.escape(message)):
        Autoencoder(**{"input_dim": 64, "latent_dim": 2} | options)


@pytest.mark.parametrize(("method", "width"), [("encode", 64), ("decode", 5)])
def test_bad_rows_are_named(method, width):
    function = getattr(make(), method)
    name = "x" if method == "encode" else "z"
    expected = rf"{method}: expected {name} of shape \(batch, {width}\), but got "
    with pytest.raises(ValueError, match=expected + r"\(3, 7\)"):
        function(torch.zeros(3, 7))
    with pytest.raises(ValueError, match=expected + rf"\(2, 3, {width}\); .* flatten"):
        function(torch.zeros(2, 3, width))
    with pytest.raises(TypeError, match=f"{name} to be a floating.* but got torch.int"):
        function(torch.zeros(3, width, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"but got list; convert it with torch\.as"):
        function([0.0] * width)
