"""Set 03, sparse and denoising: right answers, and the wrong ones that are known."""

import math

import numpy as np
import torch
from scipy import special
from torch.nn import functional as F

from aelab import data, losses
from aelab.grading.exam import Digits, Strided, flipped
from aelab.grading.specification import AUTOGRAD, Marks, Mistake, Question
from aelab.models.autoencoder import _TopK


def normal(generator, *shape, dtype=torch.float32):
    """Return draws from N(0, 1), in eighths: few digits in a file."""
    return ((8 * torch.randn(*shape, generator=generator)).round() / 8).to(dtype)


# ---------------------------------------------------------------- q1, the price


def spread_logits(generator, n, k):
    """Return logits of units that lie from -30 to 30, each near to one of them."""
    return torch.linspace(-28, 28, k) + normal(generator, n, k).clamp(-2, 2)


def with_unit_at(generator, value):
    """Return logits of which one unit is far to a side."""
    a = normal(generator, 5, 3)
    a[:, 2] = value
    return a


def price_in_numpy(a, rho):
    """Return the price by relative entropies of the two sides of each coin."""
    on, off = (special.expit(sign * a.numpy()).mean(axis=0) for sign in (1, -1))
    return (special.rel_entr(rho, on) + special.rel_entr(1 - rho, off)).sum()


def price_in_logs(a, rho):
    """Return the price by logarithms of means, from logarithms of sigmoids."""
    log_n = math.log(len(a))
    log_on = F.logsigmoid(a).logsumexp(dim=0) - log_n
    log_off = F.logsigmoid(-a).logsumexp(dim=0) - log_n
    entropy = rho * math.log(rho) + (1 - rho) * math.log1p(-rho)
    return (entropy - rho * log_on - (1 - rho) * log_off).sum()


def price_by_loops(a, rho):
    """Return the price, a unit and an example at a time."""
    price = 0.0
    for unit in a.T:
        on = sum(1 / (1 + torch.exp(-v)) for v in unit) / len(unit)
        off = sum(1 / (1 + torch.exp(v)) for v in unit) / len(unit)
        price = price - rho * torch.log(on / rho)
        price = price - (1 - rho) * torch.log(off / (1 - rho))
    return price


def price_in_float64(a, rho):
    """Return the price computed in float64, and rounded at the end."""
    exact = a.double()
    on, off = (v.sigmoid().sum(dim=0) / len(a) for v in (exact, -exact))
    price = rho * (rho / on).log() + (1 - rho) * ((1 - rho) / off).log()
    return price.sum().to(a.dtype)


def price_by_cross_entropy(a, rho):
    """Return torch's cross entropy less the entropy: it cuts logarithms at -100."""
    on = torch.sigmoid(a).mean(dim=0)
    goal = torch.full_like(on, rho)
    entropy = -rho * math.log(rho) - (1 - rho) * math.log1p(-rho)
    cross = F.binary_cross_entropy(on, goal, reduction="sum")
    return cross - entropy * a.shape[1]


def price_by_aelab(a, rho):
    """Return what aelab has."""
    return losses.kl_sparsity(torch.sigmoid(a), rho)[0]


BOTH = "rho * torch.log(rho / on) + (1 - rho) * torch.log((1 - rho) / off)"

OFF = "off = torch.sigmoid(-a).mean(dim=0)  # 1 - on, without rounding"

