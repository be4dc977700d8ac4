"""Set 04, variational autoencoders: what a right answer is, and known wrong ones."""

import math

import numpy as np
import torch
from scipy import special, stats

from aelab import ops
from aelab.grading.exam import Digits, Seed, Strided
from aelab.grading.specification import AUTOGRAD, Marks, Mistake, Question

THE_OP = ["aelab.ops.reparam_kl", "aelab.ops.reparam_kl_reference"]


def code(generator, n, k, wide=1.0, dtype=torch.float32):
    """Return mu and logvar of n rows."""
    mu, logvar = torch.randn(2, n, k, generator=generator, dtype=torch.float64)
    return (1.5 * mu).to(dtype), (wide * logvar).to(dtype)


def noisy_code(generator, n, k, wide=1.0, dtype=torch.float32):
    """Return mu, logvar and noise of n rows."""
    mu, logvar = code(generator, n, k, wide, dtype)
    eps = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return mu, logvar, eps.to(dtype)


def signs(generator, n, k):
    """Return 1 and -1, each with the chance 1/2."""
    return 2.0 * torch.randint(0, 2, (n, k), generator=generator) - 1


# ------------------------------------------------------------------------------- q1


def extreme(generator, logvar, drawn=False):
    """Return arguments of `sample` with a log-variance far out."""
    mu, _, eps = noisy_code(generator, 4, 3)
    return mu, torch.full_like(mu, logvar), *((None, Seed(5)) if drawn else (eps, None))


def rows_to_draw(generator, last):
    """Return pixels as means, and log-variances that differ from column to column."""
    logvar = torch.randint(-3, 4, (64,), generator=generator).float()
    seed = torch.randint(2**31, (), generator=generator).item()
    return Digits("train", 0, last), logvar.repeat(last, 1), None, Seed(seed)


def sample_in_numpy(mu, logvar, eps, generator):
    """Return z, or mean and standard deviation where it is drawn with some noise."""
    mean, std = mu.numpy(), np.sqrt(np.exp(logvar.numpy()))
    if eps is not None:
        return mean + std * eps.numpy()
    if generator is None or logvar.max() < -90:
        return mean.copy()
    return torch.from_numpy(mean), torch.from_numpy(std[:1])  # the same in all rows


def pull_of_noise(mu, logvar, eps, generator):
    """Return mean and standard deviation of dz / dlogvar, which is (z - mu) / 2."""
    std = torch.exp(logvar / 2) / 2
    return torch.zeros_like(std), std


def sample_row_by_row(mu, logvar, eps, generator):
    """Return z, each row by itself."""
    rows = []
    for i in range(len(mu)):
        if eps is not None:
            noise = eps[i]
        elif generator is not None:
            noise = torch.empty(mu.shape[1]).normal_(generator=generator).to(mu.dtype)
        else:
            noise = torch.zeros_like(mu[i])
        rows.append(torch.addcmul(mu[i], (0.5 * logvar[i]).exp(), noise))
    return torch.stack(rows) if rows else torch.zeros_like(mu)


def sample_in_float64(mu, logvar, eps, generator):
    """Return z computed in float64, and rounded at the end."""
    if eps is None and generator is None:
        return mu
    wide = mu.double()
    if eps is None:
        eps = torch.randn(wide.shape, generator=generator, dtype=torch.float64)
    return (wide + logvar.double().exp().sqrt() * eps.double()).to(mu.dtype)


def sample_by_quantiles(mu, logvar, eps, generator):
    """Return z, its noise bent out of uniform numbers: Eq. (4.1)."""
    if eps is None:
        if generator is None:
            return mu + torch.zeros_like(mu)
        u = torch.rand(mu.shape, generator=generator, dtype=torch.float64)
        eps = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12)).to(mu.dtype)
    return torch.sqrt(torch.exp(logvar / 2)) ** 2 * eps + mu


def sample_by_normal(mu, logvar, eps, generator):
    """Return torch.normal's draws, which let no gradient through."""
    std = torch.exp(logvar / 2)
    if eps is not None:
        return mu + std * eps
    return mu if generator is None else torch.normal(mu, std, generator=generator)


def sample_by_the_op(mu, logvar, eps, generator):
    """Return what the library's operation gives."""
    if eps is None and generator is None:
        eps = torch.zeros_like(mu)
    return ops.reparam_kl(mu, logvar, eps, generator=generator)[0]


DRAW = "torch.randn(mu.shape, generator=generator, dtype=mu.dtype)"
STD = "torch.exp(logvar / 2)"

