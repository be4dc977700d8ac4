"""Set 02, autoencoders: what a right answer is, and which wrong ones are known."""

import numpy as np
import torch
from scipy import special
from torch import nn
from torch.nn import functional as F

from aelab import data, losses, training
from aelab.grading.exam import Digits, Strided, flipped
from aelab.grading.specification import AUTOGRAD, Marks, Mistake, Question
from aelab.models import Autoencoder

# q1: a loss and its gradients


def network(g, n, d, k, l2=0.0, dtype=torch.float32):
    """Return pictures, the parameters of a small autoencoder, and a price."""
    shapes = (n, d), (d, k), (k,), (k, d), (d,)
    x, w1, b1, w2, b2 = (torch.randn(shape, generator=g) for shape in shapes)
    return *(t.to(dtype) for t in (x, w1, b1, w2, b2)), l2


def saturated(g, n, d):
    """Return the same, with one unit always on, one always off, and two others."""
    x, w1, b1, w2, b2, l2 = network(g, n, d, 4)
    return x, w1, b1 + torch.tensor([100.0, -100.0, 0.0, 0.0]), w2, b2, l2


def with_gaps(g, n, d, k, l2):
    """Return the same, with gaps in the memory of the pictures and of w1."""
    x, w1, *rest = network(g, n, d, k, l2)
    return Strided(x), Strided(w1), *rest


def loss_in_numpy(x, w1, b1, w2, b2, l2):
    """Return the loss, one picture after the other; complex if a weight is."""
    total = 0.0
    for row in x:
        code = 1 / (1 + np.exp(-(row @ w1 + b1)))
        total = total + ((code @ w2 + b2 - row) ** 2).sum()
    return total / len(x) + l2 * ((w1**2).sum() + (w2**2).sum())


def slopes_in_numpy(x, w1, b1, w2, b2, l2):
    """Return the loss, and its gradients by steps into the complex plane.

    For an analytic f, the imaginary part of f(t + ih) is h f'(t) up to h**3: a quotient
    without a difference, and so exact to rounding.
    """
    x, *parameters = (t.numpy() for t in (x, w1, b1, w2, b2))
    gradients = []
    for which, parameter in enumerate(parameters):
        found = np.zeros(parameter.shape)
        for place in np.ndindex(parameter.shape):
            moved = [p.astype(complex) for p in parameters]
            moved[which][place] += 1e-30j
            found[place] = loss_in_numpy(x, *moved, l2).imag / 1e-30
        gradients.append(found)
    d_w1, d_b1, d_w2, d_b2 = gradients
    return loss_in_numpy(x, *parameters, l2), d_w2, d_b2, d_w1, d_b1


def gradients_in_a_loop(x, w1, b1, w2, b2, l2):
    """Return loss and gradients, one picture after the other."""
    loss = l2 * (w1.pow(2).sum() + w2.pow(2).sum())
    d_w1, d_w2 = 2 * l2 * w1, 2 * l2 * w2
    d_b1, d_b2 = torch.zeros_like(b1), torch.zeros_like(b2)
    for row in x:
        a = 1 / (1 + torch.exp(-(b1 + w1.T @ row)))
        off = w2.T @ a + b2 - row
        by_code = 2 * w2 @ off  # Eq. (2.4)
        by_sum = by_code * (a - a * a)
        loss = loss + off.dot(off) / len(x)
        d_w2 = d_w2 + 2 * torch.outer(a, off) / len(x)
        d_b2 = d_b2 + 2 * off / len(x)
        d_w1 = d_w1 + torch.outer(row, by_sum) / len(x)
        d_b1 = d_b1 + by_sum / len(x)
    return loss, d_w2, d_b2, d_w1, d_b1


def gradients_in_float64(x, w1, b1, w2, b2, l2):
    """Return loss and gradients computed in float64, and rounded at the end."""
    exact = gradients_in_a_loop(*(t.double() for t in (x, w1, b1, w2, b2)), l2)
    return tuple(t.to(x.dtype) for t in exact)


def gradients_by_einsum(x, w1, b1, w2, b2, l2):
    """Return loss and gradients, with the biases as a last row of the weights."""
    ones = torch.ones_like(x[:, :1])
    x1 = torch.cat([x, ones], dim=1)
    total = x1 @ torch.cat([w1, b1[None]])
    a1 = torch.cat([(1 + torch.tanh(total / 2)) / 2, ones], dim=1)
    off = a1 @ torch.cat([w2, b2[None]]) - x
    slope = torch.exp(F.logsigmoid(total) + F.logsigmoid(-total))
    loss = torch.einsum("ij,ij->", off, off) / x.shape[0]
    loss = loss + l2 * (torch.linalg.norm(w1) ** 2 + torch.linalg.norm(w2) ** 2)
    second = torch.einsum("ni,nj->ij", a1, off) * 2 / x.shape[0]
    inner = torch.einsum("nj,kj,nk->nk", off, w2, slope)
    first = torch.einsum("ni,nj->ij", x1, inner) * 2 / x.shape[0]
    d_w2, d_w1 = second[:-1] + 2 * l2 * w2, first[:-1] + 2 * l2 * w1
    return loss, d_w2, second[-1], d_w1, first[-1]


def gradients_by_autograd(x, w1, b1, w2, b2, l2):
    """Return loss and gradients without a formula."""
    w1, b1, w2, b2 = (t.clone().requires_grad_() for t in (w1, b1, w2, b2))
    loss = (torch.sigmoid(x @ w1 + b1) @ w2 + b2 - x).square().sum() / len(x)
    loss = loss + l2 * (w1.square().sum() + w2.square().sum())
    loss.backward()
    return loss.detach(), w2.grad, b2.grad, w1.grad, b1.grad


def gradients_by_the_library(x, w1, b1, w2, b2, l2):
    """Return loss and gradients by the library's terms and autograd."""
    w1, b1, w2, b2 = (t.clone().requires_grad_() for t in (w1, b1, w2, b2))
    x_hat = torch.sigmoid(x @ w1 + b1) @ w2 + b2
    loss = losses.squared_error(x, x_hat).mean()
    loss = loss + l2 * (w1.square().sum() + w2.square().sum())
    return loss.detach(), *torch.autograd.grad(loss, (w2, b2, w1, b1))