q1 = Question(
    title="The price of units that are on too often, or too seldom",
    answer="sparsity_price",
    signature=["a", "rho"],
    results=["price"],
    cases={
        "a batch of 9": lambda g: (1.5 * normal(g, 9, 4), 0.2),
        "a low goal": lambda g: (1.5 * normal(g, 8, 7), 0.05),
        "a goal above one half": lambda g: (1.5 * normal(g, 10, 4) - 1, 0.7),
        "a single example": lambda g: (1.5 * normal(g, 1, 6), 0.3),
        "a single unit": lambda g: (normal(g, 8, 1) - 3, 0.6),
        "float64": lambda g: (normal(g, 4, 3, dtype=torch.float64), 0.1),
        "a tensor with gaps": lambda g: (Strided(normal(g, 7, 5)), 0.1),
        "a unit at -30 in every row": lambda g: (with_unit_at(g, -30.0), 0.2),
        "a unit at 30 in every row": lambda g: (with_unit_at(g, 30.0), 0.2),
        "units from -30 to 30": lambda g: (spread_logits(g, 6, 7), 0.1),
        "the slope": lambda g: (normal(g, 4, 3), 0.2),
        "a unit at 16 in every row": lambda g: (with_unit_at(g, 16.0), 0.2),
        "the slope, a unit at -30": lambda g: (with_unit_at(g, -30.0), 0.2),
        "the slope, a unit at 30": lambda g: (with_unit_at(g, 30.0), 0.2),
        "the slope, a low goal": lambda g: (normal(g, 9, 3), 0.05),
    },
    reference=price_in_numpy,
    marks=[
        Marks(
            "ordinary batches",
            1,
            [
                "a batch of 9",
                "a low goal",
                "a goal above one half",
                "a single example",
                "a single unit",
                "float64",
                "a tensor with gaps",
            ],
            "compare with Eq. (3.3) by hand, for one unit and two examples",
        ),
        Marks(
            "units far to one side",
            1,
            [
                "a unit at -30 in every row",
                "a unit at 30 in every row",
                "a unit at 16 in every row",
                "units from -30 to 30",
            ],
            "what is 1 - sigmoid(30) in float32, and how else can it be had?",
        ),
        Marks(
            "the gradient passes, and is right",
            1,
            [
                "the slope",
                "the slope, a low goal",
                "the slope, a unit at -30",
                "the slope, a unit at 30",
            ],
            "compare with Eq. (3.4); a number that was detached has no slope",
            kind="gradients",
            wrt=["a"],
        ),
    ],
    forbidden=["aelab.losses.kl_sparsity"],
    hidden={
        "a low goal",
        "a goal above one half",
        "a single unit",
        "a tensor with gaps",
        "units from -30 to 30",
        "the slope, a low goal",
    },
    right=[price_in_logs, price_by_loops, price_in_float64],
    mistakes=[
        Mistake(
            "1 - on, unless it is 0",
            2,
            "",
            {
                OFF: "off = 1 - on\n"
                "    off = torch.where(off <= 0, torch.exp(-a).mean(dim=0), off)"
            },
        ),
        Mistake(
            "a slope that is not a number",
            2,
            "",
            {
                "torch.log((1 - rho) / off)": "torch.where(on < 0.9999, "
                "torch.log((1 - rho) / (1 - on)), torch.log((1 - rho) / off))"
            },
        ),
        Mistake(
            "float64 whatever comes",
            1,
            "",
            {"return terms.sum()": "return terms.sum().double()"},
        ),
        Mistake(
            "rho and rho_hat swapped",
            0,
            "This is KL(rho_hat || rho), the other way round: the mean that is asked "
            "for comes first. The figure after Eq. (3.3) shows what the order "
            "decides.",
            {BOTH: "on * torch.log(on / rho) + off * torch.log(off / (1 - rho))"},
        ),
        Mistake(
            "mean over the units",
            0,
            "These are right prices, averaged over the units; Eq. (3.3) sums them. "
            "Averaged, each unit pays k times less.",
            {"terms.sum()": "terms.mean()"},
        ),
        Mistake(
            "sum over the batch too",
            0,
            "This is n times the price: it is a price of the batch as a whole, not of "
            "each example.",
            {"terms.sum()": "terms.sum() * len(a)"},
        ),
        Mistake(
            "the second outcome forgotten",
            0,
            "A term is missing: a unit has two outcomes, on *and* off.",
            {" + (1 - rho) * torch.log((1 - rho) / off)": ""},
        ),
        Mistake(
            "a price of each activation",
            0,
            "Here each activation is priced and then the mean is taken; the mean "
            "activation comes first. A unit may be on now and then.",
            {
                "torch.sigmoid(a).mean(dim=0)": "torch.sigmoid(a)",
                "torch.sigmoid(-a).mean(dim=0)": "torch.sigmoid(-a)",
                "terms.sum()": "terms.mean(dim=0).sum()",
            },
        ),
        Mistake(
            "a mean over the units of each example",
            0,
            "The mean is over the units of an example; it should be over the "
            "examples, for each unit.",
            {
                "torch.sigmoid(a).mean(dim=0)": "torch.sigmoid(a).mean(dim=1)",
                "torch.sigmoid(-a).mean(dim=0)": "torch.sigmoid(-a).mean(dim=1)",
            },
        ),
        Mistake(
            "base 2",
            0,
            "This price is in bits; nats were asked for. Which logarithm is that?",
            {"terms.sum()": "terms.sum() / math.log(2)"},
        ),
        Mistake(
            "base 10",
            0,
            "The logarithms are to base 10; for nats they are natural ones.",
            {"terms.sum()": "terms.sum() / math.log(10)"},
        ),
        Mistake(
            "the sign",
            0,
            "The sign is the other way: a divergence is never below zero.",
            {"return terms": "return -terms"},
        ),
        Mistake(
            "cross entropy",
            1,
            "This is the cross entropy. It has the right slope, but it is not zero "
            "where the mean is rho: something that does not depend on a is missing.",
            {BOTH: "-rho * torch.log(on) - (1 - rho) * torch.log(off)"},
        ),
        Mistake(
            "1 - on",
            1,
            "For a unit that is always on, 1 - rho_hat was rounded to 0, and its "
            "price became infinite. The share that is off can be had without "
            "subtracting.",
            {"torch.sigmoid(-a).mean(dim=0)": "1 - on"},
        ),
        Mistake(
            "the mean kept away from 0 and 1",
            1,
            "The mean was kept away from 0 and 1, and the price of a unit that is "
            "(nearly) always on, or never, with it. Is there a way that needs no "
            "limit?",
            {
                "torch.sigmoid(a).mean(dim=0)": "1 / (1 + torch.exp(-a))\n"
                "    on = on.mean(dim=0).clamp(1e-6, 1 - 1e-6)",
                "torch.sigmoid(-a).mean(dim=0)": "1 - on",
            },
        ),
        Mistake(
            "a small number in each logarithm",
            0,
            "A small number was added within the logarithm. It keeps the price finite, "
            "but then it is another price: see the units far to one side.",
            {
                "rho / on": "rho / (on + 1e-7)",
                "(1 - rho) / off": "(1 - rho) / (off + 1e-7)",
            },
        ),
        Mistake("cross entropy of torch", 1, "", function=price_by_cross_entropy),
        Mistake(
            "detached",
            2,
            "",
            {"return terms.sum()": "return terms.sum().detach()"},
        ),
        Mistake(
            "no sigmoid",
            0,
            "",
            {
                "torch.sigmoid(a).mean(dim=0)": "a.mean(dim=0)",
                "torch.sigmoid(-a).mean(dim=0)": "1 - on",
            },
        ),
        Mistake(
            "sigmoid of the mean",
            0,
            "This is the sigmoid of a mean; the mean of the sigmoids was asked for, "
            "and a sigmoid bends.",
            {
                "torch.sigmoid(a).mean(dim=0)": "torch.sigmoid(a.mean(dim=0))",
                "torch.sigmoid(-a).mean(dim=0)": "torch.sigmoid(-a.mean(dim=0))",
            },
        ),
        Mistake(
            "L1 for KL",
            0,
            "This is the sum of the mean activations, the price of Eq. (3.1); the one "
            "of Eq. (3.3) was asked for.",
            {BOTH: "on"},
        ),
        Mistake(
            "the square for KL",
            0,
            "This is the squared distance of the means from rho; the divergence of "
            "Eq. (3.3) was asked for.",
            {BOTH: "(on - rho) ** 2"},
        ),
        Mistake(
            "symmetric",
            0,
            "Here both orders of the divergence are added; only the one with rho "
            "first was asked for.",
            {
                BOTH: "(on - rho) * torch.log(on / rho) + (off - 1 + rho) * "
                "torch.log(off / (1 - rho))"
            },
        ),
        Mistake(
            "one number a unit",
            0,
            "These are the prices of the units; their sum was asked for.",
            {"terms.sum()": "terms"},
        ),
        Mistake("aelab's own", 0, "", function=price_by_aelab),
    ],
)


# ------------------------------------------------- q2, the gradient at the code


def code_and_decoder(
    generator, n, d, k, rho=0.2, weight=3.0, dtype=torch.float32, exact=False
):
    """Return pictures (those of the decoder, if exact), codes, decoder, rho, weight."""
    z = torch.randint(1, 8, (n, k), generator=generator) / 8
    w, b, x = (
        (4 * normal(generator, *shape)).round() / 4 for shape in ((d, k), (d,), (n, d))
    )
    b = b + 65 / 64  # so that no mean of five outputs is 0 or 1
    if exact:
        x = z @ w.T + b  # without rounding: all are fractions of 64
    x, z, w, b = (v.to(dtype) for v in (x, z, w, b))
    return x, z, w, b, rho, weight


def rarely_on(generator, n, d, k):
    """Return the same, with activations of a thousandth."""
    x, z, w, b, rho, weight = code_and_decoder(generator, n, d, k, weight=0.5)
    return x, z / 512, w, b, rho, weight