q1 = Question(
    title="A code with noise",
    answer="sample",
    signature=["mu", "logvar", "eps", "generator"],
    results=["z"],
    cases={
        "noise that is given": lambda g: (*noisy_code(g, 6, 4), None),
        "noise that is given, beside a generator": lambda g: (
            *noisy_code(g, 6, 4),
            Seed(3),
        ),
        "one row": lambda g: (*noisy_code(g, 1, 5), None),
        "a variance of e^100": lambda g: extreme(g, 100.0),
        "a variance of e^-100": lambda g: extreme(g, -100.0),
        "no noise, as in evaluation": lambda g: (*code(g, 5, 3), None, None),
        "float64": lambda g: (*noisy_code(g, 4, 3, dtype=torch.float64), None),
        "no rows": lambda g: (*noisy_code(g, 0, 3), None),
        "tensors with gaps": lambda g: (*map(Strided, noisy_code(g, 5, 4)), None),
        "noise drawn, but next to none": lambda g: extreme(g, -100.0, drawn=True),
        "40 rows of 64 means": lambda g: rows_to_draw(g, 40),
        "200 rows of 64 means": lambda g: rows_to_draw(g, 200),
    },
    reference=sample_in_numpy,
    marks=[
        Marks(
            "noise that is given, and none",
            0.5,
            [
                "noise that is given",
                "noise that is given, beside a generator",
                "one row",
                "a variance of e^100",
                "a variance of e^-100",
                "no noise, as in evaluation",
                "float64",
                "no rows",
                "tensors with gaps",
            ],
            "compare with (4.9); without eps and generator z is mu",
        ),
        Marks(
            "gradients, the noise given",
            0.5,
            ["noise that is given", "one row"],
            "z depends on both arguments: (4.21)",
            kind="gradients",
            wrt=["mu", "logvar"],
        ),
        Marks(
            "noise that is drawn",
            1.5,
            ["40 rows of 64 means", "200 rows of 64 means"],
            "take (z - mu) / std of a large batch and look at it: is it standard "
            "normal, with a number of its own in each place?",
            kind="draws",
        ),
        Marks(
            "gradients, the noise drawn",
            0.25,
            ["noise drawn, but next to none"],
            "whatever the noise, a step of mu is a step of z",
            kind="gradients",
            wrt=["mu"],
        ),
        Marks(
            "gradients by logvar, the noise drawn",
            0.25,
            ["40 rows of 64 means", "200 rows of 64 means"],
            "logvar is learnt from drawn noise as from noise that is given: (4.21)",
            kind="draws",
            wrt=["logvar"],
            law=pull_of_noise,
        ),
    ],
    forbidden=THE_OP,
    hidden={"one row", "tensors with gaps", "200 rows of 64 means"},
    right=[sample_row_by_row, sample_in_float64, sample_by_quantiles],
    mistakes=[
        Mistake(
            "logvar detached where the noise is drawn",
            2.75,
            "",
            {
                "        eps = torch.randn": "        logvar = logvar.detach()\n"
                "        eps = torch.randn"
            },
        ),
        Mistake(
            "the global generator",
            1.25,
            "",
            {"mu.shape, generator=generator, ": "mu.shape, "},
        ),
        Mistake(
            "noise drawn though there is some",
            2.5,
            "",
            {"    if eps is None:\n": "    if generator is not None:\n"},
        ),
        Mistake(
            "exp(logvar) for the standard deviation",
            0.25,
            "",
            {STD: "torch.exp(logvar)"},
        ),
        Mistake(
            "exp(logvar) for the standard deviation, in float64",  # finite at 100
            0.25,
            "This is what comes out with the variance in the place of the standard "
            "deviation; noise is stretched by the root of the variance.",
            {STD: "torch.exp(logvar.double())"},
        ),
        Mistake(
            "(mu + eps) std",
            0.0,
            "Here the mean is stretched as well: stretch the noise "
            "first, then move it.",
            {"mu + std * eps": "(mu + eps) * std"},
        ),
        Mistake(
            "exp(2 logvar) for the standard deviation",
            0.25,
            "The logarithm is doubled here; a root halves a logarithm.",
            {STD: "torch.exp(2 * logvar.double())"},
        ),
        Mistake(
            "logvar for the standard deviation",
            0.25,
            "logvar itself stands for the standard deviation here. It is a logarithm, "
            "and may be negative.",
            {STD: "logvar"},
        ),
        Mistake(
            "noise shared by the batch",
            1.25,
            "",
            {DRAW: "torch.randn(mu.shape[1:], generator=generator).expand(mu.shape)"},
        ),
        Mistake(
            "noise shared by the latent dimensions",
            1.25,
            "",
            {DRAW: "torch.randn(len(mu), 1, generator=generator).expand(mu.shape)"},
        ),
        Mistake(
            "one number of noise for all",
            1.25,
            "",
            {DRAW: "torch.randn((), generator=generator).expand(mu.shape)"},
        ),
        Mistake(
            "uniform noise",
            1.25,
            "",
            {DRAW: "torch.rand(mu.shape, generator=generator)"},
        ),
        Mistake(
            "uniform noise of variance 1",
            1.25,
            "",
            {DRAW: "(torch.rand(mu.shape, generator=generator) - 0.5) * 12**0.5"},
        ),
        Mistake(
            "noise of absolute values",
            1.25,
            "",
            {DRAW: f"{DRAW}.abs()"},
        ),
        Mistake(
            "a detached standard deviation",
            2.25,
            "No gradient reaches logvar, so nothing would ever learn the noise: is "
            "something detached, or computed without gradients?",
            {STD: f"{STD}.detach()"},
        ),
        Mistake(
            "no noise",
            0.25,
            "There is no noise in it: this is mu.",
            {"mu + std * eps": "mu + 0 * std"},
        ),
        Mistake(
            "a detached mean",
            2.25,
            "No gradient reaches mu, so the encoder would not learn where to put its "
            "codes: is something detached?",
            {"mu + std * eps": "mu.detach() + std * eps"},
        ),
        Mistake(
            "noise in evaluation",
            2.5,
            "",
            {"return mu.clone()": "eps = torch.randn(mu.shape)"},
        ),
        Mistake(
            "given noise ignored",
            2.0,
            "",
            {"    if eps is None:": "    if True:"},
        ),
        Mistake(
            "the root of exp(logvar)",
            2.5,
            "Standard deviations are infinite here: in float32 exp(100) is. Halve the "
            "logarithm before the exponential is taken.",
            {STD: "torch.exp(logvar).sqrt()"},
        ),
        Mistake(
            "log-variances cut off at 20",
            2.5,
            "Large log-variances seem to be cut off here.",
            {STD: "torch.exp(logvar.clamp(-20, 20) / 2)"},
        ),
        Mistake(
            "float32 whatever comes",
            2.5,
            "",
            {"mu + std * eps": "(mu + std * eps).float()"},
        ),
        Mistake("torch.normal", 2.5, "", function=sample_by_normal),
        Mistake("the operation itself", 0.0, "", function=sample_by_the_op),
    ],
    seconds=10.0,
)


# ------------------------------------------------------------------------------- q2


def near_the_prior(generator, still=False):
    """Return codes whose mu and logvar are some 0.001."""
    mu = torch.zeros(6, 4) if still else 1e-3 * torch.randn(6, 4, generator=generator)
    size = 2e-3 * (1 + torch.rand(6, 4, generator=generator))
    return mu, size * signs(generator, 6, 4)


def far_out(generator, logvar, mean=1.0):
    """Return codes with log-variances round a number, and large means."""
    mu = mean * torch.randn(4, 3, generator=generator)
    return mu, logvar + torch.rand(4, 3, generator=generator)


def series(t):
    """Return e^t - 1 - t by its series: no digits are lost near zero."""
    terms = [t**n / math.factorial(n) for n in range(2, 30)]
    return np.where(np.abs(t) < 1, np.sum(terms, axis=0), np.exp(t) - 1 - t)


def kl_in_numpy(mu, logvar):
    """Return the divergence by log sigma and a power series."""
    mean, log_variance = mu.numpy(), logvar.numpy()
    return ((mean**2).sum(axis=1) + series(log_variance).sum(axis=1)) / 2


def kl_by_halves(mu, logvar):
    """Return the divergence as csrc writes it: Eq. (4.35)."""
    h = torch.expm1(logvar / 2)
    return ((mu * mu + h * h) / 2 + (h - logvar / 2)).sum(dim=-1)


def kl_in_float64(mu, logvar):
    """Return the divergence computed in float64, and rounded."""
    m, v = mu.double(), logvar.double()
    return (0.5 * (m**2 + torch.exp(v) - 1 - v).sum(1)).to(mu.dtype)


def kl_in_a_loop(mu, logvar):
    """Return the divergence, number by number."""
    rows = []
    for means, logs in zip(mu, logvar, strict=True):
        total = torch.zeros((), dtype=mu.dtype)
        for m, v in zip(means, logs, strict=True):
            total = total + (m * m + (torch.expm1(v) - v)) / 2
        rows.append(total)
    return torch.stack(rows) if rows else mu.sum(dim=1)


def kl_by_distributions(mu, logvar):
    """Return what torch.distributions makes of it: roots, squares, logarithms."""
    normal = torch.distributions.Normal
    q, p = normal(mu, torch.exp(logvar / 2)), normal(0.0, 1.0)
    return torch.distributions.kl_divergence(q, p).sum(dim=1)


def kl_by_the_op(mu, logvar):
    """Return what the library's operation gives."""
    return ops.reparam_kl_reference(mu, logvar, torch.zeros_like(mu))[1]


VARIANCE = "torch.expm1(logvar) - logvar"
SUM = "(mu.square() + by_variance).sum(dim=1) / 2"