q1 = Question(
    title="A gradient by hand",
    answer="loss_and_gradients",
    signature=["x", "w1", "b1", "w2", "b2", "l2"],
    results=["loss", "d_w2", "d_b2", "d_w1", "d_b1"],
    cases={
        "12 pictures": lambda g: network(g, 12, 4, 2),
        "a code as long as the picture": lambda g: network(g, 7, 3, 3),
        "a price on weights": lambda g: network(g, 8, 3, 2, l2=0.3),
        "a high price on weights": lambda g: network(g, 6, 3, 2, l2=5.0),
        "a single picture": lambda g: network(g, 1, 3, 2),
        "saturated units": lambda g: saturated(g, 9, 3),
        "float64": lambda g: network(g, 6, 3, 2, dtype=torch.float64),
        "tensors with gaps": lambda g: with_gaps(g, 6, 5, 3, 0.1),
        "many pictures": lambda g: network(g, 20, 6, 4, l2=0.05),
    },
    reference=slopes_in_numpy,
    marks=[
        Marks(
            "without a price on weights",
            2,
            ["12 pictures", "a code as long as the picture"],
            "go back in steps, and compare each with a quotient, as in the example",
        ),
        Marks(
            "with a price on weights",
            2,
            ["a price on weights", "a high price on weights", "many pictures"],
            "Eq. (2.7): which parameters does the price concern, and is it averaged?",
        ),
        Marks(
            "other inputs",
            1,
            ["a single picture", "saturated units", "float64", "tensors with gaps"],
            "x may be float64 or a single row, and the sigmoid may be close to 0 or 1",
        ),
    ],
    forbidden=[*AUTOGRAD, "aelab.losses.squared_error", "aelab.losses.weight_penalty"],
    hidden={
        "a code as long as the picture",
        "a high price on weights",
        "many pictures",
        "tensors with gaps",
    },
    right=[gradients_in_a_loop, gradients_in_float64, gradients_by_einsum],
    mistakes=[
        Mistake(
            "mean for sum over features",
            0,
            "These belong to the error averaged over features, and are d times too "
            "small: this course sums over features, see Eq. (2.2).",
            {
                ".sum(dim=1).mean()": ".mean()",
                "(x_hat - x) / len(x)": "(x_hat - x) / x.numel()",
            },
        ),
        Mistake(
            "sum for mean over examples",
            0,
            "These belong to the error summed over the whole batch; over examples the "
            "course averages, see Eq. (2.2).",
            {
                ".sum(dim=1).mean()": ".sum()",
                "(x_hat - x) / len(x)": "(x_hat - x)",
            },
        ),
        Mistake(
            "gradients of the sum over examples",
            0,
            "The loss is a mean over the examples, but these are the gradients of the "
            "sum: where has the 1/n gone?",
            {"(x_hat - x) / len(x)": "(x_hat - x)"},
        ),
        Mistake(
            "mean over features in the loss only",
            0,
            "The loss is averaged over features, the gradients are those of the sum; "
            "the sum was asked for in both.",
            {".sum(dim=1).mean()": ".mean()"},
        ),
        Mistake(
            "no factor 2 from the square",
            0,
            "These are half of the gradients: what is the derivative of a square?",
            {"to_output = 2 * (x_hat": "to_output = (x_hat"},
        ),
        Mistake(
            "descent for gradient",
            0,
            "The gradients of the error point the wrong way: they should say where the "
            "loss *grows*. Look at the sign of x_hat - x.",
            {"2 * (x_hat - x)": "2 * (x - x_hat)"},
        ),
        Mistake(
            "no derivative of the sigmoid",
            0,
            "The decoder's gradients are right. On the way to the encoder the sigmoid "
            "was passed as if it were not there: its derivative is missing.",
            {" * a * (1 - a)": ""},
        ),
        Mistake(
            "sigmoid applied twice in its derivative",
            0,
            "The decoder's gradients are right. In the encoder's, the sigmoid's "
            "derivative is taken at a, which is a sigmoid already.",
            {
                " * a * (1 - a)": " * torch.sigmoid(a) * (1 - torch.sigmoid(a))",
            },
        ),
        Mistake(
            "derivative of tanh",
            0,
            "The decoder's gradients are right. In the encoder's, 1 - a^2 is the "
            "derivative of tanh, and the code has a sigmoid.",
            {" * a * (1 - a)": " * (1 - a**2)"},
        ),
        Mistake(
            "sigmoid at the output as well",
            0,
            "There is a second sigmoid, at the output; this decoder ends without one.",
            {
                "x_hat = a @ w2 + b2": "x_hat = torch.sigmoid(a @ w2 + b2)",
                "to_output = 2 * (x_hat - x) / len(x)": "to_output = 2 * (x_hat - x) "
                "* x_hat * (1 - x_hat) / len(x)",
            },
        ),
        Mistake(
            "code without its bias",
            0,
            "",
            {"torch.sigmoid(x @ w1 + b1)": "torch.sigmoid(x @ w1)"},
        ),
        Mistake(
            "bias gradients averaged once more",
            0,
            "The gradients of the biases are n times too small: 1/n is in them twice.",
            {
                "to_output.sum(dim=0)": "to_output.mean(dim=0)",
                "to_code.sum(dim=0)": "to_code.mean(dim=0)",
            },
        ),
        Mistake(
            "encoder not trained",
            0,
            "The encoder gets no gradient from the error: does the error not depend on "
            "w1 and b1, by way of the code?",
            {"(to_output @ w2.T) * a": "0 * (to_output @ w2.T) * a"},
        ),
        Mistake(
            "price on the biases as well",
            2,
            "The biases pay as well; Eq. (2.7) has a price on the two matrices only.",
            {
                "w2.square().sum())": "w2.square().sum() + b1.square().sum()"
                " + b2.square().sum())",
                "to_output.sum(dim=0)": "to_output.sum(dim=0) + 2 * l2 * b2",
                "to_code.sum(dim=0)": "to_code.sum(dim=0) + 2 * l2 * b1",
            },
        ),
        Mistake(
            "price on the wrong layer",
            2,
            "Only the decoder's weights pay; Eq. (2.7) has both matrices.",
            {
                "w1.square().sum() + ": "",
                "x.T @ to_code + 2 * l2 * w1": "x.T @ to_code",
            },
        ),
        Mistake(
            "price on the code",
            2,
            "The price is on the code; it should be on the weights.",
            {"w1.square().sum() + w2.square().sum()": "a.square().sum(dim=1).mean()"},
        ),
        Mistake(
            "price in the loss only",
            2,
            "The price is in the loss, but not in the gradients of the weights.",
            {
                "a.T @ to_output + 2 * l2 * w2": "a.T @ to_output",
                "x.T @ to_code + 2 * l2 * w1": "x.T @ to_code",
            },
        ),
        Mistake(
            "price in the gradients only",
            2,
            "The gradients know the price on weights, but the loss lacks it.",
            {"return error + penalty": "return error"},
        ),
        Mistake(
            "no factor 2 from the price",
            2,
            "The price enters the gradients with half of its weight: it has squares, "
            "too.",
            {
                "to_output + 2 * l2 * w2": "to_output + l2 * w2",
                "to_code + 2 * l2 * w1": "to_code + l2 * w1",
            },
        ),
        Mistake(
            "price divided by n",
            2,
            "The price on weights is divided by the number of examples; in Eq. (2.7) "
            "it stands outside the mean.",
            {
                "penalty = l2": "l2 = l2 / len(x)\n    penalty = l2",
            },
        ),
        Mistake(
            "root for square in the price",
            2,
            "",
            {
                "w1.square().sum() + w2.square().sum()": "w1.norm() + w2.norm()",
                "to_output + 2 * l2 * w2": "to_output + l2 * w2 / w2.norm()",
                "to_code + 2 * l2 * w1": "to_code + l2 * w1 / w1.norm()",
            },
        ),
        Mistake(
            "float32 whatever comes",
            4,
            "",
            {
                "a = torch.sigmoid(x @ w1": "x, w1, b1, w2, b2 = (t.float() for t in "
                "(x, w1, b1, w2, b2))\n    a = torch.sigmoid(x @ w1"
            },
        ),
        Mistake(
            "sigmoid's derivative by dividing by its logit",
            4,
            "",
            {
                " * a * (1 - a)": " * torch.exp(-(x @ w1 + b1))"
                " / (1 + torch.exp(-(x @ w1 + b1))) ** 2",
            },
        ),
        Mistake(
            "weights changed in place",
            0,
            "",
            {"return error": "w1 -= 0.1 * d_w1\n    return error"},
        ),
        Mistake("the library's terms", 0, "", function=gradients_by_the_library),
        Mistake("autograd", 0, "", function=gradients_by_autograd),
    ],
)