def with_gaps(arguments):
    """Return the same, but pictures, codes and weights with gaps."""
    x, z, w, b, rho, weight = arguments
    return Strided(x), Strided(z), Strided(w), b, rho, weight


def slope_by_autograd(x, z, w, b, rho, weight):
    """Return the gradient of the loss by autograd, the divergence by torch."""
    z = z.clone().requires_grad_()
    error = (F.linear(z, w, b) - x).square().sum() / len(x)
    asked, found = (
        torch.distributions.Bernoulli(p) for p in (z.new_tensor(rho), z.mean(0))
    )
    price = torch.distributions.kl_divergence(asked, found).sum()
    return torch.autograd.grad(error + weight * price, z)[0]


def slope_by_duals(x, z, w, b, rho, weight):
    """Return the gradient by autograd again, entry for entry, forwards."""

    def loss(z):
        on = z.mean(dim=0)
        price = rho * torch.log(rho / on) + (1 - rho) * torch.log((1 - rho) / (1 - on))
        return (z @ w.T + b - x).square().sum() / len(x) + weight * price.sum()

    return torch.func.jacfwd(loss)(z)


def slope_by_loops(x, z, w, b, rho, weight):
    """Return the gradient, entry for entry."""
    (n, d), k = x.shape, z.shape[1]
    slope = torch.zeros_like(z)
    for j in range(k):
        rho_hat = sum(z[i, j] for i in range(n)) / n
        push = weight * (rho_hat - rho) / (rho_hat * (1 - rho_hat)) / n
        for i in range(n):
            back = sum(w[p, j] * (w[p] @ z[i] + b[p] - x[i, p]) for p in range(d))
            slope[i, j] = 2 * back / n + push
    return slope


def slope_by_einsum(x, z, w, b, rho, weight):
    """Return the gradient, the decoder multiplied out first."""
    n = x.shape[0]
    gram = torch.einsum("pj,pl->jl", w, w)
    back = torch.einsum("il,lj->ij", z, gram) + torch.einsum("ip,pj->ij", b - x, w)
    rho_hat = z.sum(0) / n
    return (2 * back + weight * ((1 - rho) / (1 - rho_hat) - rho / rho_hat)) / n


def slope_in_float64(x, z, w, b, rho, weight):
    """Return the gradient computed in float64, and rounded at the end."""
    exact = (v.double() for v in (x, z, w, b))
    return slope_by_einsum(*exact, rho, weight).to(x.dtype)


def slope_by_aelab(x, z, w, b, rho, weight):
    """Return the gradient by autograd, through the price that aelab has."""
    z = z.clone().requires_grad_()
    error = (z @ w.T + b - x).square().sum(dim=1)
    loss = (error + weight * losses.kl_sparsity(z, rho)).mean()
    return torch.autograd.grad(loss, z)[0]


PUSH = "((1 - rho) / (1 - rho_hat) - rho / rho_hat) / n"

q2 = Question(
    title="What arrives at the code",
    answer="slope_at_code",
    signature=["x", "z", "w", "b", "rho", "weight"],
    results=["slope"],
    cases={
        "no price": lambda g: code_and_decoder(g, 5, 3, 4, weight=0.0),
        "no price, a single example": lambda g: code_and_decoder(
            g, 1, 7, 3, weight=0.0
        ),
        "nothing lost": lambda g: code_and_decoder(g, 6, 3, 4, exact=True),
        "nothing lost, another goal": lambda g: code_and_decoder(
            g, 12, 3, 6, rho=0.6, weight=0.5, exact=True
        ),
        "a batch of 6": lambda g: code_and_decoder(g, 6, 4, 3, weight=2.0),
        "units that are nearly always off": lambda g: rarely_on(g, 6, 4, 3),
        "more units than pixels": lambda g: code_and_decoder(g, 5, 4, 9, weight=10.0),
        "as many units as pixels": lambda g: code_and_decoder(g, 8, 5, 5, rho=0.4),
        "float64": lambda g: code_and_decoder(
            g, 4, 6, 3, weight=2.0, dtype=torch.float64
        ),
        "tensors with gaps": lambda g: with_gaps(
            code_and_decoder(g, 4, 6, 3, weight=2.0)
        ),
    },
    reference=slope_by_autograd,
    marks=[
        Marks(
            "the part that is carried back",
            1,
            ["no price", "no price, a single example"],
            "the weight of the price is 0 here: derive the squared error alone",
        ),
        Marks(
            "the part of the price",
            1,
            ["nothing lost", "nothing lost, another goal"],
            "x_hat is x here, and nothing is carried back: derive the price alone",
        ),
        Marks(
            "both together",
            1,
            [
                "a batch of 6",
                "units that are nearly always off",
                "more units than pixels",
                "as many units as pixels",
                "float64",
                "tensors with gaps",
            ],
            "see first what is told about each part alone",
        ),
    ],
    forbidden=[*AUTOGRAD, "aelab.losses.kl_sparsity"],
    hidden={
        "no price, a single example",
        "nothing lost, another goal",
        "more units than pixels",
        "as many units as pixels",
        "tensors with gaps",
    },
    right=[slope_by_loops, slope_by_einsum, slope_in_float64],
    mistakes=[
        Mistake(
            "means cut off at a hundredth",
            2,
            "",
            {"rho_hat = z.mean(dim=0)": "rho_hat = z.mean(dim=0).clamp(0.01, 0.99)"},
        ),
        Mistake(
            "rho and rho_hat swapped",
            1,
            "The price here is KL(rho_hat || rho); in Eq. (3.3) rho comes first. "
            "Derive it once more, with rho as a constant.",
            {
                PUSH: "(torch.log(rho_hat / rho) "
                "- torch.log((1 - rho_hat) / (1 - rho))) / n"
            },
        ),
        Mistake(
            "the price n times too steep",
            1,
            "The price's part is n times too large: how much does the mean move, if "
            "one of n activations moves?",
            {PUSH: "((1 - rho) / (1 - rho_hat) - rho / rho_hat)"},
        ),
        Mistake(
            "the price pushes away",
            1,
            "The price's part has the wrong sign: a unit that is on too often must "
            "get a positive slope, so that descent pushes it down.",
            {PUSH: "(rho / rho_hat - (1 - rho) / (1 - rho_hat)) / n"},
        ),
        Mistake(
            "the second outcome forgotten",
            1,
            "The price's part has one term; a unit has two outcomes, on and off.",
            {PUSH: "-rho / rho_hat / n"},
        ),
        Mistake(
            "a sum in place of a difference",
            1,
            "The two terms of the price have slopes of opposite sign: what is the "
            "inner derivative of 1 - rho_hat?",
            {PUSH: "((1 - rho) / (1 - rho_hat) + rho / rho_hat) / n"},
        ),
        Mistake(
            "each activation in place of the mean",
            1,
            "Here each activation is priced for itself; the price of Eq. (3.3) is one "
            "of the mean, and pushes all entries of a unit alike.",
            {"rho_hat = z.mean(dim=0)": "rho_hat = z"},
        ),
        Mistake(
            "a mean over the units",
            1,
            "The mean is over the units of each example; it should be over the "
            "examples.",
            {"rho_hat = z.mean(dim=0)": "rho_hat = z.mean(dim=1, keepdim=True)"},
        ),
        Mistake(
            "L1 for KL",
            1,
            "This is the slope of L1, the same force on all; the question has the "
            "price of Eq. (3.3).",
            {PUSH: "torch.ones_like(rho_hat) / n"},
        ),
        Mistake(
            "a mean over the units in the price",
            1,
            "The price's part is k times too small: the price is a sum over the units.",
            {PUSH: f"{PUSH} / z.shape[1]"},
        ),
        Mistake(
            "the price on the output",
            1,
            "The price stands on the wrong layer: here it is taken of x_hat and "
            "carried back through the decoder. It is a price of the code.",
            {
                "rho_hat = z.mean(dim=0)": "rho_hat = (z @ w.T + b).mean(dim=0)",
                "weight * push": "weight * push @ w",
            },
        ),
        Mistake(
            "no price",
            1,
            "Only the part that is carried back is here; the price has a slope too.",
            {"carried + weight * push": "carried"},
        ),
        Mistake(
            "no error",
            1,
            "Only the price's part is here; the error is carried back as well.",
            {"carried + weight * push": "0 * carried + weight * push"},
        ),
        Mistake(
            "the weight forgotten",
            0,
            "The price's part lacks its weight.",
            {"weight * push": "push"},
        ),
        Mistake(
            "the weight on the error",
            0,
            "The weight stands with the error; it belongs to the price.",
            {"carried + weight * push": "weight * carried + push"},
        ),
        Mistake(
            "the 2 missing",
            1,
            "The part that is carried back is half of what it should be: derive a "
            "square.",
            {"2 / n": "1 / n"},
        ),
        Mistake(
            "a sum over the batch",
            1,
            "The part that is carried back is n times too large: L is a mean over the "
            "examples.",
            {"2 / n * error": "2 * error"},
        ),
        Mistake(
            "a mean over the pixels",
            1,
            "The part that is carried back is d times too small: the squared error is "
            "a sum over the pixels.",
            {"2 / n * error": "2 / x.numel() * error"},
        ),
        Mistake(
            "the error with the wrong sign",
            1,
            "The part that is carried back has the wrong sign: is the error x_hat - "
            "x, or x - x_hat?",
            {"z @ w.T + b - x": "x - z @ w.T - b"},
        ),
        Mistake(
            "no bias",
            0,
            "The bias of the decoder has been left out of x_hat.",
            {"z @ w.T + b - x": "z @ w.T - x"},
        ),
        Mistake(
            "all of it n times too large",
            0,
            "All of it is n times too large: L is a mean over the examples.",
            {"carried + weight * push": "n * (carried + weight * push)"},
        ),
        Mistake("autograd through aelab", 0, "", function=slope_by_aelab),
        Mistake("autograd", 0, "", function=slope_by_autograd),
        Mistake("forward-mode autograd", 0, "", function=slope_by_duals),
    ],
)