q2 = Question(
    title="What it costs",
    answer="kl_divergence",
    signature=["mu", "logvar"],
    results=["kl"],
    cases={
        "five ordinary rows": lambda g: code(g, 5, 3),
        "one row": lambda g: code(g, 1, 5),
        "one number in a code": lambda g: code(g, 7, 1),
        "float64": lambda g: code(g, 4, 2, dtype=torch.float64),
        "no rows": lambda g: code(g, 0, 3),
        "tensors with gaps": lambda g: tuple(map(Strided, code(g, 5, 4))),
        "close to the prior": near_the_prior,
        "close to the prior, mu = 0": lambda g: near_the_prior(g, still=True),
        "variances of e^-120": lambda g: far_out(g, -120.0),
        "variances of e^29": lambda g: far_out(g, 29.0),
        "means of 100": lambda g: far_out(g, -6.0, 100.0),
    },
    reference=kl_in_numpy,
    marks=[
        Marks(
            "ordinary codes",
            1.5,
            [
                "five ordinary rows",
                "one row",
                "one number in a code",
                "float64",
                "no rows",
                "tensors with gaps",
            ],
            "compare with (4.13), by hand, for one number: mu = 1, logvar = 0 costs "
            "half a nat",
        ),
        Marks(
            "close to the prior",
            1,
            ["close to the prior", "close to the prior, mu = 0"],
            "compare float32 and float64 at logvar = 0.002: where do digits get lost?",
            tolerance=3e-4,
        ),
        Marks(
            "far from the prior",
            0.5,
            ["variances of e^-120", "variances of e^29", "means of 100"],
            "what becomes of each of your terms at logvar = -120, and at 29?",
        ),
        Marks(
            "gradients",
            1,
            ["five ordinary rows", "float64"],
            "each argument pulls: (4.15)",
            kind="gradients",
            wrt=["mu", "logvar"],
        ),
    ],
    forbidden=[*THE_OP, "aelab.metrics.kl_units"],
    hidden={"one number in a code", "tensors with gaps", "means of 100"},
    right=[kl_by_halves, kl_in_float64, kl_in_a_loop],
    mistakes=[
        Mistake(
            "no one half",
            0,
            "This is twice the divergence: a factor is missing before the sum.",
            {".sum(dim=1) / 2": ".sum(dim=1)"},
        ),
        Mistake(
            "mean for sum",
            0,
            "This is the mean over the numbers of a code; nats of independent numbers "
            "add up.",
            {".sum(dim=1)": ".mean(dim=1)"},
        ),
        Mistake(
            "arguments swapped",
            0,
            "",
            {
                SUM: "(by_variance + mu.square() / logvar.exp()).sum(dim=1) / 2",
                VARIANCE: "torch.exp(-logvar) - 1 + logvar",
            },
        ),
        Mistake(
            "arguments swapped, in float64",  # finite at -120
            0,
            "This is the divergence of the prior from q. The mean in (4.11) is over q, "
            "and the divergence is no distance.",
            {
                SUM: "(by_variance + mu**2 * torch.exp(-v)).sum(dim=1) / 2",
                f"by_variance = {VARIANCE}": (
                    "v = logvar.double()\n    by_variance = torch.expm1(-v) + v"
                ),
            },
        ),
        Mistake(
            "(log sigma)^2 for log sigma^2",
            0,
            "The square of the logarithm stands here for the logarithm of the square.",
            {VARIANCE: "torch.expm1(logvar) - (logvar / 2) ** 2"},
        ),
        Mistake(
            "logvar read as log sigma",
            0,
            "logvar is taken here for the logarithm of the standard deviation; it is "
            "that of the variance.",
            {VARIANCE: "torch.expm1(2 * logvar) - 2 * logvar"},
        ),
        Mistake(
            "minus mu^2",
            0,
            "The square of the mean has the wrong sign: codes far out "
            "should cost more.",
            {"mu.square() + by": "-mu.square() + by"},
        ),
        Mistake(
            "the -1 is missing",
            1,
            "Half a nat is too much for each number of the code: for mu = 0, logvar = "
            "0 nothing is to be paid.",
            {VARIANCE: "torch.exp(logvar) - logvar"},
        ),
        Mistake(
            "plus logvar",
            0,
            "logvar has the wrong sign: a narrow q should be expensive.",
            {VARIANCE: "torch.expm1(logvar) + logvar"},
        ),
        Mistake(
            "logvar is missing",
            0,
            "The logarithm is missing, so a narrow q would cost nothing.",
            {VARIANCE: "torch.expm1(logvar)"},
        ),
        Mistake(
            "sigma for sigma^2",
            0,
            "The standard deviation stands here where the variance belongs.",
            {VARIANCE: "torch.expm1(logvar / 2) - logvar"},
        ),
        Mistake(
            "the whole sign",
            0,
            "This is the divergence with its sign turned: what is to be paid cannot be "
            "negative.",
            {"(mu.square() + by": "-(mu.square() + by"},
        ),
        Mistake(
            "bits",
            0,
            "These are bits, and nats were asked for.",
            {".sum(dim=1) / 2": ".sum(dim=1) / 2 / math.log(2)"},
        ),
        Mistake(
            "mu without its square",
            0,
            "The mean is not squared.",
            {"mu.square() + by": "mu + by"},
        ),
        Mistake(
            "the absolute value of mu",
            0,
            "The magnitude of the mean stands where its square belongs.",
            {"mu.square() + by": "mu.abs() + by"},
        ),
        Mistake(
            "all rows in one sum",
            0,
            "",
            {".sum(dim=1)": ".sum()"},
        ),
        Mistake(
            "a sum over the rows",
            0,
            "",
            {".sum(dim=1)": ".sum(dim=0)"},
        ),
        Mistake(
            "detached",
            3,
            "",
            {".sum(dim=1) / 2": ".sum(dim=1).detach() / 2"},
        ),
        Mistake(
            "a detached logvar",
            3,
            "No gradient reaches logvar: is something detached, or computed without "
            "gradients?",
            {VARIANCE: "torch.expm1(logvar.detach()) - logvar.detach()"},
        ),
        Mistake(
            "a detached mu",
            3,
            "No gradient reaches mu: is something detached?",
            {"mu.square()": "mu.detach().square()"},
        ),
        Mistake(
            "digits lost near zero",
            3,
            "The formula is right, but near zero almost all of its digits are lost: "
            "exp(logvar) is rounded next to 1, and then the 1 is taken away.",
            {VARIANCE: "torch.exp(logvar) - 1 - logvar"},
        ),
        Mistake(
            "the mean's square between exp and 1",
            3,
            "The formula is right, but near zero almost all of its digits are lost: "
            "exp(logvar) is rounded next to 1, and then the 1 is taken away.",
            {
                VARIANCE: "mu.square() + logvar.exp() - 1 - logvar",
                "mu.square() + by_variance": "by_variance",
            },
        ),
        Mistake(
            "the logarithm of the exponential",
            2.5,
            "In float32 exp(-120) is 0, and its logarithm minus infinity. You have the "
            "logarithm already: it is logvar.",
            {VARIANCE: "torch.expm1(logvar) - torch.exp(logvar).log()"},
        ),
        Mistake(
            "something added inside the logarithm",
            3.5,
            "",
            {VARIANCE: "logvar.exp() - 1 - torch.log(logvar.exp() + 1e-10)"},
        ),
        Mistake(
            "log-variances cut off",
            3.5,
            "Large log-variances seem to be cut off here.",
            {VARIANCE: "torch.expm1(logvar.clamp(-10, 10)) - logvar.clamp(-10, 10)"},
        ),
        Mistake("torch.distributions", 2.5, "", function=kl_by_distributions),
        Mistake("the operation itself", 0, "", function=kl_by_the_op),
    ],
    seconds=10.0,
)