# q2: the cross-entropy and its floor


def coins(g, n, d, scale=2.0, black_and_white=False, dtype=torch.float32):
    """Return pictures and logits."""
    x = torch.rand(n, d, generator=g)
    if black_and_white:
        x = x.round()
    return x.to(dtype), (scale * torch.randn(n, d, generator=g)).to(dtype)


def half_and_half(g, n, d):
    """Return pictures of which some pixels are 0, some 1 and some grey."""
    x, logits = coins(g, n, d)
    return (2 * x - 0.5).clamp(0, 1), logits


def large(g, n, d):
    """Return grey pictures, and logits of 30, 100 and 2000 of either sign."""
    x, _ = coins(g, n, d)
    sizes = torch.tensor([-100.0, -30.0, 30.0, 100.0, 2000.0, -2000.0])
    return x, sizes[torch.arange(n * d) % 6].reshape(n, d)


def smooth_large(g, n, d):
    """Return grey pictures, and logits some of which are far from 0."""
    x, logits = coins(g, n, d)
    far = torch.tensor([0.0, 100.0, 0.0, -2000.0])[torch.arange(n * d) % 4]
    return x, logits + far.reshape(n, d)


def coins_in_numpy(x, logits):
    """Return both costs by log-add-exp, and by the function for x log x."""
    x, logits = x.numpy(), logits.numpy()
    on, off = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    nats = -(x * on + (1 - x) * off).sum(axis=1)
    floor = -(special.xlogy(x, x) + special.xlogy(1 - x, 1 - x)).sum(axis=1)
    return nats, floor + 0.0


def coins_in_a_loop(x, logits):
    """Return both costs, one picture after the other, by log-sigmoids."""
    nats, floor = [], []
    for row, levels in zip(x, logits, strict=True):
        nats.append(-(row @ F.logsigmoid(levels) + (1 - row) @ F.logsigmoid(-levels)))
        shares = torch.cat([row, 1 - row])
        shares = shares[shares > 0]
        floor.append(-(shares * shares.log()).sum())
    return torch.stack(nats), torch.stack(floor)


def coins_by_torch(x, logits):
    """Return both costs by torch's own cross-entropies."""
    nats = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    floor = F.binary_cross_entropy(x, x, reduction="none")
    return nats.sum(dim=-1), floor.sum(dim=-1)


def coins_in_float64(x, logits):
    """Return both costs in float64, rounded at the end, by |l| and log1p."""
    y, wide = x.double(), logits.double()
    nats = wide.clamp(min=0) - y * wide + torch.log1p(torch.exp(-wide.abs()))
    floor = -torch.xlogy(y, y) - torch.xlogy(1 - y, 1 - y)
    return nats.sum(dim=1).to(x.dtype), floor.sum(dim=1).to(x.dtype)


def coins_by_the_library(x, logits):
    """Return both costs by the library's term."""
    floor = torch.special.entr(x) + torch.special.entr(1 - x)
    return losses.bernoulli(x, logits), floor.sum(dim=1)