# ------------------------------------------------------ q3, the denoising loss


def network(x, w1, w2):
    """Return what the notebook's network makes of pictures."""
    return torch.tanh(x @ w1.T) @ w2.T


def pictures_and_network(generator, n, d, k, training, sigma=0.5, dtype=torch.float32):
    """Return pictures in [0, 1], noise, its deviation, a network, and the mode."""
    x = torch.randint(17, (n, d), generator=generator) / 16
    eps = normal(generator, n, d)
    w1, w2 = normal(generator, k, d) / 2, normal(generator, d, k) / 2
    x, eps, w1, w2 = (v.to(dtype) for v in (x, eps, w1, w2))
    return x, eps, sigma, w1, w2, training


def pictures_with_gaps(arguments):
    """Return the same, but pictures and noise with gaps."""
    x, eps, *rest = arguments
    return Strided(x), Strided(eps), *rest


def denoising_in_numpy(x, eps, sigma, w1, w2, training):
    """Return loss and x_hat, a picture at a time, in NumPy."""
    noise, w1, w2 = (v.detach().numpy() for v in (eps, w1, w2))
    clean = x.detach().numpy()
    shown = clean + (sigma if training else 0.0) * noise
    x_hat = np.stack([w2 @ np.tanh(w1 @ row) for row in shown])
    loss = [np.linalg.norm(a - b) ** 2 for a, b in zip(x_hat, clean, strict=True)]
    return np.array(loss), x_hat


def denoising_by_loops(x, eps, sigma, w1, w2, training):
    """Return loss and x_hat, a picture at a time."""
    strength = sigma if training else 0.0
    rows = [network((x[i] + strength * eps[i])[None], w1, w2)[0] for i in range(len(x))]
    x_hat = torch.stack(rows)
    loss = [((x_hat[i] - x[i]) ** 2).sum() for i in range(len(x))]
    return torch.stack(loss), x_hat


def denoising_by_product(x, eps, sigma, w1, w2, training):
    """Return loss and x_hat, the square as a product of the error with itself."""
    shown = torch.where(torch.tensor(training), torch.add(x, eps, alpha=sigma), x)
    x_hat = F.linear(F.linear(shown, w1).tanh(), w2)
    error = x_hat - x
    return torch.einsum("ij,ij->i", error, error), x_hat


def denoising_in_float64(x, eps, sigma, w1, w2, training):
    """Return loss and x_hat computed in float64, and rounded at the end."""
    exact = [v.double() for v in (x, eps)]
    weights = [w.double() for w in (w1, w2)]
    found = denoising_by_product(*exact, sigma, *weights, training)
    return tuple(v.to(x.dtype) for v in found)


def denoising_by_mse(x, eps, sigma, w1, w2, training):
    """Return loss and x_hat, with torch's squared error."""
    x_hat = network(x + sigma * eps * float(training), w1, w2)
    return F.mse_loss(x_hat, x, reduction="none").sum(-1), x_hat


def denoising_by_aelab(x, eps, sigma, w1, w2, training):
    """Return the loss that aelab has."""
    objective = losses.denoising(lambda x, generator: x + sigma * eps * training)
    x_hat = network(x + sigma * eps * training, w1, w2)
    return objective(lambda v: network(v, w1, w2), x, None)["loss"], x_hat