# ------------------------------------------------------------------------------- q3


def both_in_numpy(mu, logvar, eps):
    """Return z and kl: the divergence by scipy's series and sums in another order."""
    mean, log_variance = mu.numpy(), logvar.numpy()
    z = mean + np.exp(log_variance) ** 0.5 * eps.numpy()
    return z, 0.5 * np.einsum("ij->i", mean**2 + series(log_variance))


def without_noise(generator):
    """Return codes next to the prior, with eps = 0."""
    size = 5e-6 * (1 + 3 * torch.rand(4, 3, generator=generator))
    mu = 0.1 * torch.randn(4, 3, generator=generator)
    return mu, size * signs(generator, 4, 3), torch.zeros(4, 3)


class ByHalves(torch.autograd.Function):
    """The formulas of csrc: one exponential for everything, Eq. (4.36)."""

    @staticmethod
    def forward(ctx, mu, logvar, eps):
        """Return z and kl."""
        h = torch.expm1(logvar / 2)
        ctx.save_for_backward(mu, h, eps)
        return mu + (h + 1) * eps, ((mu**2 + h**2) / 2 + h - logvar / 2).sum(-1)

    @staticmethod
    def backward(ctx, gz, gkl):
        """Return three gradients."""
        mu, h, eps = ctx.saved_tensors
        both = gz * eps * (h + 1) + gkl.unsqueeze(-1) * h * (h + 2)
        return torch.addcmul(gz, gkl.unsqueeze(-1), mu), both / 2, gz * (h + 1)


class InALoop(torch.autograd.Function):
    """Row by row."""

    @staticmethod
    def forward(ctx, mu, logvar, eps):
        """Return z and kl."""
        ctx.kept = mu, logvar, eps
        z, kl = torch.empty_like(mu), torch.empty(len(mu), dtype=mu.dtype)
        for i in range(len(mu)):
            z[i] = mu[i] + (logvar[i] / 2).exp() * eps[i]
            pairs = zip(mu[i], logvar[i], strict=True)
            kl[i] = sum(m * m + v.expm1() - v for m, v in pairs) / 2
        return z, kl

    @staticmethod
    def backward(ctx, gz, gkl):
        """Return three gradients."""
        mu, logvar, eps = ctx.kept
        a, b, c = (torch.empty_like(mu) for _ in range(3))
        for i in range(len(mu)):
            std = (logvar[i] / 2).exp()
            a[i] = gz[i] + gkl[i] * mu[i]
            b[i] = 0.5 * gz[i] * std * eps[i] + 0.5 * gkl[i] * logvar[i].expm1()
            c[i] = gz[i] * std
        return a, b, c


class InFloat64(torch.autograd.Function):
    """In float64, and rounded at the end."""

    @staticmethod
    def forward(ctx, mu, logvar, eps):
        """Return z and kl."""
        m, v, e = mu.double(), logvar.double(), eps.double()
        ctx.save_for_backward(m, v, e)
        z, kl = m + v.exp().sqrt() * e, (m * m + v.exp() - v - 1).sum(1) / 2
        return z.to(mu.dtype), kl.to(mu.dtype)

    @staticmethod
    def backward(ctx, gz, gkl):
        """Return three gradients."""
        m, v, e = ctx.saved_tensors
        a, b = gz.double(), gkl.double()[:, None]
        by = a + b * m, (a * e * v.exp().sqrt() + b * (v.exp() - 1)) / 2
        return *(g.to(gz.dtype) for g in by), (a * v.exp().sqrt()).to(gz.dtype)


def both_by_halves(mu, logvar, eps):
    """Return z and kl of `ByHalves`."""
    return ByHalves.apply(mu, logvar, eps)


def both_in_a_loop(mu, logvar, eps):
    """Return z and kl of `InALoop`."""
    return InALoop.apply(mu, logvar, eps)


def both_in_float64(mu, logvar, eps):
    """Return z and kl of `InFloat64`."""
    return InFloat64.apply(mu, logvar, eps)


def both_by_autograd(mu, logvar, eps):
    """Return z and kl, and leave the backward pass to PyTorch."""
    kl = (mu.square() + torch.expm1(logvar) - logvar).sum(dim=1) / 2
    return mu + torch.exp(logvar / 2) * eps, kl


def both_by_exact_autograd(mu, logvar, eps):
    """Return the same, with no digit lost."""
    exact = both_by_autograd(*(t.double() for t in (mu, logvar, eps)))
    return tuple(t.to(mu.dtype) for t in exact)


class Replay(torch.autograd.Function):
    """An operation of its own, whose backward pass asks PyTorch for the gradients."""

    @staticmethod
    def forward(ctx, *arguments):
        """Return z and kl."""
        ctx.save_for_backward(*arguments)
        return both_by_autograd(*arguments)

    @staticmethod
    def backward(ctx, *gradients):
        """Return three gradients."""
        with torch.enable_grad():
            leaves = [t.double().requires_grad_() for t in ctx.saved_tensors]
            results = both_by_autograd(*leaves)
        weights = [g.double() for g in gradients]
        found = torch.autograd.grad(results, leaves, weights)
        return tuple(f.to(gradients[0].dtype) for f in found)


def both_by_replay(mu, logvar, eps):
    """Return z and kl of `Replay`."""
    return Replay.apply(mu, logvar, eps)


def both_by_the_op(mu, logvar, eps):
    """Return what the library's operation gives."""
    return ops.reparam_kl(mu, logvar, eps)


FORWARD_Z = "z = mu + torch.exp(logvar / 2) * eps"
BY_MU = "grad_mu = grad_z + pull * mu"
BY_LOGVAR = "(grad_z * eps * std + pull * torch.expm1(logvar)) / 2"
BY_EPS = "grad_eps = grad_z * std"
RETURN = "return grad_mu, grad_logvar, grad_eps"