NATS = "nats = F.softplus(logits) - x * logits"
FLOOR = "floor = torch.special.entr(x) + torch.special.entr(1 - x)"
X_HAT = "x_hat = torch.sigmoid(logits)\n    "
PLAIN = "nats = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log())"

q2 = Question(
    title="What a copy costs, and what it must cost",
    answer="cross_entropy",
    signature=["x", "logits"],
    results=["nats", "floor"],
    cases={
        "grey pictures": lambda g: coins(g, 4, 7),
        "as many pictures as pixels": lambda g: coins(g, 4, 4),
        "one pixel": lambda g: coins(g, 4, 1),
        "black and white": lambda g: coins(g, 3, 6, black_and_white=True),
        "some pixels 0, some 1, some grey": lambda g: half_and_half(g, 3, 12),
        "logits from -2000 to 2000": lambda g: large(g, 3, 8),
        "gradients of grey pictures": lambda g: coins(g, 3, 5),
        "gradients where logits are large": lambda g: smooth_large(g, 3, 4),
        "one picture": lambda g: coins(g, 1, 6),
        "float64": lambda g: coins(g, 3, 4, dtype=torch.float64),
        "tensors with gaps": lambda g: tuple(map(Strided, coins(g, 5, 7))),
    },
    reference=coins_in_numpy,
    marks=[
        Marks(
            "grey pictures",
            1,
            ["grey pictures", "as many pictures as pixels", "one pixel"],
            "work out Eq. (2.3) by hand for one pixel, x = 0.3 and logit 0",
        ),
        Marks(
            "pixels that are 0 or 1",
            1,
            ["black and white", "some pixels 0, some 1, some grey"],
            "print the floor of a single pixel that is 0",
        ),
        Marks(
            "large logits",
            1,
            ["logits from -2000 to 2000"],
            "print what the sigmoid makes of 100 and of -100",
        ),
        Marks(
            "gradients by the logits",
            0.5,
            ["gradients of grey pictures", "gradients where logits are large"],
            "the lecture has this derivative, after Eq. (2.3)",
            kind="gradients",
            wrt=["logits"],
        ),
        Marks(
            "other shapes and dtypes",
            0.5,
            ["one picture", "float64", "tensors with gaps"],
            "there may be one picture, and x may be float64",
        ),
    ],
    forbidden=["aelab.losses.bernoulli"],
    hidden={"one pixel", "gradients of grey pictures", "tensors with gaps"},
    right=[coins_in_a_loop, coins_by_torch, coins_in_float64],
    mistakes=[
        Mistake(
            "mean for sum",
            0,
            "These are means over the pixels, d times too small: this course sums over "
            "features.",
            {"nats.sum(": "nats.mean(", "floor.sum(": "floor.mean("},
        ),
        Mistake(
            "mean for sum in nats only",
            0,
            "The floor is summed over the pixels, but nats is averaged: both should be "
            "sums.",
            {"nats.sum(": "nats.mean("},
        ),
        Mistake(
            "wrong axis",
            0,
            "The sum runs over the pictures, so that there is one number a pixel; one "
            "a picture was asked for.",
            {
                "nats.sum(dim=1)": "nats.sum(dim=0)",
                "floor.sum(dim=1)": "floor.sum(dim=0)",
            },
        ),
        Mistake(
            "one number for the batch",
            0,
            "This is the mean over the whole batch, again and again; each picture has "
            "its own cost.",
            {
                "nats.sum(dim=1)": "nats.sum(dim=1).mean().expand(len(x))",
                "floor.sum(dim=1)": "floor.sum(dim=1).mean().expand(len(x))",
            },
        ),
        Mistake(
            "sigmoid applied twice",
            0,
            "The sigmoid has been applied twice: a function that wants logits was "
            "given the sigmoid of them.",
            {NATS: X_HAT + "nats = F.softplus(x_hat) - x * x_hat"},
        ),
        Mistake(
            "softmax for sigmoid",
            0,
            "This is the cross-entropy of one choice among the pixels, with a softmax; "
            "here each pixel is a coin of its own.",
            {NATS: "nats = -x * F.log_softmax(logits, dim=1)"},
        ),
        Mistake(
            "half of the formula",
            0,
            "Only the term with x log x_hat is there: what does a black pixel cost "
            "that is rebuilt as white?",
            {NATS: "nats = -x * F.logsigmoid(logits)"},
        ),
        Mistake(
            "log-likelihood for its negative",
            0,
            "The sign of nats is turned round: this is the log-likelihood; the cost is "
            "its negative.",
            {NATS: "nats = x * logits - F.softplus(logits)"},
        ),
        Mistake(
            "sign of the logits",
            0,
            "Here a large logit means black. The sigmoid of a large logit is 1, which "
            "is white.",
            {NATS: "nats = F.softplus(-logits) + x * logits"},
        ),
        Mistake(
            "x and x_hat exchanged",
            0,
            "",
            {
                NATS: X_HAT + "y = x.clamp(1e-6, 1 - 1e-6)\n    "
                "nats = -(x_hat * y.log() + (1 - x_hat) * (1 - y).log())"
            },
        ),
        Mistake(
            "bits for nats",
            0,
            "These are bits; nats have the natural logarithm.",
            {
                NATS: "nats = (F.softplus(logits) - x * logits) / 0.6931471805599453",
                FLOOR: f"{FLOOR}\n    floor = floor / 0.6931471805599453",
            },
        ),
        Mistake(
            "squared error for nats",
            0,
            "This is the squared error; the cross-entropy of Eq. (2.3) was asked for.",
            {NATS: "nats = (x - torch.sigmoid(logits)) ** 2"},
        ),
        Mistake(
            "nats above the floor",
            0.5,
            "The floor is subtracted from nats; return the two apart.",
            {"return nats.sum(dim=1)": "return (nats - floor).sum(dim=1)"},
        ),
        Mistake(
            "no floor",
            0.5,
            "The floor is zero here; a grey pixel costs its entropy, even as a perfect "
            "copy.",
            {FLOOR: "floor = torch.zeros_like(x)"},
        ),
        Mistake(
            "entropy of the copy",
            0,
            "This is the entropy of x_hat; the floor is a property of the picture x, "
            "whatever the decoder does.",
            {
                FLOOR: X_HAT + "floor = torch.special.entr(x_hat) "
                "+ torch.special.entr(1 - x_hat)"
            },
        ),
        Mistake(
            "half of the entropy",
            0.5,
            "The floor has the term x log x only; the copy pays for 1 - x as well.",
            {FLOOR: "floor = torch.special.entr(x)"},
        ),
        Mistake(
            "0 log 0",
            3,
            "The floor of a pixel that is 0 or 1 is 0 times minus infinity here, which "
            "is no number; the limit of t log t is 0.",
            {FLOOR: "floor = -(x * x.log() + (1 - x) * (1 - x).log())"},
        ),
        Mistake(
            "logarithm of a sigmoid",
            2.5,
            "In float32 the sigmoid of 100 is exactly 1, and the logarithm of 1 minus "
            "it is minus infinity. Simplify on paper before you compute.",
            {NATS: X_HAT + PLAIN},
        ),
        Mistake(
            "clamped probabilities",
            2.5,
            "The probabilities are held away from 0 and 1, so nothing is infinite; but "
            "a confident mistake then costs too little, and its gradient is 0.",
            {NATS: "x_hat = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)\n    " + PLAIN},
        ),
        Mistake(
            "torch's cross-entropy of probabilities",
            2.5,
            "torch cuts the logarithm of a probability off at -100, and the sigmoid "
            "has lost its digits before: start from the logits.",
            {NATS: X_HAT + 'nats = F.binary_cross_entropy(x_hat, x, reduction="none")'},
        ),
        Mistake(
            "exponential that overflows",
            2.5,
            "The exponential of 100 is too large for float32.",
            {NATS: "nats = torch.log(1 + torch.exp(logits)) - x * logits"},
        ),
        Mistake(
            "logits cut off",
            2.5,
            "The logits are cut off, and what is beyond costs too little.",
            {NATS: "logits = logits.clamp(-20, 20)\n    " + NATS},
        ),
        Mistake(
            "cut off from the gradient",
            3.5,
            "",
            {NATS: "logits = logits.detach()\n    " + NATS},
        ),
        Mistake(
            "black and white by rounding",
            0,
            "The pixels are rounded to 0 or 1 first; a grey pixel is a share, and "
            "costs accordingly.",
            {NATS: "x = x.round()\n    " + NATS},
        ),
        Mistake(
            "float32 whatever comes",
            3.5,
            "",
            {NATS: "x, logits = x.float(), logits.float()\n    " + NATS},
        ),
        Mistake("the library's term", 0, "", function=coins_by_the_library),
    ],
)