SHOWN = "x + sigma * eps if training else x"

q3 = Question(
    title="Damaged in, clean out",
    answer="denoising_loss",
    signature=["x", "eps", "sigma", "w1", "w2", "training"],
    results=["loss", "x_hat"],
    cases={
        "training": lambda g: pictures_and_network(g, 4, 5, 3, True),
        "training, strong noise": lambda g: pictures_and_network(
            g, 4, 9, 3, True, sigma=2.0
        ),
        "training, a single picture": lambda g: pictures_and_network(
            g, 1, 12, 4, True, sigma=0.25
        ),
        "training, float64": lambda g: pictures_and_network(
            g, 4, 6, 5, True, dtype=torch.float64
        ),
        "training, tensors with gaps": lambda g: pictures_with_gaps(
            pictures_and_network(g, 4, 7, 5, True)
        ),
        "at test time": lambda g: pictures_and_network(
            g, 3, 4, 2, False, dtype=torch.float64
        ),
        "at test time, strong noise": lambda g: pictures_and_network(
            g, 6, 5, 4, False, sigma=2.0
        ),
        "the slope": lambda g: pictures_and_network(g, 3, 4, 2, True),
        "the slope, another network": lambda g: pictures_and_network(
            g, 3, 4, 6, True, sigma=1.5
        ),
    },
    reference=denoising_in_numpy,
    marks=[
        Marks(
            "while training",
            2,
            [
                "training",
                "training, strong noise",
                "training, a single picture",
                "training, float64",
                "training, tensors with gaps",
            ],
            "write down for one picture: what is shown, and what is compared with what",
        ),
        Marks(
            "at test time",
            1,
            ["at test time", "at test time, strong noise"],
            "`training` is False here: nothing is added to what comes",
        ),
        Marks(
            "gradients by the weights",
            1,
            ["the slope", "the slope, another network"],
            "see first what is told about the values; nothing may be detached",
            kind="gradients",
            wrt=["w1", "w2"],
        ),
    ],
    forbidden=["aelab.losses.denoising"],
    hidden={
        "training, strong noise",
        "training, a single picture",
        "training, float64",
        "training, tensors with gaps",
        "at test time, strong noise",
        "the slope, another network",
    },
    right=[
        denoising_by_loops,
        denoising_by_product,
        denoising_in_float64,
        denoising_by_mse,
    ],
    mistakes=[
        Mistake(
            "noisy target",
            1,
            "The answer is compared with the noisy picture: that pays the network for "
            "giving the noise back (section 9 of the lecture).",
            {"(x - x_hat)": "(shown - x_hat)"},
        ),
        Mistake(
            "noise added at test time",
            3,
            "Noise is added at test time too; a picture should be taken as it comes.",
            {SHOWN: "x + sigma * eps"},
        ),
        Mistake(
            "no noise",
            1,
            "No noise is added while training: that is a plain autoencoder, and a "
            "copy would be a right answer.",
            {SHOWN: "x"},
        ),
        Mistake(
            "noise at test time only",
            0,
            "",
            {SHOWN: "x if training else x + sigma * eps"},
        ),
        Mistake(
            "mean for sum",
            0,
            "x_hat is right, but the loss is a mean over the pixels; a sum was asked "
            "for. Next to a price, as in Eq. (3.1), the error would weigh d times too "
            "little.",
            {".sum(dim=1)": ".mean(dim=1)"},
        ),
        Mistake(
            "one number for the batch",
            0,
            "The loss is one number here; one for each picture was asked for.",
            {".sum(dim=1)": ".sum(dim=1).mean()"},
        ),
        Mistake(
            "sum over the pictures",
            0,
            "The loss has been summed over the pictures, for each pixel; it should be "
            "the other way.",
            {".sum(dim=1)": ".sum(dim=0)"},
        ),
        Mistake(
            "variance for deviation",
            1,
            "The noise has been multiplied by sigma squared; sigma is its standard "
            "deviation.",
            {SHOWN: "x + sigma**2 * eps if training else x"},
        ),
        Mistake(
            "root for deviation",
            1,
            "The noise has been multiplied by the root of sigma; sigma is a standard "
            "deviation already.",
            {SHOWN: "x + sigma**0.5 * eps if training else x"},
        ),
        Mistake(
            "sigma forgotten",
            1,
            "The noise has the standard deviation 1 here, whatever sigma is.",
            {SHOWN: "x + eps if training else x"},
        ),
        Mistake(
            "one noise for the batch",
            1,
            "All pictures get the same noise here; each has its own.",
            {SHOWN: "x + sigma * eps[:1] if training else x"},
        ),
        Mistake(
            "one noise for all pixels",
            1,
            "All pixels of a picture get the same noise here; each has its own.",
            {SHOWN: "x + sigma * eps[:, :1] if training else x"},
        ),
        Mistake(
            "noise in proportion",
            1,
            "The noise grows with the intensity here: a black pixel gets none. It "
            "should be added, whatever the pixel is.",
            {SHOWN: "x * (1 + sigma * eps) if training else x"},
        ),
        Mistake(
            "cut to [0, 1]",
            1,
            "The noisy picture was cut to [0, 1]; then the noise is no longer "
            "Gaussian.",
            {SHOWN: "(x + sigma * eps).clamp(0, 1) if training else x"},
        ),
        Mistake(
            "noise on the output",
            1,
            "The noise is added to the network's answer; it belongs to what the "
            "network is shown.",
            {
                SHOWN: "x",
                "network(shown, w1, w2)": "network(shown, w1, w2)\n"
                "    x_hat = x_hat + sigma * eps * training",
            },
        ),
        Mistake(
            "a noise of its own",
            1,
            "",
            {SHOWN: "x + sigma * torch.randn_like(x) if training else x"},
        ),
        Mistake(
            "half the square",
            0,
            "The loss is half of the squared error.",
            {".sum(dim=1)": ".sum(dim=1) / 2"},
        ),
        Mistake(
            "the norm",
            0,
            "The loss is the norm of the error; its square was asked for.",
            {".sum(dim=1)": ".sum(dim=1).sqrt()"},
        ),
        Mistake(
            "magnitudes",
            0,
            "The loss sums magnitudes; squares were asked for.",
            {".square()": ".abs()"},
        ),
        Mistake(
            "detached",
            3,
            "",
            {"network(shown, w1, w2)": "network(shown, w1, w2).detach()"},
        ),
        Mistake(
            "loss detached",
            3,
            "The gradient of the loss is missing: the loss, or x_hat within it, was "
            "detached.",
            {"(x - x_hat)": "(x - x_hat.detach())"},
        ),
        Mistake(
            "noise added in place",
            1,
            "",
            {SHOWN: "x.add_(sigma * eps) if training else x"},
        ),
        Mistake("aelab's own", 0, "", function=denoising_by_aelab),
    ],
)