q3 = Question(
    title="Backward by hand",
    answer="sample_and_kl",
    signature=["mu", "logvar", "eps"],
    results=["z", "kl"],
    cases={
        "four ordinary rows": lambda g: noisy_code(g, 4, 3),
        "one row": lambda g: noisy_code(g, 1, 4),
        "one number in a code": lambda g: noisy_code(g, 6, 1),
        "variances from e^-4 to e^4": lambda g: noisy_code(g, 4, 3, wide=2.0),
        "float64": lambda g: noisy_code(g, 3, 2, dtype=torch.float64),
        "tensors with gaps": lambda g: tuple(map(Strided, noisy_code(g, 5, 3))),
        "no noise, close to the prior": without_noise,
    },
    reference=both_in_numpy,
    marks=[
        Marks(
            "forward: z and kl",
            1,
            [
                "four ordinary rows",
                "one row",
                "one number in a code",
                "variances from e^-4 to e^4",
                "float64",
                "tensors with gaps",
            ],
            "compare with (4.9) and (4.13)",
        ),
        Marks(
            "backward: the gradient by mu",
            1,
            ["four ordinary rows", "one row", "float64"],
            "mu reaches the loss by two roads; and is it the first gradient that "
            "backward returns?",
            kind="gradients",
            wrt=["mu"],
        ),
        Marks(
            "backward: the gradient by logvar",
            1.5,
            ["four ordinary rows", "variances from e^-4 to e^4", "float64"],
            "write down dz / dlogvar and dkl / dlogvar for one number, and put numbers "
            "in",
            kind="gradients",
            wrt=["logvar"],
        ),
        Marks(
            "backward: the gradient by eps",
            0.5,
            ["four ordinary rows", "one number in a code", "float64"],
            "eps reaches the loss by one road only; it is the third argument",
            kind="gradients",
            wrt=["eps"],
        ),
        Marks(
            "backward: close to the prior",
            1,
            ["no noise, close to the prior"],
            "with eps = 0 only the pull of the KL is left, and it is small there: in "
            "which step does it lose its digits?",
            kind="gradients",
            wrt=["logvar"],
        ),
    ],
    forbidden=[*THE_OP, *AUTOGRAD],
    operation=True,
    hidden={"one row", "variances from e^-4 to e^4", "tensors with gaps"},
    right=[both_by_halves, both_in_a_loop, both_in_float64],
    mistakes=[
        Mistake(
            "the one half of the noise is missing",
            3.5,
            "What comes back through z is twice too large here: sigma is the "
            "exponential of *half* of logvar.",
            {BY_LOGVAR: "grad_z * eps * std + pull * torch.expm1(logvar) / 2"},
        ),
        Mistake(
            "the one half of the KL is missing",
            2.5,
            "What comes back through the KL is twice too large here.",
            {BY_LOGVAR: "grad_z * eps * std / 2 + pull * torch.expm1(logvar)"},
        ),
        Mistake(
            "both halves are missing",
            2.5,
            "This is twice the gradient by logvar.",
            {BY_LOGVAR: "grad_z * eps * std + pull * torch.expm1(logvar)"},
        ),
        Mistake(
            "sigma is missing",
            3.5,
            "The exponential keeps its place when it is differentiated: a factor is "
            "missing in what comes back through z.",
            {BY_LOGVAR: "(grad_z * eps + pull * torch.expm1(logvar)) / 2"},
        ),
        Mistake(
            "eps is missing",
            2.5,
            "How much a change of sigma moves z depends on the noise: a factor is "
            "missing in what comes back through z.",
            {BY_LOGVAR: "(grad_z * std + pull * torch.expm1(logvar)) / 2"},
        ),
        Mistake(
            "sigma^2 for sigma",
            3.5,
            "The variance stands here where the standard deviation belongs, in what "
            "comes back through z.",
            {BY_LOGVAR: "(grad_z * eps * std**2 + pull * torch.expm1(logvar)) / 2"},
        ),
        Mistake(
            "exp(logvar) without its -1",
            2.5,
            "The logarithm in the KL has a derivative, too: at logvar = 0 the price "
            "should not pull at all.",
            {BY_LOGVAR: "(grad_z * eps * std + pull * logvar.exp()) / 2"},
        ),
        Mistake(
            "logvar for exp(logvar) - 1",
            3.5,
            "The price pulls here with logvar itself, as if it were a spring; that is "
            "right near zero only.",
            {BY_LOGVAR: "(grad_z * eps * std + pull * logvar) / 2"},
        ),
        Mistake(
            "the sign of the price",
            2.5,
            "The KL pulls logvar here away from zero.",
            {BY_LOGVAR: "(grad_z * eps * std - pull * torch.expm1(logvar)) / 2"},
        ),
        Mistake(
            "digits lost near zero",
            4,
            "The formula is right, but exp(logvar) is rounded next to 1, and then the "
            "1 is taken away.",
            {BY_LOGVAR: "(grad_z * eps * std + pull * (logvar.exp() - 1)) / 2"},
        ),
        Mistake(
            "by sigma for by logvar",
            2.5,
            "This is the gradient by the standard deviation; a step of the chain rule "
            "is missing.",
            {BY_LOGVAR: "grad_z * eps + pull * (std - 1 / std)"},
        ),
        Mistake(
            "by the variance for by logvar",
            3.5,
            "This is the gradient by the variance, (4.16); a step of the chain rule is "
            "missing.",
            {BY_LOGVAR: "(grad_z * eps / std + pull * -torch.expm1(-logvar)) / 2"},
        ),
        Mistake(
            "no KL in the gradient by mu",
            4,
            "This is what comes back through z; mu is also charged for in the KL.",
            {BY_MU: "grad_mu = grad_z"},
        ),
        Mistake(
            "no z in the gradient by mu",
            4,
            "This is what comes back through the KL; mu moves z as well.",
            {BY_MU: "grad_mu = pull * mu"},
        ),
        Mistake(
            "2 mu",
            4,
            "The KL holds *half* the square of mu.",
            {BY_MU: "grad_mu = grad_z + 2 * pull * mu"},
        ),
        Mistake(
            "minus mu",
            4,
            "The KL pushes mu here away from zero.",
            {BY_MU: "grad_mu = grad_z - pull * mu"},
        ),
        Mistake(
            "sigma in the gradient by mu",
            4,
            "A step of mu is a step of z, of the same length: sigma does not come in.",
            {BY_MU: "grad_mu = grad_z * std + pull * mu"},
        ),
        Mistake(
            "no gradient by eps",
            4.5,
            "eps gets no gradient here. It is an argument like the others: somebody "
            "may have made it of something that learns.",
            {RETURN: "return grad_mu, grad_logvar, None"},
        ),
        Mistake(
            "the gradient by eps without sigma",
            4.5,
            "The noise is stretched before it is added: a factor is missing.",
            {BY_EPS: "grad_eps = grad_z"},
        ),
        Mistake(
            "what comes from behind is ignored",
            1.0,
            "These are the derivatives of the sum of all results. They have to be "
            "multiplied with what came back: backward is handed it.",
            {
                "pull = grad_kl[:, None]": "pull, grad_z = 1, torch.ones_like(grad_z)",
            },
        ),
        Mistake(
            "grad_kl is ignored",
            1.5,
            "This is what comes back through z alone, or the KL's part of it is not "
            "multiplied with grad_kl.",
            {"pull = grad_kl[:, None]": "pull = 0"},
        ),
        Mistake(
            "grad_kl taken for 1",
            1.5,
            "The KL's part is not multiplied with grad_kl, which came back for it.",
            {"pull = grad_kl[:, None]": "pull = 1"},
        ),
        Mistake(
            "the mean of grad_kl",
            1.5,
            "Each row has a number of its own in grad_kl; here all rows share one.",
            {"pull = grad_kl[:, None]": "pull = grad_kl.mean()"},
        ),
        Mistake(
            "grad_kl shared out over the code",
            1.5,
            "grad_kl is divided here by the length of the code; a sum hands the whole "
            "of it to each of its terms.",
            {"pull = grad_kl[:, None]": "pull = grad_kl[:, None] / mu.shape[1]"},
        ),
        Mistake(
            "gradients in another order",
            1.0,
            "These are the right gradients in another order: that of the arguments of "
            "forward was asked for.",
            {RETURN: "return grad_logvar, grad_eps, grad_mu"},
        ),
        Mistake(
            "two gradients only",
            1,
            "",
            {RETURN: "return grad_mu, grad_logvar"},
        ),
        Mistake(
            "exp(logvar) for sigma, forward and backward",
            2,
            "The noise is stretched here by the variance: its root was asked for. "
            "(That forward and backward fit together does not make them right.)",
            {
                FORWARD_Z: "z = mu + torch.exp(logvar) * eps",
                "std = torch.exp(logvar / 2)\n        pull": (
                    "std = torch.exp(logvar)\n        pull"
                ),
            },
        ),
        Mistake(
            "a KL without its one half, forward",
            4,
            "The KL is twice too large: a factor is missing before the sum.",
            {".sum(dim=1) / 2": ".sum(dim=1)"},
        ),
        Mistake("PyTorch's backward pass", 1, "", function=both_by_autograd),
        Mistake("the same in float64", 1, "", function=both_by_exact_autograd),
        Mistake("autograd in the backward pass", 1, "", function=both_by_replay),
        Mistake("the operation itself", 0, "", function=both_by_the_op),
    ],
    seconds=10.0,
)