# q3: a loop with two bugs


def start(g, n, d, k, epochs, batch, dtype=torch.float32):
    """Return pictures, first weights, and how to train."""
    x = torch.randn(n, d, generator=g)
    w1, w2 = (0.4 * torch.randn(s, generator=g) for s in ((d, k), (k, d)))
    return x.to(dtype), w1.to(dtype), w2.to(dtype), 0.05, epochs, batch


def start_with_gaps(g, n, d, k, epochs, batch):
    """Return the same, with gaps in the memory of the tensors."""
    tensors = start(g, n, d, k, epochs, batch)
    return *map(Strided, tensors[:3]), *tensors[3:]


def training_in_numpy(x, w1, w2, lr, epochs, batch):
    """Return weights and curve, with the gradients of Eq. (2.4)."""
    x, w1, w2 = x.numpy(), w1.numpy().copy(), w2.numpy().copy()
    curve = np.zeros(epochs)
    for epoch in range(epochs):
        for first in range(0, len(x), batch):
            rows = x[first : first + batch]
            d_w1, d_w2 = np.zeros_like(w1), np.zeros_like(w2)
            for row in rows:
                code = row @ w1
                off = code @ w2 - row
                curve[epoch] += (off**2).sum() / len(x)
                d_w2 += 2 * np.outer(code, off) / len(rows)
                d_w1 += 2 * np.outer(row, w2 @ off) / len(rows)
            w1, w2 = w1 - lr * d_w1, w2 - lr * d_w2
    return w1, w2, curve


def training_by_hand(x, w1, w2, lr, epochs, batch):
    """Return weights and curve, with gradients by hand and all errors kept."""
    curve = []
    for _ in range(epochs):
        errors = []
        for first in range(0, len(x), batch):
            rows = x[first : first + batch]
            off = rows @ w1 @ w2 - rows
            errors.append(off.square().sum(dim=1))
            back = 2 * off / len(rows)
            steps = rows.T @ (back @ w2.T), (rows @ w1).T @ back
            w1, w2 = w1 - lr * steps[0], w2 - lr * steps[1]
        curve.append(torch.cat(errors).mean())
    return w1, w2, torch.stack(curve)


def training_with_sgd(x, w1, w2, lr, epochs, batch):
    """Return weights and curve, by an optimiser and a loader."""
    w1, w2 = nn.Parameter(w1.clone()), nn.Parameter(w2.clone())
    optimizer = torch.optim.SGD([w1, w2], lr=lr)
    curve = torch.zeros(epochs, dtype=x.dtype)
    for epoch in range(epochs):
        for rows in torch.utils.data.DataLoader(x, batch_size=batch):
            error = F.mse_loss(rows @ w1 @ w2, rows, reduction="sum")
            curve[epoch] += error.detach() / len(x)
            optimizer.zero_grad()
            (error / len(rows)).backward()
            optimizer.step()
    return w1.detach(), w2.detach(), curve


def training_in_float64(x, w1, w2, lr, epochs, batch):
    """Return weights and curve computed in float64, and rounded at the end."""
    first = x.double(), w1.double(), w2.double()
    return tuple(t.to(x.dtype) for t in training_by_hand(*first, lr, epochs, batch))


