"""What a variational autoencoder minimises, against Gaussians known exactly."""

import math
import re
from functools import partial

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.testing import assert_close

from aelab import losses
from aelab.models import VAE, VQVAE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(n=8, d=6, seed=1):
    return torch.rand(n, d, generator=seeded(seed)).double()


def made(*sizes, **options):
    torch.manual_seed(0)
    return VAE(*(sizes or (6, 2)), **options).double()


def quantising(n_codes=5):
    torch.manual_seed(0)
    return VQVAE(6, 3, 2, n_codes=n_codes).double()


def ppca(variance=0.3, widen=1.0):
    """A linear VAE whose q is the exact posterior, or wider, and its exact p(x)."""
    model = made(4, 2, (), likelihood="gaussian", variance=variance)
    w = torch.tensor([[1.5, 0.0], [0, 0.8], [0, 0], [0, 0]]).double()
    precision = torch.eye(2).double() + w.T @ w / variance  # of z given x: diagonal
    decoder, encoder = model.decoder[0], model.encoder[0]
    decoder.weight.data, decoder.bias.data = w, torch.zeros(4).double()
    encoder.weight.data = torch.cat(
        [torch.linalg.solve(precision, w.T) / variance, torch.zeros(2, 4).double()]
    )
    logvar = -precision.diagonal().log() + 2 * math.log(widen)
    encoder.bias.data = torch.cat([torch.zeros(2).double(), logvar])
    covariance = w @ w.T + variance * torch.eye(4).double()
    return model, MultivariateNormal(torch.zeros(4).double(), covariance)


# Shape and dtype


@pytest.mark.parametrize(
    "objective",
    [losses.elbo(), losses.elbo(free_bits=0.1), losses.importance_weighted(3)],
)
def test_every_term_is_one_number_an_example(objective):
    for dtype in (torch.float32, torch.float64):
        terms = objective(made().to(dtype), draw().to(dtype), seeded())
        assert {(t.shape, t.dtype) for t in terms.values()} == {((8,), dtype)}


def test_the_label_of_a_conditional_model_is_no_datum():
    model, labels = made(n_classes=3), torch.eye(3).double()[torch.arange(8) % 3]
    rows = torch.cat([draw(), labels], dim=1)
    for objective in (losses.elbo(), losses.importance_weighted(2)):
        assert objective(model, rows, seeded())["loss"].shape == (8,)
    terms = losses.elbo()(model, rows, seeded())
    x_hat = model(rows, generator=seeded()).x_hat
    assert_close(
        terms["nll"], -Bernoulli(x_hat, validate_args=False).log_prob(draw()).sum(dim=1)
    )


def test_every_term_of_a_vq_vae_is_one_number_an_example():
    terms = losses.vector_quantised()(quantising(), draw(), seeded())
    assert list(terms) == ["loss", "nll", "codebook", "commitment"]
    assert {(t.shape, t.dtype) for t in terms.values()} == {((8,), torch.float64)}


# Value against an outside oracle


def test_the_pulls_of_a_vq_vae_are_squared_distances_to_the_codebook():
    model, x = quantising(), draw()
    terms = losses.vector_quantised(commitment=3.0)(model, x, seeded())
    answers = model.encoder(x).reshape(8, 3, 2)
    apart = torch.cdist(answers, model.codebook).amin(dim=2).square().sum(dim=1)
    nll = (x - model.decode(model.encode(x))).square().sum(dim=1)
    expected = {"loss": nll + 4 * apart, "nll": nll}
    assert_close(terms, expected | {"codebook": apart, "commitment": apart})


def test_gaussian_is_torchs():
    x, x_hat, logvar = draw(), draw(seed=2), torch.tensor(-1.3).double()
    p = Independent(Normal(x_hat, torch.exp(logvar / 2)), 1)
    assert_close(losses.gaussian(x, x_hat, logvar), -p.log_prob(x))


def test_elbo_is_that_of_torchs_distributions():
    model, x = made(likelihood="gaussian", variance=0.2), draw()
    terms = losses.elbo(losses.gaussian, beta=3.0)(model, x, seeded())
    output = model(x, generator=seeded())
    nll = -Normal(output.x_hat, math.sqrt(0.2)).log_prob(x).sum(dim=1)
    q = Normal(output.mu, torch.exp(output.logvar / 2))
    p = Normal(torch.zeros(2).double(), torch.ones(2).double())
    kl = kl_divergence(q, p).sum(dim=1)
    assert_close(terms, {"loss": nll + 3 * kl, "nll": nll, "kl": kl})