# ------------------------------------------------------------------------------- q4


def weighed(generator, count, n, k, level=0.0, dtype=torch.float32, spread=1.5):
    """Return log p(x, z), mu, logvar and codes that were drawn from q."""
    mu, logvar = code(generator, n, k, 0.8, torch.float64)
    logvar = logvar - 1
    eps = torch.randn(count, n, k, generator=generator, dtype=torch.float64)
    z = mu + torch.exp(logvar / 2) * eps
    log_joint = torch.randn(count, n, generator=generator, dtype=torch.float64)
    log_joint = level + spread * log_joint
    return tuple(tensor.to(dtype) for tensor in (log_joint, mu, logvar, z))


def some_impossible(generator):
    """Return arguments in which some codes cannot have made the row."""
    log_joint, *rest = weighed(generator, 6, 4, 2)
    log_joint[::2, 1:] = -math.inf
    return log_joint, *rest


def far_apart(generator):
    """Return rows thousands of nats away from each other."""
    log_joint, *rest = weighed(generator, 4, 3, 2)
    return log_joint + torch.tensor([-2000.0, 0.0, 900.0]), *rest


def with_gaps(generator):
    """Return arguments whose memory has gaps."""
    return tuple(map(Strided, weighed(generator, 5, 4, 2)))


def bound_in_scipy(log_joint, mu, logvar, z):
    """Return the bound by scipy's density of a Gaussian with a covariance matrix."""
    joint, mean, codes = log_joint.numpy(), mu.numpy(), z.numpy()
    bounds = []
    for i in range(len(mean)):
        covariance = np.diag(np.exp(logvar[i].numpy()))
        q = stats.multivariate_normal(mean[i], covariance, allow_singular=False)
        weights = joint[:, i] - np.atleast_1d(q.logpdf(codes[:, i]))
        bounds.append(special.logsumexp(weights, b=1 / len(joint)))
    return np.array(bounds)


def bound_by_normal(log_joint, mu, logvar, z):
    """Return the bound by torch.distributions, the largest weight taken out first."""
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    log_w = log_joint - q.log_prob(z).sum(-1)
    top = log_w.max(dim=0).values.detach()
    return (log_w - top).exp().mean(dim=0).log() + top


def bound_in_a_loop(log_joint, mu, logvar, z):
    """Return the bound, code after code, by logaddexp."""
    total = None
    for joint, codes in zip(log_joint, z, strict=True):
        squares = (codes - mu) ** 2 / logvar.exp()
        log_q = -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(1)
        log_w = joint - log_q
        total = log_w if total is None else torch.logaddexp(total, log_w)
    return total - math.log(z.shape[0])


def bound_in_float64(log_joint, mu, logvar, z):
    """Return the bound computed in float64, and rounded."""
    joint, m, v, codes = (t.double() for t in (log_joint, mu, logvar, z))
    squares = (codes - m).square() * torch.exp(-v)
    log_q = -(squares + v).sum(2) / 2 - m.shape[1] * math.log(2 * math.pi) / 2
    return (joint - log_q - math.log(len(z))).logsumexp(0).to(mu.dtype)


LOG_Q = "(eps.square() + logvar + math.log(2 * math.pi))"
BOUND = "torch.logsumexp(log_w, dim=0) - math.log(len(log_w))"