def as_given(x, w1, w2, lr, epochs, batch):
    """Return what the given loop returns."""
    w1, w2 = w1.clone().requires_grad_(), w2.clone().requires_grad_()
    curve = []
    for _ in range(epochs):
        total, batches = 0.0, x.split(batch)
        for rows in batches:
            loss = (rows - rows @ w1 @ w2).square().sum(dim=1).mean()
            loss.backward()
            with torch.no_grad():
                w1 -= lr * w1.grad
                w2 -= lr * w2.grad
            total += loss.item()
        curve.append(total / len(batches))
    return w1.detach(), w2.detach(), torch.tensor(curve, dtype=x.dtype)


CLEAR = "            w1.grad = w2.grad = None\n"
STEP = """            with torch.no_grad():
                w1 -= lr * w1.grad
                w2 -= lr * w2.grad
"""
TOTAL = "total += loss.item() * len(rows)"

q3 = Question(
    title="Find the bugs: a loop that trains",
    answer="train",
    signature=["x", "w1", "w2", "lr", "epochs", "batch"],
    results=["w1", "w2", "curve"],
    cases={
        "three batches of 4": lambda g: start(g, 12, 4, 2, 2, 4),
        "all pictures in each step": lambda g: start(g, 10, 4, 3, 4, 10),
        "a last batch of 1": lambda g: start(g, 9, 4, 2, 2, 4),
        "a last batch of 3": lambda g: start(g, 13, 4, 2, 3, 5),
        "more in a batch than there are": lambda g: start(g, 7, 3, 2, 2, 64),
        "float64": lambda g: start(g, 8, 3, 2, 2, 4, torch.float64),
        "tensors with gaps": lambda g: start_with_gaps(g, 12, 4, 2, 2, 3),
    },
    reference=training_in_numpy,
    marks=[
        Marks(
            "batches of one size",
            1.5,
            ["three batches of 4", "all pictures in each step"],
            "follow the first two steps of a single number by hand",
        ),
        Marks(
            "a shorter last batch",
            1.5,
            ["a last batch of 1", "a last batch of 3"],
            "the second symptom: what does a batch of one picture count?",
        ),
        Marks(
            "other inputs",
            1,
            ["more in a batch than there are", "float64", "tensors with gaps"],
            "x may be float64, and a batch may hold everything",
        ),
    ],
    hidden={
        "all pictures in each step",
        "a last batch of 3",
        "tensors with gaps",
    },
    right=[training_by_hand, training_with_sgd, training_in_float64],
    mistakes=[
        Mistake(
            "gradients add up",
            0,
            "The first bug is still there: each step also repeats all the steps before "
            "it.",
            {CLEAR: ""},
        ),
        Mistake(
            "as it was given",
            0,
            "This is the loop as it was given: both bugs are still there.",
            function=as_given,
        ),
        Mistake(
            "mean of the batches' means",
            2.5,
            "The weights are right. In the curve a short batch counts as much as a "
            "long one: the second bug is still there.",
            {
                "total = 0.0": "total, count = 0.0, 0",
                TOTAL: "total += loss.item()\n            count += 1",
                "curve.append(total / len(x))": "curve.append(total / count)",
            },
        ),
        Mistake(
            "cleared once an epoch",
            0,
            "The gradients are cleared once an epoch, so those of an epoch's batches "
            "still add up.",
            {CLEAR: "", "        total = 0.0\n": "        total = 0.0\n" + CLEAR[4:]},
        ),
        Mistake(
            "only one of the two cleared",
            0,
            "The gradients of w2 still add up: only those of w1 are cleared.",
            {CLEAR: "            w1.grad = None\n"},
        ),
        Mistake(
            "cleared before the step",
            0,
            "The weights are the first ones: the gradients are cleared before they are "
            "used.",
            {
                CLEAR + "            loss.backward()\n": CLEAR
                + "            loss.backward()\n"
                + "            w1.grad.zero_(), w2.grad.zero_()\n",
            },
        ),
        Mistake(
            "encoder not trained",
            0,
            "The encoder's weights are those it began with, or nearly: the gradient "
            "has to reach w1 as well.",
            {"                w1 -= lr * w1.grad\n": ""},
        ),
        Mistake(
            "one after the other",
            0,
            "w2 takes its step, and then w1 follows a gradient at the *new* w2. Both "
            "should follow the gradient of one and the same loss.",
            {
                STEP: """            with torch.no_grad():
                w2 -= lr * w2.grad
                off = rows @ w1 @ w2 - rows
                w1 -= lr * 2 * rows.T @ (off @ w2.T) / len(rows)
"""
            },
        ),
        Mistake(
            "mean over features",
            0,
            "The errors are averaged over the features as well; sum over features, and "
            "average over the batch.",
            {".sum(dim=1).mean()": ".mean()"},
        ),
        Mistake(
            "sum over the batch",
            0,
            "The loss of a batch is a sum over its pictures here, so the steps are as "
            "many times too long as the batch has rows.",
            {".sum(dim=1).mean()": ".sum()", TOTAL: "total += loss.item()"},
        ),
        Mistake(
            "wrong axis",
            0,
            "The squares are summed over the pictures and averaged over the pixels; it "
            "should be the other way round.",
            {".sum(dim=1).mean()": ".sum(dim=0).mean()"},
        ),
        Mistake(
            "up the hill",
            0,
            "The steps go along the gradient, up the hill; they should go against it.",
            {
                "w1 -= lr * w1.grad": "w1 += lr * w1.grad",
                "w2 -= lr * w2.grad": "w2 += lr * w2.grad",
            },
        ),
        Mistake(
            "short batch left out",
            2.5,
            "The last batch is left out when it is shorter: its pictures are never "
            "learnt.",
            {
                "in x.split(batch):\n": "in x.split(min(batch, len(x))):\n"
                "            if len(rows) < min(batch, len(x)):\n"
                "                continue\n",
            },
        ),
        Mistake(
            "short batch divided by the full size",
            1.5,
            "The step of the last batch is too short: its mean should be over the rows "
            "that it has.",
            {
                ".sum(dim=1).mean()": ".sum() / batch",
                TOTAL: "total += loss.item() * batch",
            },
        ),
        Mistake(
            "loss after the step",
            0,
            "The weights are right. The curve has each loss after the step of its "
            "batch; it should be the one just before.",
            {
                TOTAL: "loss = (rows - rows @ w1 @ w2).square().sum(dim=1).mean()"
                f"\n            {TOTAL}"
            },
        ),
        Mistake(
            "loss at the end of the epoch",
            0,
            "The weights are right. The curve has the loss at the end of each epoch; "
            "it should be the mean of what was seen on the way.",
            {
                "curve.append(total / len(x))": "curve.append((x - x @ w1 @ w2)"
                ".square().sum(dim=1).mean().item())"
            },
        ),
        Mistake(
            "sum for mean in the curve",
            0,
            "The weights are right. The curve has sums over the pictures; a mean was "
            "asked for.",
            {"total / len(x)": "total"},
        ),
        Mistake(
            "all pictures in one batch",
            0,
            "Each epoch has one step, on all pictures; take `batch` of them at a time.",
            {"x.split(batch)": "x.split(len(x))"},
        ),
        Mistake(
            "total never set back",
            0,
            "The weights are right. In the curve the epochs add up: each should begin "
            "with a sum of zero.",
            {
                "    curve = []\n": "    curve = []\n    total = 0.0\n",
                "        total = 0.0\n": "",
            },
        ),
        Mistake(
            "one epoch only",
            0,
            "",
            {
                "range(epochs)": "range(1)",
                "torch.tensor(curve,": "torch.tensor(curve * epochs,",
            },
        ),
        Mistake(
            "curve in float32",
            3,
            "",
            {"torch.tensor(curve, dtype=x.dtype)": "torch.tensor(curve)"},
        ),
        Mistake(
            "weights changed in place",
            0,
            "",
            {
                "w1, w2 = w1.clone().requires_grad_(), w2.clone().requires_grad_()": ""
                "w1, w2 = w1.requires_grad_(), w2.requires_grad_()"
            },
        ),
    ],
)