# ------------------------------------------------------- q4, the largest entries


def spaced(generator, n, k, dtype=torch.float32):
    """Return rows whose entries lie well apart, each in an order of its own."""
    order = torch.rand(n, k, generator=generator).argsort(dim=1)
    shift = torch.randint(8, (n, 1), generator=generator)
    steps = (8 * torch.linspace(-2, 2, k)).round() + shift  # in eighths
    return (steps.gather(1, order) / 8).to(dtype)


def uneven(generator, n, k):
    """Return rows of which some are much larger than others."""
    level = 6.0 * torch.randperm(n, generator=generator)[:, None]
    return spaced(generator, n, k) + level


def mostly_negative(generator, n, k, dtype=torch.float32):
    """Return rows with entries below zero, but for one that is large."""
    z = uneven(generator, n, k) - 6.0 * n
    return torch.where(z == z.amax(dim=1, keepdim=True), -2 * z + 50, z).to(dtype)


def rectified(generator, n, k):
    """Return rows with many zeros, some with fewer entries above zero than kept."""
    z = uneven(generator, n, k) + 3
    number = 1 + (3 * torch.arange(n)[:, None]) % (k - 1)  # above zero, in each row
    return torch.where(z.argsort(dim=1).argsort(dim=1) < k - number, 0.0, z)


def largest_in_numpy(z, m):
    """Return the largest entries of each row, by sorting."""
    z = z.detach().numpy()
    kept = np.zeros_like(z)
    for row, target in zip(z, kept, strict=True):
        places = np.argsort(row)[::-1][:m]
        target[places] = row[places]
    return kept


def largest_by_threshold(z, m):
    """Return the largest entries, by a threshold for each row."""
    lowest = z.sort(dim=1).values[:, -m][:, None]
    return torch.where(z >= lowest, z, torch.zeros_like(z))


def largest_by_rank(z, m):
    """Return the largest entries: those that fewer than m others are above of."""
    above = (z[:, None, :] > z[:, :, None]).sum(dim=2)
    return z * (above < m).to(z.dtype)


def largest_by_loops(z, m):
    """Return the largest entries, taken one after the other."""
    rows = []
    for row in z:
        places = set()
        for _ in range(m):
            rest = [j for j in range(len(row)) if j not in places]
            places.add(max(rest, key=lambda j: row[j].item()))
        keep = torch.tensor([j in places for j in range(len(row))])
        rows.append(torch.where(keep, row, row.new_zeros(())))
    return torch.stack(rows)


def largest_in_float64(z, m):
    """Return the largest entries computed in float64, and rounded at the end."""
    return largest_by_threshold(z.double(), m).to(z.dtype)


def largest_by_aelab(z, m):
    """Return what aelab has."""
    return _TopK(m)(z)


BODY = (
    "largest = z.topk(m, dim=1)\n"
    "    return torch.zeros_like(z).scatter(1, largest.indices, largest.values)"
)

