"""What is minimised: terms against scipy and torch.distributions, and the objective."""

import math
import re
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_squared_error
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal
from torch.testing import assert_close

from aelab import losses


class Output(NamedTuple):
    x_hat: Tensor
    logits: Tensor
    z: Tensor | None = None


class Pair(nn.Module):
    """Two matrices without biases: the smallest model that the objectives can see."""

    def __init__(self, d=6, k=2, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w1 = nn.Parameter(torch.randn(k, d, generator=generator).double())
        self.w2 = nn.Parameter(torch.randn(d, k, generator=generator).double())
        self.b2 = nn.Parameter(torch.randn(d, generator=generator).double())

    def forward(self, x):
        z = x @ self.w1.T
        logits = z @ self.w2.T + self.b2
        return Output(logits.sigmoid(), logits, z)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(n=8, d=6, seed=0):
    return torch.rand(n, d, generator=seeded(seed)).double()


def one_hot(n=8, d=6, seed=0):
    classes = torch.randint(d, (n,), generator=seeded(seed))
    return nn.functional.one_hot(classes, d).double()


def add_noise(x, generator):
    return x + 0.5 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def linear_error(x, logits):
    return losses.squared_error(x, logits)


X_KINDS = {
    losses.squared_error: draw,
    losses.bernoulli: draw,
    losses.categorical: one_hot,
    losses.mixed(
        (losses.squared_error, 2), (losses.bernoulli, 1), (losses.categorical, 3)
    ): lambda n=8, d=6: torch.cat([draw(n, 3), one_hot(n, 3)], dim=1),
}


@pytest.fixture(
    params=X_KINDS, ids=["squared_error", "bernoulli", "categorical", "mixed"]
)
def term(request):
    return request.param


# Shape and dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_number_an_example(term, dtype):
    x = X_KINDS[term]().to(dtype)
    value = term(x, torch.zeros_like(x))
    assert value.shape == (8,)
    assert value.dtype == dtype
    assert term(x[:0], x[:0]).shape == (0,)


def test_the_objective_gives_terms_of_shape_batch():
    for l2, names in ((0.0, {"loss"}), (0.1, {"loss", "reconstruction", "l2"})):
        terms = losses.reconstruction(l2=l2)(Pair(), draw(), seeded())
        assert set(terms) == names
        assert {value.shape for value in terms.values()} == {(8,)}


def test_denoising_gives_one_number_an_example():
    for term in (losses.squared_error, losses.bernoulli):
        terms = losses.denoising(add_noise, term)(Pair(), draw(), seeded())
        assert set(terms) == {"loss"}
        assert terms["loss"].shape == (8,)


# Value against an outside oracle


def test_denoising_adds_the_noise_that_the_weights_let_through():
    """E |W (x + s eps) + b - x|^2 = |W x + b - x|^2 + s^2 |W|^2.

    Rejects: the noisy target, which adds s^2 d - 2 s^2 tr W, and a clean input.
    """
    model, x = Pair(), draw(20_000)
    w = (model.w2 @ model.w1).detach()
    clean = (x @ w.T + model.b2.detach() - x).square().sum(dim=1)
    for target, more in ((None, 0.0), (add_noise, 6 * 0.25)):
        objective = losses.denoising(add_noise, linear_error, target=target)
        gain = objective(model, x, seeded())["loss"].detach() - clean
        expected = 0.25 * w.square().sum() + more
        assert abs(gain.mean() - expected) < 4 * gain.std() / 20_000**0.5


def test_squared_error_is_d_times_the_mean_squared_error():
    x, x_hat = draw(), draw(seed=1)
    mse = mean_squared_error(x.T, x_hat.T, multioutput="raw_values")
    np.testing.assert_allclose(losses.squared_error(x, x_hat), 6 * mse)


def test_squared_error_is_a_gaussian_of_variance_one_half():
    x, x_hat = draw(), draw(seed=1)
    nll = -Normal(x_hat, math.sqrt(0.5)).log_prob(x).sum(dim=1)
    assert_close(losses.squared_error(x, x_hat), nll - 3 * math.log(math.pi))


def test_bernoulli_on_bits_is_the_log_likelihood():
    x, logits = draw().round(), 4 * draw(seed=1) - 2
    nll = -Bernoulli(logits=logits).log_prob(x).sum(dim=1)
    assert_close(losses.bernoulli(x, logits), nll)


def test_bernoulli_on_grey_is_entropy_plus_divergence():
    x, p = draw(), draw(seed=1)
    a, b = x.numpy(), p.numpy()
    entropy = scipy.special.entr(a) + scipy.special.entr(1 - a)
    kl = scipy.special.rel_entr(a, b) + scipy.special.rel_entr(1 - a, 1 - b)
    ours = losses.bernoulli(x, p.logit())
    np.testing.assert_allclose(ours, (entropy + kl).sum(axis=1))


def test_bernoulli_is_exact_where_the_sigmoid_saturates():
    x, logits = torch.tensor([[0.0, 1.0]]), torch.tensor([[200.0, -300.0]])
    assert losses.bernoulli(x, logits).tolist() == [500.0]


def test_categorical_is_sklearns_log_loss():
    x, logits = one_hot(), 3 * draw(seed=1)
    probabilities = scipy.special.softmax(logits.numpy(), axis=1)
    ours = losses.categorical(x, logits)
    assert ours.mean().item() == pytest.approx(log_loss(x.numpy(), probabilities))
    nll = -Categorical(logits=logits).log_prob(x.argmax(dim=1))
    assert_close(ours, nll)


def test_mixed_columns_by_hand():
    x = torch.tensor([[3.0, -1.0, 1.0, 0.0, 0.0, 1.0]])
    logits = torch.tensor([[1.0, 0.0, 0.0, 2.0, 2.0, 2.0]])
    term = losses.mixed(
        (losses.squared_error, 2), (losses.bernoulli, 1), (losses.categorical, 3)
    )
    by_hand = 2**2 + 1**2 + math.log(2) + math.log(3)
    assert term(x, logits).item() == pytest.approx(by_hand)


def test_gradients_are_those_of_finite_differences(term):
    x = X_KINDS[term]()
    logits = (4 * draw(seed=1) - 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: term(x, logits), logits)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_penalty_has_the_closed_form_as_its_minimum(share):
    """Kunin et al.: at W2 = V sqrt(1 - l2 / s^2), W1 = W2^T the gradient is zero.

    With the mean over rows in the objective, s^2 are the eigenvalues with 1/n.
    """
    x = torch.randn(50, 6, generator=seeded()).double() * torch.arange(1, 7)
    x = x - x.mean(dim=0)
    eigenvalues, v = torch.linalg.eigh(x.T @ x / 50)
    l2 = share * eigenvalues[-2].item()
    axes = v[:, -2:] * (1 - l2 / eigenvalues[-2:]).sqrt()
    model = nn.Sequential(nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False))
    model.double()[0].weight.data = axes.T.contiguous()
    model[1].weight.data = axes.contiguous()
    objective = losses.reconstruction(l2=l2)
    terms = objective(Wrapped(model), x, seeded())
    terms["loss"].mean().backward()
    for layer in model:
        assert layer.weight.grad.abs().max() < 1e-10