# q4: the hidden half


def halves(which):
    """Return which pixels can be seen: the upper or the left half."""
    place = torch.arange(64)
    return place < 32 if which == "upper" else place % 8 < 4


def asked(g):
    """Return 166 held-out digits, whole: one of each three that are about as unusual.

    Drawn in this way, one lot is about as hard as another.
    """
    train, test = data.images("digits")
    unusual = torch.cdist(test.x, train.x).amin(dim=1)
    threes = unusual.argsort()[:498].reshape(166, 3)
    one = torch.randint(3, (166, 1), generator=g)
    return test.x[threes.gather(1, one)[:, 0]]


FLIP = {"upper": 2, "left": 1}  # so that the same half is hidden


def half_hidden(g, which):
    """Return whole pictures, what is known, the known halves of others, and a seed."""
    known = halves(which)
    new = flipped(asked(g), FLIP[which])[:, known]
    seed = int(torch.randint(10**6, (), generator=g))
    return Digits("train", 0, 1297, flip=FLIP[which]), known, new, seed


def columns_hidden(g):
    """Return few pictures, and half of the columns of others."""
    known = torch.arange(64) % 2 == 0
    new = asked(g)[:20, known]
    return Digits("train", 0, 300), known, new, 3


def kept_columns(g):
    """Return what has to come back, and NaN for what is to be guessed."""
    whole = asked(g)[:20]
    whole[:, 1::2] = float("nan")
    return whole


def joined(known, new, hidden):
    """Return whole pictures, from their two halves."""
    whole = torch.empty(len(new), len(known))
    whole[:, known], whole[:, ~known] = new, hidden.to(new)
    return whole


def by_neighbours(pictures, known, new, seed, count=8):
    """Return the mean of the pictures whose known halves are nearest."""
    near = torch.cdist(new, pictures[:, known]).topk(count, largest=False).indices
    return joined(known, new, pictures[:, ~known][near].mean(dim=1))


def by_a_kernel(pictures, known, new, seed):
    """Return kernel ridge regression, in float64."""
    old, want = pictures[:, known].double(), pictures[:, ~known].double()
    mean, square = want.mean(dim=0), torch.cdist(old, old).square()
    width = square.median() / 2
    kernel = torch.exp(-square / width)
    across = torch.exp(-torch.cdist(new.double(), old).square() / width)
    ridge = 0.3 * torch.eye(len(old), dtype=torch.float64)
    fitted = torch.linalg.solve(kernel + ridge, want - mean)
    return joined(known, new, mean + across @ fitted)


def by_plain_tensors(pictures, known, new, seed):
    """Return what a network of two matrices makes of the known half."""
    generator = torch.Generator().manual_seed(seed)
    x, y = pictures[:, known], pictures[:, ~known]
    sizes = (x.shape[1], 256), (1, 256), (256, y.shape[1]), (1, y.shape[1])
    weights = [0.07 * torch.randn(s, generator=generator) for s in sizes]
    weights = [w.requires_grad_() for w in weights]
    optimizer = torch.optim.Adam(weights, lr=3e-3, weight_decay=1e-4)

    def guess(rows):
        return torch.relu(rows @ weights[0] + weights[1]) @ weights[2] + weights[3]

    for _ in range(50):
        for i in torch.randperm(len(x), generator=generator).split(64):
            loss = (guess(x[i]) - y[i]).square().sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return joined(known, new, guess(new).detach())


def by_the_mean(pictures, known, new, seed):
    """Return the mean picture in the gap."""
    hidden = pictures[:, ~known].mean(dim=0).expand(len(new), -1)
    return joined(known, new, hidden)


def by_one_neighbour(pictures, known, new, seed):
    """Return the hidden half of the nearest picture."""
    return by_neighbours(pictures, known, new, seed, 1)