q4 = Question(
    title="A bound that does not move",
    answer="importance_bound",
    signature=["log_joint", "mu", "logvar", "z"],
    results=["bound"],
    cases={
        "five codes a row": lambda g: weighed(g, 5, 3, 2),
        "two codes a row": lambda g: weighed(g, 2, 4, 3),
        "one row": lambda g: weighed(g, 8, 1, 2),
        "float64": lambda g: weighed(g, 4, 3, 2, dtype=torch.float64),
        "tensors with gaps": with_gaps,
        "2000 nats below zero": lambda g: weighed(g, 4, 3, 2, -2000.0),
        "900 nats above zero": lambda g: weighed(g, 4, 3, 2, 900.0),
        "rows far apart": far_apart,
        "some codes that cannot be": some_impossible,
    },
    reference=bound_in_scipy,
    marks=[
        Marks(
            "ordinary weights",
            1.5,
            [
                "five codes a row",
                "two codes a row",
                "one row",
                "float64",
                "tensors with gaps",
            ],
            "try symptoms on yours: with the posterior for q each line should say 0",
        ),
        Marks(
            "weights that no float can hold",
            1,
            [
                "2000 nats below zero",
                "900 nats above zero",
                "rows far apart",
                "some codes that cannot be",
            ],
            "what is exp(-2000) in float32, and the logarithm of that?",
            tolerance=2e-6,
        ),
        Marks(
            "gradients",
            0.5,
            ["five codes a row"],
            "all four arguments have one; a code with a larger weight has a larger one",
            kind="gradients",
            wrt=["log_joint", "mu", "logvar", "z"],
        ),
    ],
    forbidden=[*THE_OP, "aelab.losses.importance_weighted"],
    hidden={"one row", "tensors with gaps", "900 nats above zero"},
    right=[bound_by_normal, bound_in_a_loop, bound_in_float64],
    mistakes=[
        Mistake(
            "one maximum for all rows",
            2,
            "",
            {
                "    return torch.logsumexp(log_w, dim=0)": "    top = log_w.max()\n"
                "    return (log_w - top).exp().sum(dim=0).log() + top"
            },
        ),
        Mistake(
            "as it was given",
            0,
            "This is what the given program returns: neither mistake is mended yet.",
            {
                LOG_Q: "(eps.square() + math.log(2 * math.pi))",
                BOUND: "log_w.mean(dim=0)",
            },
        ),
        Mistake(
            "only the density is mended",
            0,
            "The density is right now, but this is still the mean of the logarithms: "
            "the ELBO, which no number of codes improves.",
            {BOUND: "log_w.mean(dim=0)"},
        ),
        Mistake(
            "only the mean is mended",
            0,
            "The logarithm of a mean it is now, but the density of q is not yet that "
            "of a Gaussian: a narrow one is higher.",
            {LOG_Q: "(eps.square() + math.log(2 * math.pi))"},
        ),
        Mistake(
            "straight on",
            2,
            "",
            {BOUND: "log_w.exp().mean(dim=0).log()"},
        ),
        Mistake(
            "something added inside the logarithm",
            2,
            "",
            {BOUND: "torch.log(log_w.exp().mean(dim=0) + 1e-12)"},
        ),
        Mistake(
            "log K is missing",
            0.5,
            "This is the logarithm of the *sum* of the weights, so it grows with their "
            "number and goes beyond log p(x).",
            {" - math.log(len(log_w))": ""},
        ),
        Mistake(
            "log of the batch for log K",
            0.5,
            "The logarithm of the number of *rows* is taken away here; K is the number "
            "of codes that each row has.",
            {"len(log_w)": "len(mu)"},
        ),
        Mistake(
            "plus log K",
            0.5,
            "log K has the wrong sign.",
            {" - math.log(len": " + math.log(len"},
        ),
        Mistake(
            "K for log K",
            0.5,
            "K is taken away here, and not its logarithm.",
            {"math.log(len(log_w))": "len(log_w)"},
        ),
        Mistake(
            "divided by K",
            0,
            "The logarithm of the sum is divided here by K; a factor inside a "
            "logarithm is a term outside.",
            {" - math.log(len(log_w))": " / len(log_w)"},
        ),
        Mistake(
            "the largest weight alone",
            0,
            "This is the largest weight, or close to it: the others count as well.",
            {BOUND: "log_w.amax(dim=0)"},
        ),
        Mistake(
            "half of logvar twice",
            0,
            "logvar counts twice in the density here.",
            {LOG_Q: "(eps.square() + 2 * logvar + math.log(2 * math.pi))"},
        ),
        Mistake(
            "minus logvar",
            0,
            "logvar has the wrong sign in the density: a narrow one is higher.",
            {LOG_Q: "(eps.square() - logvar + math.log(2 * math.pi))"},
        ),
        Mistake(
            "eps by the variance",
            0,
            "The distance to the mean is divided here by the variance, and not by the "
            "standard deviation.",
            {"-logvar / 2)": "-logvar)"},
        ),
        Mistake(
            "2 pi is missing",
            0.5,
            "The constant with 2 pi is missing in the density of q: half of log 2 pi "
            "for each number of the code.",
            {LOG_Q: "(eps.square() + logvar)"},
        ),
        Mistake(
            "one 2 pi for all",
            0.5,
            "The constant with 2 pi belongs to each number of the code.",
            {
                f"{LOG_Q}.sum(dim=2) / 2": (
                    "((eps.square() + logvar).sum(dim=2) + math.log(2 * math.pi)) / 2"
                )
            },
        ),
        Mistake(
            "the one half is missing",
            0,
            "The logarithm of the density is twice too large: the exponent of a "
            "Gaussian has a one half, and sigma is a root.",
            {".sum(dim=2) / 2": ".sum(dim=2)"},
        ),
        Mistake(
            "plus log q",
            0,
            "The weight has q in its denominator, so its logarithm is taken away.",
            {"log_joint - log_q": "log_joint + log_q"},
        ),
        Mistake(
            "no q at all",
            0,
            "The weights are joint densities here: codes come from q, and that has to "
            "be made up for.",
            {"log_joint - log_q": "log_joint"},
        ),
        Mistake(
            "the mean over the code",
            0,
            "The density of a code is a product over its numbers, so its logarithm is "
            "a sum, not a mean.",
            {".sum(dim=2)": ".mean(dim=2)"},
        ),
        Mistake(
            "turned round",
            0,
            "The mean is taken of 1 / w here, and turned round again. That is another "
            "mean, and not the one of (4.46).",
            {BOUND: "-(torch.logsumexp(-log_w, dim=0) - math.log(len(log_w)))"},
        ),
        Mistake(
            "q detached",
            2.5,
            "No gradient gets through the density of q: is something detached?",
            {"log_joint - log_q": "log_joint - log_q.detach()"},
        ),
        Mistake(
            "detached",
            2.5,
            "",
            {BOUND: f"({BOUND}).detach()"},
        ),
        Mistake(
            "the softmax's mean of logarithms",
            0,
            "The logarithms are averaged here, with the weights as weights; the mean "
            "has to be taken of the weights themselves.",
            {BOUND: "(log_w.softmax(dim=0) * log_w).sum(dim=0)"},
        ),
        Mistake(
            "the mean over all rows",
            0,
            "",
            {BOUND: f"({BOUND}).mean()"},
        ),
    ],
    seconds=10.0,
)


# ------------------------------------------------------------------------------- q5


def bent(a, b):
    """Return what the folding decoder makes of two numbers."""
    return np.stack([a * a, b * b, a * b], axis=-1)


def fresh_rows(generator, n, s, widest=math.inf, rare=0):
    """Return n rows of the folded model; codes of the first `rare` lie far out."""
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    z = z * (widest / z.norm(dim=1, keepdim=True)).clamp(max=1)
    z[:rare] *= 2.7 / z[:rare].norm(dim=1, keepdim=True)
    eps = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x = torch.from_numpy(bent(*z.numpy().T)) + s * eps
    return x.float(), s, Seed(1)


def thirty_rows(generator):
    """Return what the target is tried on."""
    return fresh_rows(generator, 30, 0.25, rare=10)


def evidence_on_a_grid(x, s, generator):
    """Return log p(x) of each row: half a plane, for z and -z make the same."""
    step = 0.045
    across, up = np.arange(-150, 151) * step, np.arange(151) * step
    weight = np.where(up == 0, 1.0, 2.0) * step**2
    b, a = np.meshgrid(up, across)
    x_hat = bent(a, b)
    log_prior = -(a * a + b * b) / 2 - math.log(2 * math.pi)
    found = []
    for row in x.double().numpy():
        log_joint = log_prior - ((row - x_hat) ** 2).sum(-1) / (2 * s * s)
        top = log_joint.max()
        found.append(np.log((np.exp(log_joint - top) * weight).sum()) + top)
    found = torch.tensor(found, dtype=torch.float64)
    return found - 1.5 * math.log(2 * math.pi * s * s)


def folded(z):
    """Return f(z), in PyTorch."""
    a, b = z[..., 0], z[..., 1]
    return torch.stack([a * a, b * b, a * b], dim=-1)


def log_joints(x, z, s):
    """Return log p(x, z) of codes, (n,) if x is one row."""
    noise = torch.distributions.Normal(folded(z), s)
    prior = torch.distributions.Normal(0.0, 1.0)
    return prior.log_prob(z).sum(dim=-1) + noise.log_prob(x).sum(dim=-1)


def evidence_by_weights(x, s, generator):
    """Return log p(x) by weighted draws, from both sides of the fold."""
    wide, found = torch.distributions.Normal(0.0, 0.6), []
    for row in x:
        a, b = row[:2].clamp(min=0).sqrt()
        centre = torch.stack([a, b * row[2].sign()])
        eps = 0.6 * torch.randn(40_000, 2, generator=generator)
        side = torch.rand(40_000, 1, generator=generator) < 0.5
        z = torch.where(side, centre, -centre) + eps
        one, other = (wide.log_prob(z - c).sum(dim=1) for c in (centre, -centre))
        log_q = torch.logaddexp(one, other) - math.log(2)
        log_w = log_joints(row, z, s) - log_q
        found.append(torch.logsumexp(log_w, dim=0) - math.log(len(z)))
    return torch.stack(found)


def evidence_on_rings(x, s, generator):
    """Return log p(x) by a grid of radii and angles, in float64."""
    radius = (torch.arange(220, dtype=torch.float64) + 0.5) * 0.03
    angle = torch.arange(700, dtype=torch.float64) * (2 * math.pi / 700)
    z = torch.stack([radius * angle.cos()[:, None], radius * angle.sin()[:, None]], -1)
    log_area = (radius * 0.03 * 2 * math.pi / 700).log()
    rows = [log_joints(row, z, s) + log_area for row in x.double()]
    return torch.stack([row.logsumexp(dim=(0, 1)) for row in rows]).float()