def test_l1_is_numpys_norm():
    z = draw() - 0.5
    np.testing.assert_allclose(losses.l1(z), np.linalg.norm(z.numpy(), 1, axis=1))


@pytest.mark.parametrize("rho", [0.05, 0.5, 0.9])
def test_kl_sparsity_is_the_divergence_of_two_coins(rho):
    """Rejects: rho and rho_hat swapped; a divergence for each example, then the mean;
    the mean over units; the second outcome left out."""
    z = draw()
    target, found = (Bernoulli(p) for p in (torch.tensor(rho).double(), z.mean(dim=0)))
    oracle = torch.distributions.kl_divergence(target, found).sum()
    assert_close(losses.kl_sparsity(z, rho), oracle.expand(8), rtol=1e-6, atol=0)
    p, q = rho, z.mean(dim=0).numpy()
    rel = scipy.special.rel_entr(p, q) + scipy.special.rel_entr(1 - p, 1 - q)
    assert losses.kl_sparsity(z, rho)[0].item() == pytest.approx(rel.sum())


def test_kl_sparsity_of_a_unit_that_never_speaks():
    z = torch.zeros(8, 1)
    assert losses.kl_sparsity(z, 0.1).isposinf().all()
    assert losses.kl_sparsity(1 - z, 0.1).isposinf().all()


def test_gradients_of_the_penalties_are_those_of_finite_differences():
    z = (draw() * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.l1(z - 0.05), z)
    assert torch.autograd.gradcheck(lambda z: losses.kl_sparsity(z, 0.2), z)