def by_a_linear_map(pictures, known, new, seed, ridge=1e-3):
    """Return the best linear guess."""
    mean = pictures.mean(dim=0)
    old, want = (pictures - mean)[:, known], (pictures - mean)[:, ~known]
    gram = old.T @ old + ridge * len(old) * torch.eye(old.shape[1])
    guess = (new - mean[known]) @ torch.linalg.solve(gram, old.T @ want)
    return joined(known, new, guess + mean[~known])


def by_components(pictures, known, new, seed):
    """Return what 16 components make of the picture with an empty half."""
    mean = pictures.mean(dim=0)
    _, _, vt = torch.linalg.svd(pictures - mean, full_matrices=False)
    empty = joined(known, new, torch.zeros(len(new), int((~known).sum())))
    rebuilt = (empty - mean) @ vt[:16].T @ vt[:16] + mean
    return joined(known, new, rebuilt[:, ~known])


def by_fitted_components(pictures, known, new, seed):
    """Return what 16 components say that fit the known half best."""
    mean = pictures.mean(dim=0)
    _, _, vt = torch.linalg.svd(pictures - mean, full_matrices=False)
    z = torch.linalg.lstsq(vt[:16, known].T, (new - mean[known]).T).solution.T
    return joined(known, new, (z @ vt[:16] + mean)[:, ~known])


def by_repeated_copies(pictures, known, new, seed):
    """Return what a plain autoencoder settles on, from the mean picture."""
    torch.manual_seed(seed)
    model = Autoencoder(64, 8, hidden_dim=128)
    training.fit(model, losses.reconstruction(), pictures, epochs=30, lr=3e-3)
    x = by_the_mean(pictures, known, new, seed)
    with torch.no_grad():
        for _ in range(20):
            x = torch.where(known, x, model(x).x_hat)
    return x


def by_the_other_half(pictures, known, new, seed):
    """Return the known half twice."""
    return joined(known, new, new)


MASKED = "losses.squared_error(x, model(x * known).x_hat)"

q4 = Question(
    title="Reach a target: the hidden half",
    answer="fill",
    signature=["pictures", "known", "new", "seed"],
    results=["whole"],
    cases={
        "the lower half hidden": lambda g: half_hidden(g, "upper"),
        "the right half hidden": lambda g: half_hidden(g, "left"),
        "every second column hidden, few pictures": columns_hidden,
    },
    reference=lambda g: flipped(asked(g), FLIP["upper"]),
    marks=[
        Marks(
            "known pixels stay as they are",
            1,
            ["every second column hidden, few pictures"],
            "`new` has the known pixels in order: put them where `known` is True",
            kind="score",
            law=kept_columns,
            measure="change of what was known",
            bound=1e-6,
        ),
        Marks(
            "the lower half hidden",
            1.5,
            ["the lower half hidden"],
            "look at what your function returns, as pictures: is it a blur, or black, "
            "or another digit?",
            kind="score",
            measure="mean squared error",
            bound=0.0218,
        ),
        Marks(
            "the right half hidden",
            1.5,
            ["the right half hidden"],
            "`known` says which half can be seen; it is not always the upper one",
            kind="score",
            law=lambda g: flipped(asked(g), FLIP["left"]),
            measure="mean squared error",
            bound=0.0237,
        ),
    ],
    hidden={"the right half hidden"},
    seconds=20.0,
    right=[by_neighbours, by_a_kernel, by_plain_tensors],
    mistakes=[
        Mistake(
            "what the network makes of the known pixels, too",
            3,
            "",
            {"torch.where(known, seen, rebuilt)": "rebuilt"},
        ),
        Mistake("the mean picture", 1, "", function=by_the_mean),
        Mistake("the nearest picture", 1, "", function=by_one_neighbour),
        Mistake("a linear map", 1, "", function=by_a_linear_map),
        Mistake("components of an empty half", 1, "", function=by_components),
        Mistake("components that fit", 1, "", function=by_fitted_components),
        Mistake("copies of copies", 1, "", function=by_repeated_copies),
        Mistake("the known half twice", 1, "", function=by_the_other_half),
        Mistake(
            "a plain autoencoder",
            1,
            "",
            {MASKED: "losses.squared_error(x, model(x).x_hat)"},
        ),
        Mistake(
            "masked target",
            1,
            "",
            {MASKED: "losses.squared_error(x * known, model(x * known).x_hat)"},
        ),
        Mistake(
            "noisy target",
            1,
            "",
            {
                MASKED: "losses.squared_error(\n"
                "            x + 0.5 * torch.rand(x.shape, generator=generator),\n"
                "            model(x * known).x_hat,\n        )"
            },
        ),
        Mistake(
            "masked the other way", 1, "", {"model(x * known)": "model(x * ~known)"}
        ),
        Mistake(
            "other pixels in the known places",
            0,
            "",
            {"seen[:, known] = new": "seen[:, ~known] = new"},
        ),
        Mistake(
            "hidden and known exchanged at the end",
            0,
            "",
            {"where(known, seen, rebuilt)": "where(known, rebuilt, seen)"},
        ),
        Mistake("not trained", 1, "", {"epochs=40, lr=3e-3": "epochs=1, lr=3e-5"}),
        Mistake("a code of one number", 1, "", {"(64, 16, hidden": "(64, 1, hidden"}),
        Mistake("a linear network", 1, "", {"hidden_dim=256": "hidden_dim=()"}),
        Mistake(
            "sigmoid applied twice",
            1,
            "",
            {
                "hidden_dim=256)": 'hidden_dim=256, output_activation="sigmoid")',
                "model(seen).x_hat": "model(seen).x_hat.sigmoid()",
            },
        ),
        Mistake(
            "logits for intensities",
            1,
            "",
            {
                MASKED: "losses.bernoulli(x, model(x * known).x_hat)",
            },
        ),
        Mistake(
            "the upper half, whatever is known",
            1.5,
            "",
            {
                "    def objective": "    known = torch.arange(64) < 32\n\n"
                "    def objective"
            },
        ),
    ],
)

QUESTIONS = {"q1": q1, "q2": q2, "q3": q3, "q4": q4}