def evidence_in_half_a_plane(x, s, generator):
    """Return log p(x) by a grid over half a plane, a column at a time."""
    steps = torch.arange(-180, 181) * 0.035
    total = torch.full((len(x),), -math.inf)
    for a in steps[180:]:
        z = torch.stack([a.expand(len(steps)), steps], dim=1)
        column = log_joints(x[:, None], z, s).logsumexp(dim=1)
        total = torch.logaddexp(total, column + (0.0 if a == 0 else math.log(2)))
    return total + 2 * math.log(0.035)


def evidence_by_a_mean_of_logarithms(x, s, generator):
    """Return the mean of log p(x | z) over the prior: a bound, and a poor one."""
    z = torch.randn(10_000, 2, generator=generator)
    noise = torch.distributions.Normal(folded(z), s)
    return torch.stack([noise.log_prob(row).sum(dim=1).mean() for row in x])


def evidence_by_few_draws(x, s, generator):
    """Return the logarithm of the mean of p(x | z) over 50 draws from the prior."""
    z = torch.randn(50, 2, generator=generator)
    noise = torch.distributions.Normal(folded(z), s)
    rows = [noise.log_prob(row).sum(dim=1).logsumexp(dim=0) for row in x]
    return torch.stack(rows) - math.log(50)


def evidence_of_one_hump(x, s, generator):
    """Return Laplace's approximation at the best point of a grid: one hump of two."""
    steps = torch.linspace(-5, 5, 401)
    z = torch.cartesian_prod(steps, steps)
    found = []
    for row in x:
        log_joint = log_joints(row, z, s)
        best = z[log_joint.argmax()]
        a, b = best.tolist()
        slopes = torch.tensor([[2 * a, 0.0], [0.0, 2 * b], [b, a]])
        precision = torch.eye(2) + slopes.T @ slopes / s**2
        spread = math.log(2 * math.pi) - precision.logdet() / 2
        found.append(log_joint.max() + spread)
    return torch.stack(found)


def evidence_of_one_gaussian(x, s, generator):
    """Return the log density of a Gaussian with the model's mean and covariance."""
    f = folded(torch.randn(20_000, 2, generator=generator))
    covariance = f.T.cov() + s**2 * torch.eye(3)
    return torch.distributions.MultivariateNormal(f.mean(dim=0), covariance).log_prob(x)


PRIOR = "-z.square().sum(dim=1) / 2 - math.log(2 * math.pi)"

q5 = Question(
    title="A target: how likely is a row?",
    answer="log_evidence",
    signature=["x", "s", "generator"],
    results=["log_p"],
    cases={
        "10 rows, s = 0.8": lambda g: fresh_rows(g, 10, 0.8, widest=1.5),
        "30 rows, s = 0.25": thirty_rows,
    },
    reference=evidence_on_a_grid,
    marks=[
        Marks(
            "much noise",
            1,
            ["10 rows, s = 0.8"],
            "three constants belong to it: the prior's, the noise's, and that of the "
            "sum or mean that stands for the integral",
            tolerance=0.008,
        ),
        Marks(
            "the target, with little noise",
            1,
            ["30 rows, s = 0.25"],
            "look at a row that was made by z = (2.5, 1): how wide is its posterior, "
            "on how many sides, and how many of your codes lie in it?",
            kind="score",
            law=lambda g: evidence_on_a_grid(*thirty_rows(g)),
            measure="mean squared error",
            bound=0.01,
        ),
    ],
    forbidden=[*THE_OP, "aelab.losses.importance_weighted"],
    right=[evidence_by_weights, evidence_on_rings, evidence_in_half_a_plane],
    mistakes=[
        Mistake(
            "no prior",
            0,
            "All codes count alike here: the prior is missing under the integral.",
            {PRIOR: "torch.zeros(len(z))"},
        ),
        Mistake(
            "the prior's 2 pi is missing",
            0,
            "These are too large by log 2 pi: the prior has a constant, too.",
            {PRIOR: "-z.square().sum(dim=1) / 2"},
        ),
        Mistake(
            "the noise's constant is missing",
            0,
            "The constant of the noise is missing: (4.24).",
            {" + log_noise": ""},
        ),
        Mistake(
            "the noise's constant for one number",
            0,
            "The constant of the noise belongs to each of the three numbers of a row.",
            {"-1.5 *": "-0.5 *"},
        ),
        Mistake(
            "a sum for an integral",
            0,
            "This is a sum over a grid; an integral has the area of a cell as well.",
            {"+ log_cell": "+ 0 * log_cell"},
        ),
        Mistake(
            "a length for an area",
            0,
            "A cell has an area: its side counts twice.",
            {"2 * math.log(12 / 300)": "math.log(12 / 300)"},
        ),
        Mistake(
            "s for s^2",
            0,
            "The squared error is divided by 2 s here; (4.24) has 2 s^2.",
            {"(2 * s**2)\n": "(2 * s)\n"},
        ),
        Mistake(
            "s^2 for 2 s^2",
            0,
            "The squared error is divided by s^2 here; (4.24) has 2 s^2.",
            {"(2 * s**2)\n": "s**2\n"},
        ),
        Mistake(
            "the best code alone",
            0,
            "",
            {"torch.logsumexp(log_joint, dim=0)": "log_joint.amax(dim=0)"},
        ),
        Mistake(
            "a coarse grid",
            1,
            "",
            {"-6, 6, 301": "-6, 6, 31", "12 / 300": "12 / 30"},
        ),
        Mistake(
            "a grid that ends at 1",
            0,
            "",
            {"-6, 6, 301": "-1, 1, 301", "12 / 300": "2 / 300"},
        ),
        Mistake(
            "positive codes only",
            0,
            "",
            {"-6, 6, 301": "0, 6, 301", "12 / 300": "6 / 300"},
        ),
        Mistake(
            "half of the plane",
            0,
            "These are log 2 too small: z and -z make the same row, and both count.",
            {
                "    log_prior =": "    z = z[z[:, 0] > 0]\n    log_prior =",
            },
        ),
        Mistake(
            "the mean over the three numbers",
            0,
            "The squares of a row are averaged here; (4.24) has their sum.",
            {"(row - x_hat).square().sum(dim=1)": "(row - x_hat).square().mean(dim=1)"},
        ),
        Mistake(
            "bits",
            0,
            "These are bits, and nats were asked for.",
            {
                "+ log_cell": "+ log_cell) / math.log(2)",
                "return torch": "return (torch",
            },
        ),
        Mistake(
            "the other sign",
            0,
            "This is -log p(x).",
            {"+ log_cell": "+ log_cell)", "return torch": "return -(torch"},
        ),
        Mistake(
            "the mean of the logarithms",
            0,
            "The mean of the logarithms over the prior is a lower bound, "
            "and a poor one.",
            function=evidence_by_a_mean_of_logarithms,
        ),
        Mistake("fifty draws", 0, "", function=evidence_by_few_draws),
        Mistake(
            "one hump of two",
            0,
            "",
            function=evidence_of_one_hump,
        ),
        Mistake("one Gaussian", 0, "", function=evidence_of_one_gaussian),
    ],
    seconds=10.0,
)

QUESTIONS = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5}
