"""The wrong answers for sampling and KL that public teaching code gives, each rejected.

A mutant is the source of ``ops._reference`` with one line changed. Five checks look at
an op from outside; a mutant counts as rejected by a check when that check's assert
fails on it and passes on the original. The table of all of them is printed.
"""

import inspect
import math
import textwrap

import pytest
import scipy.stats
import torch
from torch import Tensor

from aelab import ops

STD = "std = torch.exp(logvar / 2)"
Z = "z = mu + std * eps"
NOISE = "eps = _noise(mu, seed)"
KL = "kl = ((mu.square() + (torch.expm1(logvar) - logvar)) / 2).sum(dim=-1)"
SWAPPED = "(mu.square() + 1) / torch.exp(logvar) - 1 + logvar"

# name: (the line of the original, the line of the mutant, the checks that must reject)
MUTANTS = {
    "exp(logvar) as std": (STD, "std = torch.exp(logvar)", "noise kl gradients eps"),
    "(eps + mu) * std": (Z, "z = (eps + mu) * std", "noise kl gradients eps"),
    "eps shared over the batch": (
        NOISE, "eps = _noise(mu[:1], seed).expand_as(mu)", "independence"),
    "eps shared over the latents": (
        NOISE, "eps = _noise(mu[..., :1], seed).expand_as(mu)", "independence"),
    "uniform eps": (NOISE, "eps = torch.rand_like(mu)", "noise kl"),
    "uniform eps of unit variance": (
        NOISE, "eps = (torch.rand_like(mu) - 0.5) * 12**0.5", "noise"),
    "no noise": (Z, "z = mu + 0 * eps", "noise kl gradients eps"),
    "detached std": (Z, "z = mu + std.detach() * eps", "gradients"),
    "detached mu": (Z, "z = mu.detach() + std * eps", "gradients"),
    "noise in evaluation mode": ("if eps is None:", "if True:", "eps"),
    "no 1/2": (KL, KL.replace(" / 2", ""), "kl gradients"),
    "mean over the latents": (KL, KL.replace("sum(", "mean("), "kl gradients"),
    "arguments swapped": (KL, f"kl = (({SWAPPED}) / 2).sum(dim=-1)", "kl gradients"),
    "log(sigma)^2 for log sigma^2": (
        KL, KL.replace("- logvar", "- (logvar / 2).square()"), "kl gradients"),
    "log-std read as log-variance": (
        KL, KL.replace("logvar", "(2 * logvar)"), "kl gradients"),
    "sign of mu^2": (KL, KL.replace("mu.square()", "-mu.square()"), "kl gradients"),
    "the -1 missing": (KL, KL.replace("expm1", "exp"), "kl"),
    "KL detached": (KL, KL + ".detach()", "gradients"),
}  # fmt: skip


def make(line: str, wrong: str):
    """Compile ``ops._reference`` with one line changed, behind the same signature."""
    source = textwrap.dedent(inspect.getsource(ops._reference))
    assert source.count(line) == 1, f"the original has not exactly one {line!r}"
    namespace = dict(vars(ops))
    exec(source.replace(line, wrong), namespace)
    return lambda mu, logvar, eps=None: namespace["_reference"](mu, logvar, eps, None)


def wide(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mu, logvar = 1.5 * torch.randn(2, *shape, generator=generator).double()
    return mu.requires_grad_(), logvar.requires_grad_()


def check_noise(op) -> None:
    mu, logvar = wide(2000, 8)
    eps = ((op(mu, logvar)[0] - mu) / torch.exp(logvar / 2)).detach().flatten()
    p = scipy.stats.kstest(eps.numpy(), "norm").pvalue
    assert p > 1e-3, f"(z - mu) / std is not standard normal: KS p = {p:.0e}"


def check_independence(op) -> None:
    mu, logvar = wide(200, 200)
    eps = ((op(mu, logvar)[0] - mu) / torch.exp(logvar / 2)).detach()
    for table, what in ((eps, "rows"), (eps.T, "columns")):
        off = torch.corrcoef(table) - torch.eye(len(table))
        limit = 6 / math.sqrt(table.shape[1])
        worst = off.abs().max().item()
        assert worst < limit, f"two {what} correlate by {worst:.2f}"


def check_kl(op) -> None:
    mu, logvar = (x.detach() for x in wide(24, 3))
    n = 20_000
    z, _ = op(mu.expand(n, -1, -1), logvar.expand(n, -1, -1))
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    log_ratio = (q.log_prob(z) + 0.5 * z**2 + 0.5 * math.log(2 * math.pi)).sum(-1)
    error = log_ratio.std(0) / math.sqrt(n)
    off = ((op(mu, logvar)[1] - log_ratio.mean(0)) / error).abs().max().item()
    assert off < 4, f"kl is {off:.0f} standard errors off the Monte Carlo of its z"


def check_gradients(op) -> None:
    mu, logvar = wide(10, 4)
    z, kl = op(mu, logvar)
    half_noise = (z - mu).detach() / 2
    expected = {
        "dz/dmu": (z, mu, torch.ones_like(mu)),
        "dz/dlogvar": (z, logvar, half_noise),
        "dkl/dmu": (kl, mu, mu),
        "dkl/dlogvar": (kl, logvar, torch.expm1(logvar) / 2),
    }
    for name, (y, x, formula) in expected.items():
        assert y.requires_grad, f"{name} is cut off"
        (grad,) = torch.autograd.grad(y.sum(), x, retain_graph=True, allow_unused=True)
        right = grad is not None and torch.allclose(grad, formula, atol=1e-6)
        assert right, f"{name} is not its formula"


def check_eps(op) -> None:
    mu, logvar = wide(10, 4)
    assert torch.equal(op(mu, logvar, torch.zeros_like(mu))[0], mu), "eps = 0: z != mu"
    eps = torch.linspace(-2, 2, 40).double().reshape(10, 4)
    z = op(mu, logvar, eps)[0]
    assert torch.allclose(z, mu + torch.exp(logvar / 2) * eps), "eps given, not used"


CHECKS = {
    "noise": check_noise,
    "independence": check_independence,
    "kl": check_kl,
    "gradients": check_gradients,
    "eps": check_eps,
}


def verdicts(op) -> dict[str, str]:
    """The checks that reject an op, and the message of the assert that failed."""
    failed = {}
    for name, check in CHECKS.items():
        torch.manual_seed(0)
        try:
            check(op)
        except AssertionError as error:
            failed[name] = str(error).splitlines()[0]
    return failed


# Value against an outside oracle


@pytest.mark.parametrize("name", ["reparam_kl", "reparam_kl_reference"])
def test_the_op_passes_every_check(name):
    assert verdicts(getattr(ops, name)) == {}


# Error


def test_each_wrong_answer_is_rejected(show):
    assert len(MUTANTS) == 18
    rows = [f"{'mutant':30}" + " ".join(f"{name:12}" for name in CHECKS) + "says"]
    survivors = []
    for name, (line, wrong, expected) in MUTANTS.items():
        failed = verdicts(make(line, wrong))
        marks = " ".join(f"{'rejected' if c in failed else '.':12}" for c in CHECKS)
        rows.append(f"{name:30}{marks}{next(iter(failed.values()), 'nothing')}")
        if not set(expected.split()) <= set(failed):
            survivors.append(name)
    show("\n".join(rows))
    assert survivors == []