q4 = Question(
    title="Find the bug: the largest of a code",
    answer="keep_largest",
    signature=["z", "m"],
    results=["kept"],
    cases={
        "codes of like size": lambda g: (spaced(g, 5, 7), 3),
        "large and small codes": lambda g: (uneven(g, 5, 9), 2),
        "one entry": lambda g: (uneven(g, 4, 5), 1),
        "codes below zero but for one entry": lambda g: (mostly_negative(g, 4, 7), 3),
        "codes with zeros": lambda g: (rectified(g, 6, 10), 4),
        "all entries": lambda g: (spaced(g, 3, 6) - 1, 6),
        "a single code": lambda g: (spaced(g, 1, 9) - 0.5, 4),
        "float64": lambda g: (spaced(g, 3, 5, dtype=torch.float64) - 1, 2),
        "a tensor with gaps": lambda g: (Strided(spaced(g, 4, 7) - 2), 3),
        "the slope": lambda g: (uneven(g, 4, 5), 2),
        "the slope, codes below zero but for one entry": lambda g: (
            mostly_negative(g, 4, 7),
            2,
        ),
    },
    reference=largest_in_numpy,
    marks=[
        Marks(
            "each code for itself",
            1,
            ["codes of like size", "large and small codes", "one entry"],
            "how many entries are kept in each row, and do they stand in their places?",
        ),
        Marks(
            "below zero, with zeros, all, a single one",
            1,
            [
                "codes below zero but for one entry",
                "codes with zeros",
                "all entries",
                "a single code",
                "float64",
                "a tensor with gaps",
            ],
            "m entries are kept even where some of them are negative",
        ),
        Marks(
            "gradients",
            1,
            ["the slope", "the slope, codes below zero but for one entry"],
            "if an entry that is kept moves, kept moves as much; the others do nothing",
            kind="gradients",
            wrt=["z"],
        ),
    ],
    forbidden=["aelab.models.autoencoder._TopK", "aelab.models.Autoencoder"],
    hidden={
        "large and small codes",
        "codes with zeros",
        "a tensor with gaps",
        "the slope, codes below zero but for one entry",
    },
    right=[
        largest_by_threshold,
        largest_by_rank,
        largest_by_loops,
        largest_in_float64,
    ],
    mistakes=[
        Mistake(
            "above the next one",
            2,
            "",
            {
                BODY: "k = z.shape[1]\n"
                "    threshold = z.sort(dim=1).values[:, k - m - 1][:, None]\n"
                "    return torch.where(z > threshold, z, 0.0)"
            },
        ),
        Mistake(
            "the bug",
            0,
            "The largest of the whole *batch* are kept, as in the given function: "
            "some codes keep many entries and others none.",
            {
                BODY: "lowest = z.flatten().topk(m * len(z)).values[-1]\n"
                "    return torch.where(z >= lowest, z, 0.0)"
            },
        ),
        Mistake(
            "m of the whole batch",
            0,
            "Only m entries of the whole batch are kept; it should be m of each code.",
            {
                BODY: "lowest = z.flatten().topk(m).values[-1]\n"
                "    return torch.where(z >= lowest, z, 0.0)"
            },
        ),
        Mistake(
            "the largest of each unit",
            0,
            "The largest of each *column* are kept, over the batch; a code is a row.",
            {
                BODY: "lowest = z.sort(dim=0).values[-min(m, len(z))]\n"
                "    return torch.where(z >= lowest, z, 0.0)"
            },
        ),
        Mistake(
            "the same units for all",
            0,
            "Here all codes keep the same units, those with the largest mean; each "
            "code should choose for itself.",
            {
                BODY: "keep = torch.zeros_like(z[0])\n"
                "    keep[z.mean(dim=0).topk(m).indices] = 1\n    return z * keep"
            },
        ),
        Mistake(
            "one threshold, the mean of all",
            0,
            "There is one threshold here for all codes, the mean of theirs; each code "
            "has its own.",
            {
                BODY: "lowest = z.topk(m, dim=1).values[:, -1].mean()\n"
                "    return torch.where(z >= lowest, z, 0.0)"
            },
        ),
        Mistake(
            "by magnitude",
            0,
            "The entries with the largest *magnitude* are kept; the largest by value "
            "were asked for.",
            {
                "z.topk(m, dim=1)": "z.abs().topk(m, dim=1)",
                "largest.values": "z.gather(1, largest.indices)",
            },
        ),
        Mistake(
            "magnitudes kept",
            0,
            "",
            {"z.topk(m, dim=1)": "z.abs().topk(m, dim=1)"},
        ),
        Mistake(
            "the smallest",
            0,
            "These are the *smallest* entries of each code.",
            {"z.topk(m, dim=1)": "z.topk(m, dim=1, largest=False)"},
        ),
        Mistake(
            "one too few",
            0,
            "One entry too few is kept: the smallest of the m belongs to them.",
            {
                BODY: "lowest = z.topk(m, dim=1).values[:, -1:]\n"
                "    return torch.where(z > lowest, z, 0.0)"
            },
        ),
        Mistake(
            "one too many",
            0,
            "One entry too many is kept.",
            {"z.topk(m, dim=1)": "z.topk(min(m + 1, z.shape[1]), dim=1)"},
        ),
        Mistake(
            "the others kept",
            0,
            "The m largest are set to zero here, and the others are kept.",
            {
                "torch.zeros_like(z).scatter(1, largest.indices, largest.values)": (
                    "z.scatter(1, largest.indices, 0.0)"
                )
            },
        ),
        Mistake(
            "ones in place of the entries",
            0,
            "This is a mask of ones and zeros; the entries themselves were asked for.",
            {"largest.values)": "torch.ones_like(largest.values))"},
        ),
        Mistake(
            "out of their places",
            0,
            "The right entries are kept, but they stand sorted at the left; each "
            "should stay in its place.",
            {"largest.indices,": "torch.arange(m).expand(len(z), m),"},
        ),
        Mistake(
            "the short code",
            0,
            "These are the m largest alone; kept has the shape of z, with zeros for "
            "the others.",
            {
                "torch.zeros_like(z).scatter(1, largest.indices, largest.values)": (
                    "largest.values"
                )
            },
        ),
        Mistake(
            "enlarged as in dropout",
            0,
            "The entries that are kept were enlarged by k / m, as in dropout; they "
            "should stay as they are.",
            {"largest.values)": "largest.values * z.shape[1] / m)"},
        ),
        Mistake(
            "minus infinity for the others",
            1,
            "",
            {"torch.zeros_like(z)": "torch.full_like(z, -torch.inf)"},
        ),
        Mistake(
            "a ReLU first",
            1,
            "Entries below zero are lost: the m largest are kept even where they are "
            "negative.",
            {"z.topk(m, dim=1)": "z.relu().topk(m, dim=1)"},
        ),
        Mistake(
            "detached",
            2,
            "",
            {"largest.values)": "largest.values.detach())"},
        ),
        Mistake(
            "straight through",
            2,
            "The gradient passes to *all* entries here; those that are set to zero "
            "should get none.",
            {
                "return torch": "return z - z.detach() + torch",
                ".values)": ".values).detach()",
            },
        ),
        Mistake(
            "in place",
            0,
            "",
            {
                BODY: "lowest = z.topk(m, dim=1).values[:, -1:]\n"
                "    z[z < lowest] = 0.0\n    return z"
            },
        ),
        Mistake("aelab's own", 0, "", function=largest_by_aelab),
    ],
)


# ------------------------------------------------------------------ q5, a target


def taken(generator):
    """Return clean held-out digits, what a camera makes of them, and its noise."""
    _, test = data.images("digits")
    chosen = torch.randperm(len(test.x), generator=generator)[:40]
    clean = flipped(test.x[chosen], 2)  # (40, 64)
    black = (torch.arange(8)[:, None] + torch.arange(8)) % 2  # (8, 8)
    bad = black.flatten() == torch.randint(2, (1,), generator=generator)
    sigma = torch.where(bad, 0.75, 0.2)
    noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
    return clean, (32 * noisy).round() / 32, sigma  # steps of 1/32: a short file


def camera(generator):
    """Return digits to learn from, pictures of others, and the noise."""
    _, noisy, sigma = taken(generator)
    return Digits("train", 0, 1000, flip=2), noisy, sigma


def linear(x, noisy, sigma, noise=None):
    """Return what the Wiener filter for some noise makes of pictures."""
    mean, covariance = x.mean(dim=0), x.T.cov()
    noise = torch.diag(sigma**2) if noise is None else noise
    return mean + (noisy - mean) @ torch.linalg.solve(covariance + noise, covariance)


def clean_by_regression(x, noisy, sigma):
    """Return a linear map of noisy pictures, by least squares on noise of our own."""
    generator = torch.Generator().manual_seed(1)
    x = x.repeat(10, 1)
    own = x + sigma * torch.randn(x.shape, generator=generator)
    shown, asked = (F.pad(v, (0, 1), value=1.0) for v in (own, noisy))
    return asked @ torch.linalg.lstsq(shown, x).solution


def clean_by_whitening(x, noisy, sigma):
    """Return Eq. (3.14), in units of each pixel's own noise."""
    scaled = x / sigma
    mean = scaled.mean(dim=0)
    _, s, vt = torch.linalg.svd(scaled - mean, full_matrices=False)
    share = s**2 / (s**2 + len(x))
    return (mean + ((noisy / sigma - mean) @ vt.T * share) @ vt) * sigma


def clean_by_neighbours(x, noisy, sigma):
    """Return means of the eight digits that are nearest, in units of the noise."""
    nearest = torch.cdist(noisy / sigma, x / sigma).topk(8, largest=False)
    return x[nearest.indices].mean(dim=1)


def clean_by_mixture(x, noisy, sigma):
    """Return the posterior mean, with a round Gaussian about each clean digit."""
    within = 0.15**2
    variance = (sigma**2 + within).double()
    root = variance.sqrt()
    q = (-(torch.cdist(noisy / root, x / root) ** 2) / 2).softmax(dim=1)
    middle = q @ x.double()
    return (middle + (noisy - middle) * within / variance).to(x.dtype)


