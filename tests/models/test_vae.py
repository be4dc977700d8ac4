"""The variational autoencoder: what goes in, what comes out, and what is refused."""

import math
import re

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from aelab.models import VAE


def made(*sizes, seed=0, **options):
    torch.manual_seed(seed)
    return VAE(*sizes, **options)


def rows(n=5, d=6, seed=1):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


# Shape and dtype


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("hidden", [(), 7, (7, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_field_has_its_shape(likelihood, hidden, dtype):
    model = made(6, 2, hidden, likelihood=likelihood).to(dtype)
    output = model(rows().to(dtype))
    shapes = [(5, 6), (5, 2), (5, 6), (5, 2), (5, 2), (5,), ()]
    assert [tuple(value.shape) for value in output] == shapes
    assert {value.dtype for value in output} == {dtype}
    assert model.decode(output.z).shape == (5, 6)


def test_a_conditional_model_takes_the_label_beside_the_row():
    model = made(6, 2, n_classes=3)
    labels = nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3)
    output = model(torch.cat([rows(), labels], dim=1))
    assert output.x_hat.shape == (5, 6)
    assert output.z.shape == (5, 2)
    assert model.decode(torch.cat([output.z, labels], dim=1)).shape == (5, 6)


def test_the_hidden_layers_are_mirrored():
    model = made(6, 2, (7, 5))
    encoder = [m for m in model.encoder if isinstance(m, nn.Linear)]
    decoder = [m for m in model.decoder if isinstance(m, nn.Linear)]
    assert [m.out_features for m in encoder] == [7, 5, 4]
    assert [m.out_features for m in decoder] == [5, 7, 6]


# Value against an outside oracle


def test_kl_and_sample_are_those_of_the_posterior():
    model = made(6, 2).double()
    x, eps = rows().double(), rows(5, 2, seed=3).double()
    output = model(x, eps)
    mu, logvar = model.encode(x)
    q = Normal(mu, torch.exp(logvar / 2))
    p = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(output.kl, kl_divergence(q, p).sum(dim=1))
    torch.testing.assert_close(output.z, q.mean + q.stddev * eps)
    torch.testing.assert_close(output.x_hat, model.decode(output.z))


def test_the_mean_of_a_pixel_is_in_the_family_of_its_likelihood():
    output = made(6, 2)(rows())
    assert torch.equal(output.x_hat, torch.sigmoid(output.logits))
    output = made(6, 2, likelihood="gaussian", variance=0.05)(rows())
    assert torch.equal(output.x_hat, output.logits)
    assert output.x_logvar.item() == pytest.approx(math.log(0.05))


# Property


def test_without_noise_the_sample_is_the_mean():
    model = made(6, 2)
    output = model(rows(), torch.zeros(5, 2))
    assert torch.equal(output.z, output.mu)


def test_a_generator_reproduces_the_noise():
    model, x = made(6, 2), rows()
    one, same, other = (
        model(x, generator=torch.Generator().manual_seed(seed)).z for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.isclose(one, other).any()


def test_without_hidden_layers_encoder_and_decoder_are_affine():
    model = made(6, 2, (), likelihood="gaussian").double()
    a, b = rows(seed=1).double(), rows(seed=2).double()
    for f, left, right in [
        (lambda x: model.encode(x)[0], a, b),
        (model.decode, a[:, :2], b[:, :2]),
    ]:
        torch.testing.assert_close(f((left + right) / 2), (f(left) + f(right)) / 2)


def test_only_a_learnt_variance_is_a_parameter():
    fixed = made(6, 2, likelihood="gaussian", variance=0.5)
    learnt = made(6, 2, likelihood="gaussian", variance=0.5, learn_variance=True)
    assert "x_logvar" not in dict(fixed.named_parameters())
    assert "x_logvar" in dict(learnt.named_parameters())
    assert torch.equal(fixed.state_dict()["x_logvar"], learnt.x_logvar.detach())


def test_every_parameter_gets_a_gradient():
    model = made(6, 2, (7,), likelihood="gaussian", learn_variance=True)
    output = model(rows())
    error = (output.x_hat - rows()).square().sum() * torch.exp(-output.x_logvar)
    (error + output.kl.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_the_label_reaches_the_decoder():
    model = made(6, 2, n_classes=3)
    z = torch.zeros(1, 2)
    pictures = [
        model.decode(torch.cat([z, torch.eye(3)[c : c + 1]], 1)) for c in range(3)
    ]
    assert not torch.isclose(pictures[0], pictures[1]).any()
    assert not torch.isclose(pictures[1], pictures[2]).any()


# Error


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "expected integer latent_dim, but got 2.0", {"latent_dim": 2.0}),
        (ValueError, "expected latent_dim >= 1, but got 0", {"latent_dim": 0}),
        (ValueError, "expected hidden_dim >= 1, but got 0", {"hidden_dim": (3, 0)}),
        (ValueError, "expected n_classes >= 0, but got -1", {"n_classes": -1}),
        (
            ValueError,
            "expected likelihood to be one of bernoulli, gaussian, but got 'poisson'",
            {"likelihood": "poisson"},
        ),
        (ValueError, "expected activation to be one of", {"activation": "step"}),
        (ValueError, "expected a finite variance > 0, but got 0", {"variance": 0}),
        (ValueError, "expected a finite variance > 0", {"variance": math.nan}),
    ],
)
def test_a_bad_argument_is_named(error, message, arguments):
    with pytest.raises(error, match=re.escape(f"VAE: {message}")):
        VAE(**({"input_dim": 6, "latent_dim": 2} | arguments))


@pytest.mark.parametrize(
    ("error", "message", "x"),
    [
        (ValueError, "x of shape (batch, 6 + 3 of the one-hot label)", rows()),
        (ValueError, "but got (9,); pass one example a row", torch.zeros(9)),
        (
            TypeError,
            "a floating-point tensor, but got torch.int64",
            torch.ones(2, 9).long(),
        ),
        (TypeError, "a floating-point tensor, but got list", [[0.0] * 9]),
    ],
)
def test_bad_rows_are_named(error, message, x):
    with pytest.raises(error, match=re.escape(message)):
        made(6, 2, n_classes=3)(x)
    with pytest.raises(ValueError, match=r"z of shape \(batch, 2 \+ 3 of"):
        made(6, 2, n_classes=3).decode(torch.zeros(4, 2))