def test_free_bits_are_a_floor_under_the_mean_of_each_unit():
    model, x = made(), draw()
    output = model(x, generator=seeded())
    q = Normal(output.mu, torch.exp(output.logvar / 2))
    p = Normal(torch.zeros(2).double(), torch.ones(2).double())
    units = kl_divergence(q, p).mean(dim=0)
    floor = units.mean().item()  # between the two
    terms = losses.elbo(free_bits=floor)(model, x, seeded())
    expected = terms["nll"] + units.clamp(min=floor).sum()
    assert_close(terms["loss"], expected)
    assert not torch.isclose(units.clamp(min=floor).sum(), units.sum(), rtol=1e-3)


@pytest.mark.parametrize("n_samples", [1, 7])
def test_with_the_exact_posterior_every_bound_is_the_likelihood(n_samples):
    # Rejects a sign or a half wrong in log p(z) - log q(z | x): no weight would be
    # p(x) itself any more.
    model, p = ppca()
    x = p.sample((50,))
    objective = losses.importance_weighted(n_samples, losses.gaussian)
    assert_close(objective(model, x, seeded())["loss"], -p.log_prob(x))


# Property


def test_each_pull_of_a_vq_vae_moves_its_own_end():
    # Rejects the two detached the wrong way round, and one that moves both.
    model, x = quantising(), draw()
    terms = losses.vector_quantised()(model, x, seeded())
    ends = {"codebook": model.codebook, "commitment": model.encoder[0].weight}
    for term, parameter in ends.items():
        for name, other in ends.items():
            (slope,) = torch.autograd.grad(
                terms[term].sum(), other, retain_graph=True, allow_unused=True
            )
            assert (slope is not None and slope.abs().sum() > 0) == (term == name)
        pulled = parameter.detach().clone()
        (slope,) = torch.autograd.grad(terms[term].sum(), parameter, retain_graph=True)
        parameter.data -= 1e-3 * slope
        after = losses.vector_quantised()(model, x, seeded())
        assert after[term].sum() < terms[term].sum(), term
        parameter.data = pulled


def test_more_samples_tighten_the_bound_and_never_pass_the_likelihood():
    model, p = ppca(widen=1.5)
    torch.manual_seed(0)
    x = p.sample((4000,))
    bounds = []
    for n_samples in (1, 5, 50):
        objective = losses.importance_weighted(n_samples, losses.gaussian)
        gap = objective(model, x, seeded())["loss"] + p.log_prob(x)
        bounds.append(gap.mean().item())
        assert gap.mean() > -4 * gap.std() / math.sqrt(len(x))
    assert bounds[0] > bounds[1] + 0.05 > bounds[2] + 0.05


def test_one_sample_is_the_elbo_on_average():
    model, p = ppca(widen=1.5)
    torch.manual_seed(0)
    x = p.sample((4000,))
    one = losses.importance_weighted(1, losses.gaussian)(model, x, seeded(1))["loss"]
    elbo = losses.elbo(losses.gaussian)(model, x, seeded(2))["loss"]
    error = (one - elbo).std() / math.sqrt(len(x))
    assert (one - elbo).mean().abs() < 4 * error


def test_the_same_generator_gives_the_same_loss():
    model, x = made(), draw()
    for objective in (losses.elbo(), losses.importance_weighted(3)):
        one, same, other = (objective(model, x, seeded(s))["loss"] for s in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


# Error


@pytest.mark.parametrize("bad", [-0.1, math.inf, math.nan])
@pytest.mark.parametrize("name", ["beta", "free_bits"])
def test_a_weight_is_not_negative(name, bad):
    with pytest.raises(ValueError, match=f"elbo: expected a finite {name} >= 0, but"):
        losses.elbo(**{name: bad})


@pytest.mark.parametrize("bad", [-0.1, math.inf, math.nan])
def test_the_commitment_is_not_negative(bad):
    message = "vector_quantised: expected a finite commitment >= 0, but"
    with pytest.raises(ValueError, match=message):
        losses.vector_quantised(commitment=bad)


def test_a_model_without_a_codebook_is_named():
    with pytest.raises(ValueError, match=r"to have encoded, .* but got VAEOutput"):
        losses.vector_quantised()(made(), draw(), seeded())


@pytest.mark.parametrize(
    ("error", "bad"), [(ValueError, 0), (TypeError, 2.0), (TypeError, True)]
)
def test_samples_are_counted(error, bad):
    message = re.escape(f"n_samples{' >= 1' if bad == 0 else ''}, but got {bad!r}")
    with pytest.raises(error, match=message):
        losses.importance_weighted(bad)


def test_one_variance_serves_all_features():
    wrong = partial(losses.gaussian, draw(), draw())
    with pytest.raises(ValueError, match=r"a scalar, .*, but got shape \(6,\)"):
        wrong(torch.zeros(6))