def clean_by_network(x, noisy, sigma):
    """Return what a network makes of them that is trained as in Eq. (3.8)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((64, 256), (256,), (256, 64), (64,))
    weights = [torch.randn(shape, generator=generator) / 20 for shape in shapes]
    speeds, powers = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(800):  # Adam by hand: the one of torch takes a second to load
        clean = x[torch.randint(len(x), (100,), generator=generator)]
        shown = clean + sigma * torch.randn(clean.shape, generator=generator)
        weights = [w.detach().requires_grad_() for w in weights]
        w1, b1, w2, b2 = weights
        x_hat = (shown @ w1 + b1).relu() @ w2 + b2
        loss = (clean - x_hat).square().sum(dim=1).mean()
        slopes = torch.autograd.grad(loss, weights)
        rate = 0.006 * (1 - step / 800)
        for v, p, slope in zip(speeds, powers, slopes, strict=True):
            v.lerp_(slope, 0.1)
            p.lerp_(slope.square(), 0.01)
        weights = [
            w - rate * v / (p.sqrt() + 1e-8)
            for w, v, p in zip(weights, speeds, powers, strict=True)
        ]
    w1, b1, w2, b2 = (w.detach() for w in weights)
    return (noisy @ w1 + b1).relu() @ w2 + b2


def one_noise(x, noisy, sigma):
    """Return a Wiener filter that believes in one noise for all pixels."""
    return linear(x, noisy, sigma, (sigma**2).mean() * torch.eye(64))


def along_axes(x, noisy, sigma):
    """Return Eq. (3.14), the j-th pixel's noise along the j-th direction."""
    mean = x.mean(dim=0)
    _, s, vt = torch.linalg.svd(x - mean, full_matrices=False)
    variance = s**2 / len(x)
    return mean + ((noisy - mean) @ vt.T * (variance / (variance + sigma**2))) @ vt


def eight_components(x, noisy, sigma):
    """Return PCA's reconstruction from eight components."""
    mean = x.mean(dim=0)
    _, _, vt = torch.linalg.svd(x - mean, full_matrices=False)
    return mean + (noisy - mean) @ vt[:8].T @ vt[:8]


def bad_by_mean(x, noisy, sigma):
    """Return the pictures, each bad pixel replaced by its mean."""
    return torch.where(sigma < 0.5, noisy, x.mean(dim=0))


def smoothed(x, noisy, sigma):
    """Return means over 3 x 3 pixels, the good ones with more weight."""
    weight = (1 / sigma**2).view(1, 1, 8, 8)
    total, weights = (
        F.avg_pool2d(v, 3, stride=1, padding=1)
        for v in (noisy.view(-1, 1, 8, 8) * weight, weight)
    )
    return (total / weights).flatten(1)


def no_mates(x, noisy, sigma):
    """Return each pixel weighed with its mean, whatever the others are."""
    share = x.var(dim=0) / (x.var(dim=0) + sigma**2)
    return x.mean(dim=0) + share * (noisy - x.mean(dim=0))


def nearest(x, noisy, sigma):
    """Return the clean digit that is nearest to each picture."""
    return x[torch.cdist(noisy, x).argmin(dim=1)]


def noisy_label(x, noisy, sigma):
    """Return a linear map that has learnt to give noisy pictures back."""
    generator = torch.Generator().manual_seed(1)
    x = x.repeat(4, 1)
    own = x + sigma * torch.randn(x.shape, generator=generator)
    return noisy @ torch.linalg.lstsq(own, own).solution


def more_noise(x, noisy, sigma):
    """Return the right filter of pictures to which noise was added once more."""
    generator = torch.Generator().manual_seed(1)
    return linear(
        x, noisy + sigma * torch.randn(noisy.shape, generator=generator), sigma
    )


def from_noisy(x, noisy, sigma):
    """Return a filter that takes the noisy pictures' covariance for the clean one."""
    return linear(noisy, noisy, sigma)


CAMERAS = [f"camera {i}" for i in range(1, 9)]

q5 = Question(
    title="Reach a target: a camera with bad pixels",
    answer="clean_up",
    signature=["x", "noisy", "sigma"],
    results=["x_hat"],
    cases=dict.fromkeys(CAMERAS, camera),
    reference=lambda generator: taken(generator)[0],
    marks=[
        Marks(
            "held-out digits",
            4,
            CAMERAS,
            "try it on digits that you have put noise on; does each pixel's own sigma "
            "come in, as a variance, and is the mean digit added again at the end?",
            kind="score",
            measure="mean squared error",
            bound=0.03,
        )
    ],
    hidden=set(CAMERAS[1:]),
    right=[
        clean_by_regression,
        clean_by_whitening,
        clean_by_neighbours,
        clean_by_mixture,
        clean_by_network,
    ],
    mistakes=[
        Mistake("nothing done", 0, function=lambda x, noisy, sigma: noisy),
        Mistake(
            "the mean digit",
            0,
            function=lambda x, noisy, sigma: x.mean(dim=0).expand_as(noisy),
        ),
        Mistake("one noise for all pixels", 0, function=one_noise),
        Mistake(
            "deviation for variance",
            0,
            edits={"torch.diag(sigma**2)": "torch.diag(sigma)"},
        ),
        Mistake(
            "squared twice", 0, edits={"torch.diag(sigma**2)": "torch.diag(sigma**4)"}
        ),
        Mistake(
            "noise forgotten",
            0,
            edits={"covariance + noise, cov": "covariance + 1e-4 * torch.eye(64), cov"},
        ),
        Mistake("not transposed", 0, edits={"@ transposed": "@ transposed.T"}),
        Mistake("no mean added", 0, edits={"return mean + (": "return ("}),
        Mistake("the mean not subtracted", 0, edits={"(noisy - mean)": "noisy"}),
        Mistake("the share of noise", 0, edits={"noise, covariance)": "noise, noise)"}),
        Mistake(
            "a covariance that is a sum",
            0,
            edits={"centred / len(x)": "centred"},
        ),
        Mistake("noise added at test time", 0, function=more_noise),
        Mistake("noisy label", 0, function=noisy_label),
        Mistake("covariance of the noisy pictures", 0, function=from_noisy),
        Mistake("pixel noise along principal directions", 0, function=along_axes),
        Mistake("eight components", 0, function=eight_components),
        Mistake("bad pixels by their mean", 0, function=bad_by_mean),
        Mistake("smoothed", 0, function=smoothed),
        Mistake("each pixel by itself", 0, function=no_mates),
        Mistake("the nearest digit", 0, function=nearest),
        Mistake(
            "cut to black and white",
            0,
            edits={
                "return mean + (noisy - mean) @ transposed": "x_hat = mean + (noisy - "
                "mean) @ transposed\n    return (x_hat > 0.5).to(x.dtype)"
            },
        ),
    ],
    seconds=10.0,
)

QUESTIONS = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5}
