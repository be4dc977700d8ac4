"""The VQ-VAE: the choice among a codebook, its gradient, and what is refused."""

import re

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn

from aelab.models import VQVAE


def made(*sizes, seed=0, n_codes=7, **options):
    torch.manual_seed(seed)
    return VQVAE(*(sizes or (6, 3, 2)), n_codes=n_codes, **options)


def rows(n=5, d=6, seed=1):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


# Shape and dtype


@pytest.mark.parametrize("hidden", [(), 7, (7, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_field_has_its_shape(hidden, dtype):
    model = made(6, 3, 2, hidden).to(dtype)
    x = rows().to(dtype)
    output = model(x)
    shapes = [(5, 6), (5, 3, 2), (5, 3), (5, 3, 2)]
    assert [tuple(value.shape) for value in output] == shapes
    kinds = [dtype, dtype, torch.int64, dtype]
    assert [value.dtype for value in output] == kinds
    assert model.encode(x).shape == (5, 3)
    assert model.decode(output.codes).shape == (5, 6)
    assert model.latent_dim == 6


def test_the_hidden_layers_are_mirrored():
    model = made(6, 3, 2, (7, 5))
    encoder = [m for m in model.encoder if isinstance(m, nn.Linear)]
    decoder = [m for m in model.decoder if isinstance(m, nn.Linear)]
    assert [m.out_features for m in encoder] == [7, 5, 6]
    assert [m.out_features for m in decoder] == [5, 7, 6]


def test_no_rows_give_no_codes():
    model = made()
    assert model.encode(rows(0)).shape == (0, 3)
    assert model.decode(model.encode(rows(0))).shape == (0, 6)


# Value against an outside oracle


def test_the_choice_is_scikit_learns_nearest_neighbour():
    model = made(6, 3, 2, n_codes=50)
    output = model(rows(200))
    search = NearestNeighbors(n_neighbors=1).fit(model.codebook.detach().numpy())
    answers = output.encoded.detach().flatten(0, 1).numpy()
    theirs = torch.from_numpy(search.kneighbors(answers)[1])
    assert torch.equal(output.codes.reshape(-1, 1), theirs)
    assert torch.equal(output.z, model.codebook[output.codes])


def test_far_from_zero_the_choice_is_still_exact():
    # Rejects |a|^2 - 2 a b + |b|^2 in float32, which has no digits left there.
    model = made(2, 1, 2, (), n_codes=2)
    model.encoder = nn.Identity()
    model.codebook.data = torch.tensor([[3000.0, 0.0], [3000.25, 0.0]])
    x = torch.tensor([[3000.0, 0.0], [3000.25, 0.0]]).repeat(50, 1)
    assert torch.equal(model.encode(x)[:, 0], torch.arange(100) % 2)


def test_the_encoder_gets_the_gradient_of_what_the_decoder_saw():
    model = made().double()
    output = model(rows().double())
    (straight,) = torch.autograd.grad(
        output.x_hat.square().sum(), output.encoded, retain_graph=True
    )
    z = output.z.detach().requires_grad_()
    (seen,) = torch.autograd.grad(model.decoder(z.flatten(1)).square().sum(), z)
    torch.testing.assert_close(straight, seen)
    assert seen.abs().min() > 0


# Property


def test_encode_then_decode_is_the_forward_pass():
    model, x = made(), rows()
    codes = model.encode(x)
    assert torch.equal(codes, model(x).codes)
    torch.testing.assert_close(model.decode(codes), model(x).x_hat)


def test_a_word_of_the_codebook_stands_for_itself():
    model = made(6, 3, 2, (), n_codes=9)
    model.encoder = nn.Identity()
    codes = torch.randint(9, (40, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.encode(model.codebook[codes].flatten(1)), codes)


def test_the_codebook_gets_no_gradient_from_the_reconstruction():
    model = made()
    output = model(rows())
    (output.x_hat - rows()).square().sum().backward()
    assert model.codebook.grad is None
    for name, parameter in model.named_parameters():
        if name != "codebook":
            assert parameter.grad.abs().sum() > 0, name


def test_nothing_is_drawn():
    model, x = made(), rows()
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert torch.equal(model(x, generator=generator).x_hat, model(x).x_hat)
    assert torch.equal(generator.get_state(), before)


# Error


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "expected integer n_slots, but got 2.0", {"n_slots": 2.0}),
        (ValueError, "expected n_slots >= 1, but got 0", {"n_slots": 0}),
        (ValueError, "expected code_dim >= 1, but got 0", {"code_dim": 0}),
        (ValueError, "expected n_codes >= 1, but got 0", {"n_codes": 0}),
        (ValueError, "expected input_dim >= 1, but got -1", {"input_dim": -1}),
        (ValueError, "expected hidden_dim >= 1, but got 0", {"hidden_dim": (3, 0)}),
        (ValueError, "expected activation to be one of", {"activation": "step"}),
    ],
)
def test_a_bad_argument_is_named(error, message, arguments):
    sizes = {"input_dim": 6, "n_slots": 3, "code_dim": 2, "n_codes": 7}
    with pytest.raises(error, match=re.escape(f"VQVAE: {message}")):
        VQVAE(**(sizes | arguments))


@pytest.mark.parametrize(
    ("error", "message", "x"),
    [
        (ValueError, "x of shape (batch, 6), but got (5, 7)", rows(5, 7)),
        (ValueError, "but got (6,); pass one example a row", torch.zeros(6)),
        (
            TypeError,
            "floating-point tensor, but got torch.int64",
            torch.ones(2, 6).long(),
        ),
    ],
)
def test_bad_rows_are_named(error, message, x):
    for method in (made(), made().encode):
        with pytest.raises(error, match=re.escape(message)):
            method(x)


@pytest.mark.parametrize(
    ("error", "message", "codes"),
    [
        (TypeError, "to be an int64 tensor, but got torch.float32", torch.zeros(2, 3)),
        (TypeError, "to be an int64 tensor, but got list", [[0, 1, 2]]),
        (ValueError, "of shape (batch, 3), but got (2, 4)", torch.zeros(2, 4).long()),
        (ValueError, "of shape (batch, 3), but got (3,)", torch.zeros(3).long()),
        (ValueError, "from 0 to 6, but got 7 to 7", torch.full((2, 3), 7)),
        (ValueError, "from 0 to 6, but got -1 to -1", torch.full((2, 3), -1)),
    ],
)
def test_bad_codes_are_named(error, message, codes):
    expected = re.escape(f"VQVAE.decode: expected codes {message}")
    with pytest.raises(error, match=expected):
        made().decode(codes)