class Wrapped(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return Output(self.network(x), None)


# Property


@given(st.integers(0, 2**31))
def test_terms_are_sums_over_features(seed):
    x, logits = draw(seed=seed), draw(seed=seed + 1)
    for term in (losses.squared_error, losses.bernoulli):
        halves = term(x[:, :2], logits[:, :2]) + term(x[:, 2:], logits[:, 2:])
        assert_close(term(x, logits), halves)


@given(st.integers(0, 2**31))
def test_no_logits_are_better_than_the_truth(seed):
    p, other = draw(seed=seed), 8 * draw(seed=seed + 1) - 4
    shares = p / p.sum(dim=1, keepdim=True)
    assert (losses.bernoulli(p, other) >= losses.bernoulli(p, p.logit()) - 1e-9).all()
    truth = losses.categorical(shares, shares.log())
    assert (losses.categorical(shares, other) >= truth - 1e-9).all()


def test_the_objective_is_the_term_plus_the_penalty():
    model, x = Pair(), draw()
    terms = losses.reconstruction(l2=0.3)(model, x, seeded())
    penalty = 0.3 * (model.w1.square().sum() + model.w2.square().sum())
    assert_close(terms["l2"], penalty.expand(8))
    assert_close(terms["reconstruction"], losses.squared_error(x, model(x).x_hat))
    assert_close(terms["loss"], terms["reconstruction"] + terms["l2"])


def test_each_term_reads_its_own_field():
    """Rejects: the Bernoulli term on x_hat, a sigmoid of a sigmoid."""
    model, x = Pair(), draw()
    output = model(x)
    for term, field in ((losses.squared_error, "x_hat"), (losses.bernoulli, "logits")):
        loss = losses.reconstruction(term)(model, x, seeded())["loss"]
        assert_close(loss, term(x, getattr(output, field)))


@given(st.integers(0, 2**31), st.floats(0, 10))
def test_l1_grows_with_the_scale(seed, c):
    z = draw(seed=seed) - 0.5
    assert_close(losses.l1(c * z), c * losses.l1(z))
    assert (losses.l1(z) >= z.norm(dim=1)).all()


@given(st.integers(0, 2**31), st.floats(0.01, 0.99))
def test_kl_sparsity_is_zero_at_rho_alone(seed, rho):
    z = draw(seed=seed)
    assert (losses.kl_sparsity(z, rho) >= 0).all()
    level = z / z.mean(dim=0) * rho  # each unit has mean rho
    if level.max() <= 1:
        assert losses.kl_sparsity(level, rho).max() < 1e-9
    assert losses.kl_sparsity(torch.full_like(z, rho), rho).max() < 1e-9


def test_kl_sparsity_sees_the_batch_and_not_its_order():
    z, order = draw(), torch.randperm(8, generator=seeded())
    assert_close(losses.kl_sparsity(z[order], 0.2), losses.kl_sparsity(z, 0.2))
    uneven = torch.eye(8).double()[:, :6]  # each unit on for one example of eight
    assert losses.kl_sparsity(uneven, 1 / 8).max() < 1e-9


def test_the_sparse_objective_is_the_term_plus_the_penalty():
    """Rejects: the penalty on x_hat in place of the code; lambda forgotten."""
    model, x = Pair(), draw()
    output = model(x)
    for term, field in ((losses.squared_error, "x_hat"), (losses.bernoulli, "logits")):
        terms = losses.sparse(losses.l1, 0.3, term)(model, x, seeded())
        assert_close(terms["reconstruction"], term(x, getattr(output, field)))
        assert_close(terms["sparsity"], 0.3 * output.z.abs().sum(dim=1))
        assert_close(terms["loss"], terms["reconstruction"] + terms["sparsity"])
    free = losses.sparse(losses.l1, 0.0)(model, x, seeded())["loss"]
    assert_close(free, losses.reconstruction()(model, x, seeded())["loss"])


def test_a_shared_weight_is_penalised_once():
    layer = nn.Linear(4, 4)
    twice = nn.Sequential(layer, layer)
    assert_close(losses.weight_penalty(twice), layer.weight.square().sum())


def test_denoising_without_noise_is_reconstruction():
    model, x = Pair(), draw()
    for term in (losses.squared_error, losses.bernoulli):
        ours = losses.denoising(lambda x, generator: x, term)(model, x, seeded())
        plain = losses.reconstruction(term)(model, x, seeded())
        assert_close(ours["loss"], plain["loss"])


def test_denoising_draws_anew_from_the_generator_it_is_given():
    model, x, generator = Pair(), draw(), seeded()
    objective = losses.denoising(add_noise)
    first, second = (objective(model, x, generator)["loss"] for _ in range(2))
    assert not torch.allclose(first, second)
    assert torch.equal(first, objective(model, x, seeded())["loss"])


def test_the_noise_of_the_target_is_another_one():
    """Rejects: one noise for input and target, which a copy would fit without loss."""
    copy = Wrapped(nn.Identity())
    x = draw()
    loss = losses.denoising(add_noise, target=add_noise)(copy, x, seeded())["loss"]
    generator = seeded()
    expected = add_noise(x, generator) - add_noise(x, generator)
    assert_close(loss, expected.square().sum(dim=1))
    assert (loss > 0.1).all()


# Error


@pytest.mark.parametrize("name", ["corrupt", "target"])
def test_a_corruption_is_a_function_that_returns(name):
    good = {"corrupt": add_noise}
    with pytest.raises(TypeError, match=rf"{name} to be a function .* but got Tensor"):
        losses.denoising(**(good | {name: draw()}))
    objective = losses.denoising(**(good | {name: lambda x, generator: None}))
    with pytest.raises(TypeError, match=rf"{name} to return a Tensor, but got None"):
        objective(Pair(), draw(), seeded())


def test_denoising_names_itself():
    objective = losses.denoising(add_noise, lambda x, mu: x)
    with pytest.raises(ValueError, match=r"^denoising: expected the model's output"):
        objective(Pair(), draw(), seeded())


def test_shapes_must_agree(term):
    x = X_KINDS[term]()
    for other in (x[:1], x[:, :1], x[0], x[:, :, None]):
        with pytest.raises(ValueError, match=r"one shape \(batch, d\), but got \(8, 6"):
            term(x, other)
    with pytest.raises(ValueError, match=re.escape("got (6,) and (6,)")):
        term(x[0], x[0])


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
@pytest.mark.parametrize("bad", [-0.5, 16.0, math.nan])
def test_intensities_must_be_shares(name, bad):
    x = one_hot()
    x[3, 2] = bad
    with pytest.raises(ValueError, match=rf"^{name}: expected x in \[0, 1\], but got"):
        getattr(losses, name)(x, x)


def test_one_hot_rows_sum_to_one():
    with pytest.raises(ValueError, match=r"sum to 1, but one is 1 off; .*one_hot"):
        losses.categorical(torch.eye(3) * torch.tensor([1.0, 0.0, 1.0]), torch.eye(3))


def test_mixed_blocks_cover_the_columns():
    with pytest.raises(ValueError, match=r"at least one column, but got widths \[\]"):
        losses.mixed()
    with pytest.raises(ValueError, match=r"but got widths \[2, 0\]"):
        losses.mixed((losses.squared_error, 2), (losses.bernoulli, 0))
    term = losses.mixed((losses.squared_error, 2), (losses.bernoulli, 1))
    with pytest.raises(ValueError, match=r"x with 2 \+ 1 columns, but got 6"):
        term(draw(), draw())


@pytest.mark.parametrize("l2", [-1.0, math.inf, math.nan])
def test_the_penalty_is_not_negative(l2):
    with pytest.raises(ValueError, match=f"a finite l2 >= 0, but got {l2}"):
        losses.reconstruction(l2=l2)


def test_a_model_without_the_field_is_named():
    objective = losses.reconstruction(lambda x, mu: x)
    with pytest.raises(ValueError, match=r"to have mu, .* but got Output with x_hat"):
        objective(Pair(), draw(), seeded())
    with pytest.raises(ValueError, match="but got Tensor with no fields; name the"):
        objective(nn.Identity(), draw(), seeded())


def test_codes_are_rows():
    for penalty in (losses.l1, lambda z: losses.kl_sparsity(z, 0.1)):
        with pytest.raises(ValueError, match=r"\(batch, k\), but got \(6,\); pass one"):
            penalty(torch.zeros(6))


@pytest.mark.parametrize("bad", [-0.5, 16.0, math.nan])
def test_activations_must_be_shares(bad):
    z = draw()
    z[3, 2] = bad
    with pytest.raises(ValueError, match=r"z in \[0, 1\], but got .*sigmoid', or l1"):
        losses.kl_sparsity(z, 0.1)


@pytest.mark.parametrize("rho", [0, 1, -0.1, math.nan])
def test_rho_is_a_share(rho):
    with pytest.raises(ValueError, match=f"0 < rho < 1, but got {rho}; it is the"):
        losses.kl_sparsity(draw(), rho)


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_lambda_is_not_negative(weight):
    with pytest.raises(ValueError, match=f"a finite weight >= 0, but got {weight}"):
        losses.sparse(losses.l1, weight)


def test_a_model_without_a_code_is_named():
    objective = losses.sparse(losses.l1, 0.1, lambda x, shape: x.sum(dim=1))
    with pytest.raises(ValueError, match="to have z, which the penalty reads, but got"):
        objective(nn.Linear(6, 6).double(), draw(), seeded())
