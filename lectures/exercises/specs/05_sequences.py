"""Set 05, sequences: what a right answer is, and which wrong ones are known."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from aelab import losses
from aelab.grading.exam import Strided
from aelab.grading.specification import AUTOGRAD, Marks, Mistake, Question


def normal(generator, *shape, dtype=torch.float32):
    """Return standard normal numbers."""
    return torch.randn(shape, generator=generator).to(dtype)


def numpy(*tensors):
    """Return tensors as NumPy arrays."""
    return [tensor.numpy() for tensor in tensors]


# q1: attention


def queries(g, time, n, d, e, *axes, dtype=torch.float32):
    """Return q, k and v for the last n of some words."""
    shapes = (n, d), (time, d), (time, e)
    return tuple(normal(g, *axes, *shape, dtype=dtype) for shape in shapes)


def large_queries(g):
    """Return whole q, k and v; fits of one sequence are small, of the other thousands.

    There the first word fits worst and the last one best, by far.
    """
    q, k = (torch.randint(-3, 4, (2, 4, 4), generator=g).float() for _ in range(2))
    q[1] = torch.randint(32, 42, (4, 4), generator=g).float()
    k[1, 0], k[1, 1], k[1, -1] = -80, 60, 80  # the second word fits well, too
    return q, k, normal(g, 2, 4, 2)


def attend_in_loops(q, k, v):
    """Return causal attention word by word, in NumPy."""
    answers = np.zeros((*q.shape[:-1], v.shape[-1]))
    q, k, v = numpy(q, k, v)
    n, time = q.shape[-2], k.shape[-2]
    for place in np.ndindex(*q.shape[:-2]):
        for i in range(n):
            fits = [
                math.fsum(q[place][i] * k[place][j]) / q.shape[-1] ** 0.5
                for j in range(time - n + i + 1)
            ]
            shares = [math.exp(fit - max(fits)) for fit in fits]
            heard = sum(a * v[place][j] for j, a in enumerate(shares))
            answers[place][i] = heard / math.fsum(shares)
    return torch.from_numpy(answers)


def attend_word_by_word(q, k, v):
    """Return causal attention, one asking word at a time, without a mask."""
    n, time, answers = q.shape[-2], k.shape[-2], []
    for i in range(n):
        end = time - n + i + 1
        fit = k[..., :end, :] @ q[..., i, :, None] / q.shape[-1] ** 0.5
        answers.append((fit.softmax(dim=-2) * v[..., :end, :]).sum(dim=-2))
    return torch.stack(answers, dim=-2)


def attend_by_pytorch(q, k, v):
    """Return causal attention by PyTorch's function, with a mask that is made here."""
    n, time = q.shape[-2], k.shape[-2]
    asked, asking = torch.arange(time), torch.arange(time - n, time)
    allowed = asked <= asking[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


def attend_with_a_billion(q, k, v):
    """Return causal attention with a large number in the place of infinity."""
    n, time = q.shape[-2], k.shape[-2]
    fit = torch.einsum("...id,...jd->...ij", q, k) * q.shape[-1] ** -0.5
    ahead = torch.ones(n, time).triu(time - n + 1)
    fit = fit - 1e9 * ahead
    weight = (fit - fit.amax(dim=-1, keepdim=True)).exp()
    return (weight / weight.sum(dim=-1, keepdim=True)) @ v


def attend_in_float64(q, k, v):
    """Return causal attention by exponentials in float64, rounded at the end."""
    n, time = q.shape[-2], k.shape[-2]
    fit = q.double() @ k.double().mT / math.sqrt(q.shape[-1])
    fit = fit.masked_fill(torch.ones(n, time).tril(time - n) == 0, -math.inf)
    share = (fit - fit.logsumexp(dim=-1, keepdim=True)).exp()
    return (share @ v.double()).to(q.dtype)


def attend_top_left(q, k, v):
    """Return PyTorch's own causal attention: the first words ask."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


ALLOWED = "torch.ones(n, time, dtype=torch.bool).tril(time - n)"
SHARE = "share = fit.masked_fill(~allowed, -math.inf).softmax(dim=-1)"

q1 = Question(
    title="Ask the past",
    answer="attend",
    signature=["q", "k", "v"],
    results=["answers"],
    cases={
        "a batch of 2 sequences": lambda g: queries(g, 3, 3, 2, 2, 2),
        "one sequence, values shorter than keys": lambda g: queries(g, 4, 4, 3, 2),
        "the last 2 of 5 words ask": lambda g: queries(g, 5, 2, 3, 3),
        "the last of 5 words asks": lambda g: queries(g, 5, 1, 3, 3, 2),
        "the last 3 of 5 words ask": lambda g: queries(g, 5, 3, 2, 2),
        "large fits": large_queries,
        "axes for batch and heads": lambda g: queries(g, 4, 4, 3, 2, 2, 2),
        "float64": lambda g: queries(g, 4, 4, 3, 2, dtype=torch.float64),
        "a tensor with gaps": lambda g: tuple(map(Strided, queries(g, 5, 5, 3, 2))),
        "a single word": lambda g: queries(g, 1, 1, 3, 2, 2),
        "3 words": lambda g: queries(g, 3, 3, 2, 2),
    },
    reference=attend_in_loops,
    marks=[
        Marks(
            "every word asks itself and those before it",
            1,
            ["a batch of 2 sequences", "one sequence, values shorter than keys"],
            "compare with the loop of lecture 05, by hand, for two words",
        ),
        Marks(
            "only the last words ask",
            1,
            [
                "the last 2 of 5 words ask",
                "the last of 5 words asks",
                "the last 3 of 5 words ask",
            ],
            "whom may the last word ask? It is the last row of q and the last of k",
        ),
        Marks(
            "large fits, other shapes and dtypes",
            1,
            [
                "large fits",
                "axes for batch and heads",
                "float64",
                "a tensor with gaps",
                "a single word",
            ],
            "what is exp(200) in float32? And does each step keep dtype and axes?",
        ),
        Marks(
            "gradients",
            1,
            ["3 words"],
            "they should be those of Eqs. (5.15) and (5.18), by all three inputs",
            kind="gradients",
            wrt=["q", "k", "v"],
        ),
    ],
    hidden={"the last 3 of 5 words ask", "a tensor with gaps"},
    forbidden=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.MultiheadAttention",
    ],
    right=[
        attend_word_by_word,
        attend_with_a_billion,
        attend_in_float64,
    ],
    mistakes=[
        Mistake(
            "ten thousand in the place of infinity",
            3,
            "",
            {SHARE: "share = (fit - 1e4 * ~allowed).softmax(dim=-1)"},
        ),
        Mistake(
            "fits cut off at 500",
            3,
            "",
            {SHARE: SHARE.replace("fit.mask", "fit.clamp(-500, 500).mask")},
        ),
        Mistake(
            "two or three axes only",
            3,
            "",
            {"k.mT": "(k.transpose(1, 2) if k.dim() > 2 else k.T)"},
        ),
        Mistake(
            "mask transposed",
            0,
            "The mask is turned round: each word hears itself and the words *after* "
            "it, and its past is hidden. In which direction should row i look?",
            {ALLOWED: ALLOWED.replace("tril", "triu")},
        ),
        Mistake(
            "no mask",
            0,
            "Every word hears all words, those to come too. A model that is to guess "
            "them would only have to look: Eq. (5.18).",
            {SHARE: "share = fit.softmax(dim=-1)"},
        ),
        Mistake(
            "scores unscaled",
            0,
            "The fits are not divided by the root of d: Eq. (5.16) says why they "
            "should be.",
            {"q @ k.mT / math.sqrt(q.shape[-1])": "q @ k.mT"},
        ),
        Mistake(
            "divided by d",
            0,
            "The fits are divided by d. Eq. (5.16) gives d as their *variance*: what "
            "brings it to 1?",
            {"math.sqrt(q.shape[-1])": "q.shape[-1]"},
        ),
        Mistake(
            "divided by the root of the number of words",
            0,
            "The fits are divided by the root of the number of words. It is the length "
            "of a query that makes them large.",
            {"math.sqrt(q.shape[-1])": "math.sqrt(k.shape[-2])"},
        ),
        Mistake(
            "softmax over the words that ask",
            0,
            "The shares of a column sum to 1, over the words that *ask*. It is the "
            "words that are asked who share one asking word's attention.",
            {"softmax(dim=-1)": "softmax(dim=-2)"},
        ),
        Mistake(
            "mask after softmax",
            0,
            "Shares were made first and hidden afterwards, so the rest does not sum to "
            "1. Who should share the whole?",
            {SHARE: "share = fit.softmax(dim=-1) * allowed"},
        ),
        Mistake(
            "mask after softmax, then shared anew",
            3,
            "Shares were made with the future in them, and shared anew afterwards. "
            "Where the future fits far better than the past, nothing is left to "
            "share: 0 / 0.",
            {
                SHARE: "share = fit.softmax(dim=-1) * allowed\n"
                "    share = share / share.sum(dim=-1, keepdim=True)"
            },
        ),
        Mistake(
            "forbidden fits set to zero",
            0,
            "Where asking is forbidden the fit is 0. That is a fit like any other, and "
            "gets a share; which fit gets none?",
            {SHARE: "share = (fit * allowed).softmax(dim=-1)"},
        ),
        Mistake(
            "forbidden fits a little smaller",
            0,
            "Forbidden words still have a small share: what was put in the place of "
            "their fits is not small enough.",
            {SHARE: "share = fit.masked_fill(~allowed, -5.0).softmax(dim=-1)"},
        ),
        Mistake(
            "a word may not ask itself",
            0,
            "A word hears those before it and not itself; the first then has no one to "
            "ask. Look at Eq. (5.18) once more: which j are forbidden?",
            {"tril(time - n)": "tril(time - n - 1)"},
        ),
        Mistake(
            "one word ahead",
            0,
            "Each word hears one word too many: the next one, which it is to guess.",
            {"tril(time - n)": "tril(time - n + 1)"},
        ),
        Mistake(
            "the first words ask",
            3,
            "The first row of q was taken for the first word. Only the last n words "
            "ask; the last one may ask all.",
            {"tril(time - n)": "tril()"},
        ),
        Mistake("PyTorch's is_causal", 0, "", function=attend_top_left),
        Mistake("PyTorch's function", 0, "", function=attend_by_pytorch),
        Mistake(
            "keys and values exchanged",
            0,
            "Keys and values have changed places. Which of them is compared with the "
            "query, and which is heard?",
            {"q @ k.mT": "q @ v.mT", "share @ v": "share @ k"},
        ),
        Mistake(
            "queries and keys exchanged",
            0,
            "Queries and keys have changed places: here the asked do the asking.",
            {"q @ k.mT": "k @ q.mT"},
        ),
        Mistake(
            "overflow",
            3,
            "The exponentials are taken of the fits as they are, and exp(200) is "
            "infinite in float32. A constant may be taken from all fits of a row: what "
            "becomes of the shares?",
            {
                SHARE: "share = fit.exp() * allowed\n"
                "    share = share / share.sum(dim=-1, keepdim=True)"
            },
        ),
        Mistake(
            "one maximum for all rows",
            3,
            "",
            {
                SHARE: "share = (fit - fit.max()).exp() * allowed\n"
                "    share = share / share.sum(dim=-1, keepdim=True)"
            },
        ),
        Mistake(
            "divided after softmax",
            0,
            "The shares are divided by the root of d, and sum to less than 1. The root "
            "belongs to the fits.",
            {
                "q @ k.mT / math.sqrt(q.shape[-1])": "q @ k.mT",
                "return share @ v": "return share @ v / math.sqrt(q.shape[-1])",
            },
        ),
        Mistake(
            "all words before alike",
            0,
            "That is the mean of the words so far: their fits do not count.",
            {SHARE: "share = (0 * fit).masked_fill(~allowed, -math.inf).softmax(-1)"},
        ),
        Mistake(
            "shares detached",
            3,
            "The gradient flows to v only: the shares depend on q and k, and were cut "
            "off.",
            {"return share @ v": "return share.detach() @ v"},
        ),
        Mistake(
            "float32 whatever comes",
            3,
            "",
            {
                "fit = q @ k.mT": "q, k, v = q.float(), k.float(), v.float()\n"
                "    fit = q @ k.mT"
            },
        ),
        Mistake(
            "queries scaled in place",
            0,
            "",
            {
                "fit = q @ k.mT / math.sqrt(q.shape[-1])": "q /= q.shape[-1] ** 0.5\n"
                "    fit = q @ k.mT"
            },
        ),
    ],
)


# q2: mean surprise


def answered(g, batch, time, m, dtype=torch.float32):
    """Return logits and symbols."""
    tokens = torch.randint(m, (batch, time), generator=g)
    return normal(g, batch, time, m, dtype=dtype), tokens


def large_logits(g):
    """Return logits far from 0; one sequence has a great surprise instead."""
    logits, tokens = answered(g, 3, 5, 3)
    logits[1:] += 400 + 400 * torch.rand(2, 5, 1, generator=g)
    logits[0, 2] += 400
    logits[0, 2, tokens[0, 3]] = -400
    return logits, tokens


def surprise_in_loops(logits, tokens):
    """Return the mean surprise, one symbol at a time."""
    means = []
    for answers, symbols in zip(logits.tolist(), tokens.tolist(), strict=True):
        total = 0.0
        for answer, after in zip(answers[:-1], symbols[1:], strict=True):
            most = max(answer)
            spread = math.fsum(math.exp(one - most) for one in answer)
            total += most + math.log(spread) - answer[after]
        means.append(total / (len(symbols) - 1))
    return torch.tensor(means, dtype=torch.float64)


def surprise_by_cross_entropy(logits, tokens):
    """Return the mean surprise by PyTorch's loss, sequence by sequence."""
    pairs = zip(logits, tokens, strict=True)
    return torch.stack([F.cross_entropy(a[:-1], t[1:]) for a, t in pairs])


def surprise_by_logsumexp(logits, tokens):
    """Return the mean surprise with one-hot targets."""
    hot = F.one_hot(tokens, logits.shape[2])[:, 1:]
    told = logits[:, :-1]
    return (told.logsumexp(dim=2) - (told * hot).sum(dim=2)).mean(dim=1)


def surprise_in_float64(logits, tokens):
    """Return the mean surprise in float64, rounded at the end."""
    told = logits[:, :-1].double()
    told = told - told.amax(dim=2, keepdim=True)
    rows, columns = torch.meshgrid(
        torch.arange(told.shape[0]), torch.arange(told.shape[1]), indexing="ij"
    )
    of_next = told[rows, columns, tokens[:, 1:]] - told.exp().sum(dim=2).log()
    return (-of_next.sum(dim=1) / told.shape[1]).to(logits.dtype)


def surprise_by_aelab(logits, tokens):
    """Return the mean surprise by the library."""

    def model(read):
        return SimpleNamespace(logits=logits[:, : read.shape[1]])

    return losses.next_token(model, tokens)["loss"]


TARGET = "target = tokens[:, 1:, None]"
LOG_P = "log_p = logits[:, :-1].log_softmax(dim=2)"
GATHERED = "-log_p.gather(2, target)[:, :, 0].mean(dim=1)"

q2 = Question(
    title="How surprised?",
    answer="surprise",
    signature=["logits", "tokens"],
    results=["nats"],
    cases={
        "4 sequences of 5 symbols": lambda g: answered(g, 4, 5, 3),
        "3 sequences, more symbols than places": lambda g: answered(g, 3, 3, 6),
        "as many sequences as places": lambda g: answered(g, 4, 4, 4),
        "large logits": large_logits,
        "two symbols each": lambda g: answered(g, 3, 2, 4),
        "float64": lambda g: answered(g, 6, 4, 3, dtype=torch.float64),
        "a single sequence": lambda g: answered(g, 1, 5, 3),
        "a tensor with gaps": lambda g: tuple(map(Strided, answered(g, 3, 5, 4))),
        "2 sequences of 4 symbols": lambda g: answered(g, 2, 4, 3),
    },
    reference=surprise_in_loops,
    marks=[
        Marks(
            "mean surprise at the next symbol",
            1,
            [
                "4 sequences of 5 symbols",
                "3 sequences, more symbols than places",
                "as many sequences as places",
            ],
            "take one sequence of three symbols, and list by hand what is compared",
        ),
        Marks(
            "large logits, other shapes and dtypes",
            1,
            [
                "large logits",
                "two symbols each",
                "float64",
                "a single sequence",
                "a tensor with gaps",
            ],
            "how far can a probability fall before float32 takes it for 0?",
        ),
        Marks(
            "gradients",
            1,
            ["2 sequences of 4 symbols"],
            "they should be those of Eq. (5.8), and the last answers get none",
            kind="gradients",
            wrt=["logits"],
        ),
    ],
    forbidden=["aelab.losses.next_token"],
    hidden={"a tensor with gaps", "a single sequence", "as many sequences as places"},
    right=[surprise_by_cross_entropy, surprise_by_logsumexp, surprise_in_float64],
    mistakes=[
        Mistake(
            "targets not shifted",
            0,
            "Each answer is compared with the symbol that had just been read. To know "
            "that one is no art: Eq. (5.21).",
            {"tokens[:, 1:, None]": "tokens[:, :-1, None]"},
        ),
        Mistake(
            "targets not shifted, the first left out",
            0,
            "Each answer is compared with the symbol that had just been read, and the "
            "first answer is left out. Which one should be?",
            {"logits[:, :-1]": "logits[:, 1:]"},
        ),
        Mistake(
            "targets not shifted, all places",
            0,
            "Each answer is compared with the symbol that had just been read. The time "
            "that is left over at the end is the sign: what follows the last symbol?",
            {"tokens[:, 1:, None]": "tokens[:, :, None]", "logits[:, :-1]": "logits"},
        ),
        Mistake(
            "shifted the wrong way",
            0,
            "Shifted, but the wrong way: each answer is compared with the symbol "
            "*before* the one just read.",
            {
                "tokens[:, 1:, None]": "tokens[:, :-1, None]",
                "logits[:, :-1]": "logits[:, 1:]",
            },
        ),
        Mistake(
            "one sequence runs into the next",
            0,
            "The last answer of a sequence is compared with the first symbol of the "
            "*next* sequence. They have nothing to do with each other.",
            {
                TARGET: "target = tokens.flatten().roll(-1).reshape(tokens.shape)"
                "[:, :, None]",
                "logits[:, :-1]": "logits",
            },
        ),
        Mistake(
            "shifted in a circle",
            0,
            "After the last symbol the first one was put: `roll` goes round in a "
            "circle, time does not.",
            {
                TARGET: "target = tokens.roll(-1, dims=1)[:, :, None]",
                "logits[:, :-1]": "logits",
            },
        ),
        Mistake(
            "sum for mean",
            0,
            "That is the sum over time: it grows with the length of a sequence. The "
            "mean was asked for.",
            {".mean(dim=1)": ".sum(dim=1)"},
        ),
        Mistake(
            "divided by the number of symbols",
            0,
            "The sum is divided by the number of symbols. One symbol fewer was "
            "guessed.",
            {".mean(dim=1)": ".sum(dim=1) / tokens.shape[1]"},
        ),
        Mistake(
            "bits for nats",
            0,
            "These are bits; nats were asked for, as Eq. (5.8) has them.",
            {GATHERED: GATHERED + " / math.log(2)"},
        ),
        Mistake(
            "mean over the batch",
            0,
            "All sequences got the same number: the mean was taken over the batch, "
            "too.",
            {".mean(dim=1)": ".mean().expand(len(tokens))"},
        ),
        Mistake(
            "softmax over time",
            0,
            "The probabilities sum to 1 over *time*. At each place they should sum to "
            "1 over the symbols.",
            {"log_softmax(dim=2)": "log_softmax(dim=1)"},
        ),
        Mistake(
            "no softmax",
            0,
            "Logits were taken for logarithms of probabilities. They are, but for a "
            "constant that makes probabilities sum to 1.",
            {".log_softmax(dim=2)": ""},
        ),
        Mistake(
            "no logarithm",
            0,
            "That is the mean probability, with a minus. Surprise is its logarithm.",
            {"log_softmax(dim=2)": "softmax(dim=2)"},
        ),
        Mistake(
            "logarithm of the mean",
            0,
            "The probabilities were averaged and the logarithm taken afterwards. "
            "Surprises are averaged: the other way round.",
            {GATHERED: "-log_p.exp().gather(2, target)[:, :, 0].mean(dim=1).log()"},
        ),
        Mistake(
            "sign",
            0,
            "The sign is wrong: nobody's surprise is below zero.",
            {"return -log_p": "return log_p"},
        ),
        Mistake(
            "perplexity",
            0,
            "That is exp of the mean surprise, the *perplexity*. The surprise itself "
            "was asked for.",
            {GATHERED: f"({GATHERED}).exp()"},
        ),
        Mistake(
            "softmax, then log",
            2,
            "Probabilities below 1e-45 are 0 in float32, and their logarithm is minus "
            "infinity. Take the logarithm and softmax in one step.",
            {"log_softmax(dim=2)": "softmax(dim=2).log()"},
        ),
        Mistake(
            "exponentials as they are",
            2,
            "The exponentials are taken of the logits as they are, and exp(200) is "
            "infinite in float32. `log_softmax` and `logsumexp` look after that.",
            {
                LOG_P: "told = logits[:, :-1]\n"
                "    log_p = told - told.exp().sum(dim=2, keepdim=True).log()"
            },
        ),
        Mistake(
            "a little added to the logarithm",
            0,
            "",
            {"log_softmax(dim=2)": "softmax(dim=2).add(1e-3).log()"},
        ),
        Mistake(
            "only the last guess",
            0,
            "That is the surprise at the last symbol alone. All guesses count.",
            {".mean(dim=1)": "[:, -1]"},
        ),
        Mistake("detached", 2, "", {"return -log_p": "return -log_p.detach()"}),
        Mistake(
            "float32 whatever comes",
            2,
            "",
            {"logits[:, :-1]": "logits[:, :-1].float()"},
        ),
        Mistake("the library's loss", 0, "", function=surprise_by_aelab),
    ],
)


# q3: backwards through time


def network(g, hidden, d, size=1.0, dtype=torch.float32):
    """Return w, u and b of an RNN."""
    shapes = (hidden, hidden), (hidden, d), (hidden,)
    scales = size / hidden**0.5, 1 / d**0.5, 0.5
    pairs = zip(scales, shapes, strict=True)
    return tuple(s * normal(g, *shape, dtype=dtype) for s, shape in pairs)


def unrolled(g, time, hidden, d, *, first=0, size=1.0, dtype=torch.float32):
    """Return symbols, a network, and what a loss says to states from `first` on."""
    x, wanted = normal(g, time, d, dtype=dtype), normal(g, time, hidden, dtype=dtype)
    wanted[:first] = 0
    return x, *network(g, hidden, d, size, dtype), wanted


def told_early(g):
    """Return a long sequence of zeros but for the first, and a loss of the last."""
    x, w, u, b, wanted = unrolled(g, 40, 2, 3, first=39)
    x[0] /= 2 * (u @ x[0]).norm()
    x[1:] = 0
    turn = torch.linalg.qr(w).Q  # states keep their length, but for tanh
    return x, 1.05 * turn, u, 0 * b, wanted


def through_time_by_complex_steps(x, w, u, b, g):
    """Return the gradients from complex steps: no formula, and no difference."""
    x, g = numpy(x, g)
    exact = numpy(w, u, b)

    def loss(w, u, b):
        h, total = np.zeros(len(b)), 0.0
        for x_t, g_t in zip(x, g, strict=True):
            h = np.tanh(w @ h + u @ x_t + b)
            total = total + g_t @ h
        return total

    found = []
    for which, weight in enumerate(exact):
        slopes = np.zeros(weight.shape)
        for place in np.ndindex(*weight.shape):
            stepped = [each.astype(complex) for each in exact]
            stepped[which][place] += 1e-30j
            slopes[place] = loss(*stepped).imag / 1e-30
        found.append(torch.from_numpy(slopes))
    return tuple(found)


def through_time_by_autograd(x, w, u, b, g):
    """Return the gradients by autograd."""
    leaves = [z.detach().clone().requires_grad_() for z in (w, u, b)]
    h, total = torch.zeros_like(b), 0.0
    for x_t, g_t in zip(x, g, strict=True):
        h = torch.tanh(leaves[0] @ h + leaves[1] @ x_t + leaves[2])
        total = total + g_t @ h
    found = torch.autograd.grad(total, leaves)
    return tuple(f.to(x.dtype) for f in found)


def through_time_by_pairs(x, w, u, b, g):
    """Return the gradients as a sum over pairs of times, by products of Jacobians."""
    time, hidden = g.shape
    states = [torch.zeros(hidden, dtype=x.dtype)]
    for t in range(time):
        states.append((w @ states[t] + u @ x[t] + b).tanh())
    slope = [1 - h.square() for h in states]
    dw, du, db = (torch.zeros_like(z) for z in (w, u, b))
    for t in range(1, time + 1):
        for s in range(1, t + 1):
            way = torch.eye(hidden, dtype=x.dtype)
            for r in range(t, s, -1):
                way = way @ (slope[r][:, None] * w)
            delta = (g[t - 1] @ way) * slope[s]
            dw = dw + delta[:, None] * states[s - 1]
            du = du + delta[:, None] * x[s - 1]
            db = db + delta
    return dw, du, db


def through_time_forwards(x, w, u, b, g):
    """Return the gradients by carrying the derivatives of the state forwards."""
    hidden, d = u.shape
    one = torch.eye(hidden, dtype=torch.float64)
    x, w, u, b, g, dtype = *(z.double() for z in (x, w, u, b, g)), x.dtype
    h, total = torch.zeros_like(b), 0.0
    known = torch.zeros(hidden, hidden * (hidden + d + 1), dtype=torch.float64)
    for x_t, g_t in zip(x, g, strict=True):
        entering = torch.cat([h, x_t, torch.ones(1).double()])
        h = (w @ h + u @ x_t + b).tanh()
        known = w @ known + torch.kron(one, entering)
        known = (1 - h**2)[:, None] * known
        total = total + g_t @ known
    table = total.reshape(hidden, -1).to(dtype)
    return tuple(
        z.clone() for z in (table[:, :hidden], table[:, hidden:-1], table[:, -1])
    )


def through_time_in_batch(x, w, u, b, g):
    """Return the gradients with the outer products taken at the end, in float64."""
    dtype = x.dtype
    x, w, u, b, g = (z.double() for z in (x, w, u, b, g))
    states = torch.zeros(len(x) + 1, len(b), dtype=torch.float64)
    for t in range(len(x)):
        states[t + 1] = torch.tanh(states[t] @ w.T + x[t] @ u.T + b)
    delta = torch.zeros_like(g)
    for t in range(len(x) - 1, -1, -1):
        arrives = g[t] + (delta[t + 1] @ w if t + 1 < len(x) else 0)
        delta[t] = arrives * (1 - states[t + 1].square())
    found = delta.T @ states[:-1], delta.T @ x, delta.sum(dim=0)
    return tuple(z.to(dtype) for z in found)


q3 = Question(
    title="Backwards through time",
    answer="through_time",
    signature=["x", "w", "u", "b", "g"],
    results=["dw", "du", "db"],
    cases={
        "a single symbol": lambda g: unrolled(g, 1, 2, 3),
        "5 symbols": lambda g: unrolled(g, 5, 2, 3),
        "only the last state counts": lambda g: unrolled(g, 4, 3, 2, first=3),
        "as many inputs as states": lambda g: unrolled(g, 4, 3, 3),
        "the first of 40 symbols, and the last state": told_early,
        "float64": lambda g: unrolled(g, 4, 2, 3, dtype=torch.float64),
        "a tensor with gaps": lambda g: tuple(map(Strided, unrolled(g, 4, 3, 2))),
    },
    reference=through_time_by_complex_steps,
    marks=[
        Marks(
            "a single symbol",
            1,
            ["a single symbol"],
            "there is no past here: what is h_0, and what has W received?",
        ),
        Marks(
            "several symbols",
            2,
            ["5 symbols", "as many inputs as states"],
            "derive it for two symbols on paper, with hidden = 1, and compare",
        ),
        Marks(
            "long sequences, other dtypes",
            1,
            [
                "only the last state counts",
                "the first of 40 symbols, and the last state",
                "float64",
                "a tensor with gaps",
            ],
            "does what the last state is told reach the first symbol? And in x's "
            "dtype?",
        ),
    ],
    hidden={
        "as many inputs as states",
        "only the last state counts",
        "a tensor with gaps",
    },
    forbidden=AUTOGRAD,
    right=[
        through_time_by_pairs,
        through_time_forwards,
        through_time_in_batch,
    ],
    mistakes=[
        Mistake(
            "the last twenty steps only",
            3,
            "",
            {"reversed(range(len(x)))": "list(reversed(range(len(x))))[:20]"},
        ),
        Mistake("autograd", 0, "", function=through_time_by_autograd),
        Mistake(
            "each step for itself",
            1,
            "What a state does to L through later states is missing: each step was "
            "treated as if it were the last.",
            {"later = w.T @ delta": "later = later"},
        ),
        Mistake(
            "the last copy only",
            1,
            "Only the last copy of the weights was counted. Each copy receives its "
            "part, and they add up.",
            {"later = w.T @ delta": "break"},
        ),
        Mistake(
            "W for its transpose",
            1,
            "Backwards the way leads through W transposed; here it leads through W "
            "itself.",
            {"w.T @ delta": "w @ delta"},
        ),
        Mistake(
            "slope left out",
            0,
            "The slope of tanh is missing; or it is taken at the state *before*, at "
            "h_0 = 0, where it is 1.",
            {" * (1 - h**2)": ""},
        ),
        Mistake(
            "slope of the step before",
            0,
            "The slope of tanh was taken at the state *before*. tanh' in terms of its "
            "result is 1 - h^2 with the h that came out of it.",
            {"(1 - h**2)": "(1 - h_before**2)"},
        ),
        Mistake(
            "slope not squared",
            0,
            "The slope of tanh is 1 - h^2; here it is 1 - h.",
            {"(1 - h**2)": "(1 - h)"},
        ),
        Mistake(
            "slope at the state itself",
            0,
            "The slope is 1 - tanh(h)^2 here: h has been through the tanh already.",
            {"(1 - h**2)": "(1 - torch.tanh(h) ** 2)"},
        ),
        Mistake(
            "slope forgotten on the way back",
            1,
            "On the way to earlier states the slope of tanh is missing: each factor of "
            "Eq. (5.10) has it.",
            {"w.T @ delta": "w.T @ (g[t] + later)"},
        ),
        Mistake(
            "the new state for the old",
            0,
            "W's copies get the state that came *out* of the step; they were "
            "multiplied with the one that went in.",
            {"torch.outer(delta, h_before)": "torch.outer(delta, h)"},
        ),
        Mistake(
            "dw transposed",
            1,
            "dw is transposed: entry (i, j) of W leads from state j to state i.",
            {"torch.outer(delta, h_before)": "torch.outer(h_before, delta)"},
        ),
        Mistake(
            "only the last state told",
            1,
            "Only what L says to the last state was used. The others are told "
            "something, too.",
            {"(g[t] + later)": "((g[t] if t == len(x) - 1 else 0) + later)"},
        ),
        Mistake(
            "mean over time",
            1,
            "The parts of the copies are averaged over time. They add up: there is no "
            "1 / T in the chain rule.",
            {
                "return dw, du, db": "return tuple(z / len(x) for z in (dw, du, db))",
            },
        ),
        Mistake(
            "direct part not passed on",
            1,
            "",
            {
                "(g[t] + later) * (1 - h**2)": "g[t] + later * (1 - h**2)"
                " if t < len(x) - 1 else g[t] * (1 - h**2)"
            },
        ),
        Mistake(
            "forwards in the place of backwards",
            1,
            "The second loop runs forwards: at t nothing is known yet of what comes "
            "from later states.",
            {"reversed(range(len(x)))": "range(len(x))"},
        ),
        Mistake(
            "one step back and no further",
            1,
            "What comes from later states goes one step back and stops there. It goes "
            "on to the first state.",
            {"later = w.T @ delta": "later = w.T @ (g[t] * (1 - h**2))"},
        ),
        Mistake(
            "symbols out of step",
            1,
            "U's copies get the symbol of another step.",
            {"torch.outer(delta, x[t])": "torch.outer(delta, x[t - 1])"},
        ),
        Mistake(
            "begins with ones",
            0,
            "The first state is not 0: Eq. (5.6) begins with h_0 = 0.",
            {"states = [torch.zeros_like(b)]": "states = [torch.ones_like(b)]"},
        ),
        Mistake(
            "descent for gradient",
            0,
            "The signs are those of a step downhill; the derivatives themselves were "
            "asked for.",
            {"return dw, du, db": "return -dw, -du, -db"},
        ),
        Mistake(
            "written into g",
            1,
            "",
            {"delta = (g[t] + later)": "g[t] += later\n        delta = g[t]"},
        ),
        Mistake(
            "float32 whatever comes",
            3,
            "",
            {"return dw, du, db": "return dw.float(), du.float(), db.float()"},
        ),
    ],
)


# q4: the state after each sequence


def padded(g, lengths, time, hidden, d, fill=None, dtype=torch.float32):
    """Return sequences with padding, their lengths, and a network."""
    lengths = torch.tensor(lengths)
    x = normal(g, len(lengths), time, d, dtype=dtype)
    if fill is not None:
        x[torch.arange(time) >= lengths[:, None]] = fill
    return x, lengths, *network(g, hidden, d, dtype=dtype)


def one_hot(g):
    """Return symbols as rows of a unit matrix, and one of zeros that is real."""
    x, *rest = padded(g, [4, 2], 5, 3, 3)
    x[:] = torch.eye(3)[torch.randint(3, x.shape[:2], generator=g)]
    x[0, 1] = 0
    return x, *rest


def remembered_in_numpy(x, lengths, w, u, b):
    """Return the states by one matrix for state, symbol and bias, in NumPy."""
    x, w, u, b = numpy(x, w, u, b)
    table, states = np.concatenate([w, u, b[:, None]], axis=1), []
    for row, length in zip(x, lengths.tolist(), strict=True):
        steps = (np.append(x_t, 1.0) for x_t in row[:length])
        states.append(
            functools.reduce(
                lambda h, new: np.tanh(table @ np.append(h, new)), steps, 0.0 * b
            )
        )
    return torch.from_numpy(np.stack(states))


def remembered_at_once(x, lengths, w, u, b):
    """Return the states, all sequences at once; those that have ended stay."""
    h = torch.zeros(len(x), len(b), dtype=x.dtype)
    for t in range(x.shape[1]):
        new = torch.tanh(h @ w.T + x[:, t] @ u.T + b)
        h = torch.where((t < lengths)[:, None], new, h)
    return h


def remembered_by_torch(x, lengths, w, u, b):
    """Return the states by torch.nn.RNN, the last ones looked up."""
    hidden, d = u.shape
    with torch.no_grad():
        rnn = nn.RNN(d, hidden, batch_first=True).to(x.dtype)
        for ours, theirs in zip((u, w, b, 0 * b), rnn.parameters(), strict=True):
            theirs.copy_(ours)
        states = rnn(x)[0]
    states = F.pad(states, (0, 0, 1, 0))  # the first one before them
    return states[torch.arange(len(x)), lengths]


def remembered_in_float64(x, lengths, w, u, b):
    """Return the states computed in float64, and rounded."""
    dtype = x.dtype
    x, w, u, b = (z.double() for z in (x, w, u, b))
    found = torch.zeros(len(x), len(b), dtype=torch.float64)
    for i, length in enumerate(lengths):
        for t in range(int(length)):
            found[i] = (w @ found[i] + u @ x[i, t] + b).tanh()
    return found.to(dtype)


def remembered_as_given(x, lengths, w, u, b):
    """Return what the given function returns."""
    h = torch.zeros(len(w), dtype=x.dtype)
    states = []
    for row, length in zip(x, lengths.tolist(), strict=True):
        real = torch.arange(len(row)) < length
        for x_t in row.where(real[:, None], 0.0):
            h = torch.tanh(w @ h + u @ x_t + b)
        states.append(h)
    return torch.stack(states)


def remembered_along_the_batch(x, lengths, w, u, b):
    """Return states that were carried from sequence to sequence."""
    h, states = torch.zeros(x.shape[1], len(b), dtype=x.dtype), []
    for row, length in zip(x, lengths.tolist(), strict=True):
        h = torch.tanh(h @ w.T + row @ u.T + b)
        states.append(h[length - 1] if length else 0 * b)
    return torch.stack(states)


START = "    for row, length in zip(x, lengths.tolist(), strict=True):\n"
ZERO = "        h = torch.zeros_like(b)\n"
STEP = "h = torch.tanh(w @ h + u @ x_t + b)"

q4 = Question(
    title="Find the mistakes",
    answer="remembered",
    signature=["x", "lengths", "w", "u", "b"],
    results=["states"],
    cases={
        "3 sequences without padding": lambda g: padded(g, [3, 3, 3], 3, 3, 2),
        "one-hot symbols, and one of zeros": one_hot,
        "2 sequences of 2 symbols": lambda g: padded(g, [2, 2], 2, 4, 2),
        "one sequence and padding": lambda g: padded(g, [3], 6, 3, 2),
        "padding of ones": lambda g: padded(g, [2], 5, 3, 2, 1.0),
        "different lengths": lambda g: padded(g, [3, 5, 2, 4], 6, 3, 2),
        "a length of 0": lambda g: padded(g, [3, 0, 5], 6, 3, 2),
        "padding that is not a number": lambda g: padded(g, [4, 2], 5, 3, 2, math.nan),
        "float64": lambda g: padded(g, [2, 3], 4, 3, 2, dtype=torch.float64),
        "one input": lambda g: padded(g, [2, 5], 6, 4, 1),
    },
    reference=remembered_in_numpy,
    marks=[
        Marks(
            "sequences without padding",
            1,
            ["3 sequences without padding", "2 sequences of 2 symbols"],
            "read them in another order: is each remembered as before?",
        ),
        Marks(
            "one sequence and padding",
            1,
            ["one sequence and padding", "padding of ones"],
            "add more padding: is the sequence remembered as before?",
        ),
        Marks(
            "different lengths, other dtypes",
            1,
            [
                "different lengths",
                "one-hot symbols, and one of zeros",
                "a length of 0",
                "padding that is not a number",
                "float64",
                "one input",
            ],
            "each row has its own beginning and its own end; the shortest has no "
            "symbol",
        ),
    ],
    hidden={"2 sequences of 2 symbols", "padding of ones", "one input"},
    right=[remembered_at_once, remembered_by_torch, remembered_in_float64],
    mistakes=[
        Mistake(
            "zeros taken for padding",
            2,
            "",
            {STEP: "h = torch.tanh(w @ h + u @ x_t + b) if x_t.any() else h"},
        ),
        Mistake(
            "the state leaks",
            1,
            "A sequence begins with what the one before has left in the state. What "
            "was in another sequence is none of its business.",
            {START + ZERO: ZERO.removeprefix("    ") + START},
        ),
        Mistake(
            "padding is read",
            1,
            "The state goes on changing after the end: padding is read as if it meant "
            "something.",
            {"row[:length]": "row"},
        ),
        Mistake(
            "padding is read as zeros",
            1,
            "The padding is zero and is still read. With x_t = 0 Eq. (5.6) is "
            "tanh(W h + b), and not h.",
            {
                "row[:length]": "row.where((torch.arange(len(row)) < length)[:, None],"
                " 0.0)"
            },
        ),
        Mistake(
            "as given",
            0,
            "That is what the given function returns: both mistakes are still there.",
            function=remembered_as_given,
        ),
        Mistake(
            "reset at every step",
            0,
            "The state is set back at every symbol: nothing is remembered but the last "
            "one.",
            {STEP: "h = torch.tanh(w @ torch.zeros_like(b) + u @ x_t + b)"},
        ),
        Mistake(
            "time and batch exchanged",
            0,
            "The first axis was read as time, and the state went from sequence to "
            "sequence. Time is the second axis here (torch.nn.RNN has it first, if "
            "nothing is said).",
            function=remembered_along_the_batch,
        ),
        Mistake(
            "one symbol too few",
            0,
            "The last symbol of each sequence has not been read.",
            {"row[:length]": "row[: max(length - 1, 0)]"},
        ),
        Mistake(
            "one symbol too many",
            1,
            "One symbol of padding is read after the end.",
            {"row[:length]": "row[: length + 1]"},
        ),
        Mistake(
            "all as long as the longest",
            2,
            "All sequences are read to the end of the longest.",
            {"row[:length]": "row[: lengths.max()]"},
        ),
        Mistake(
            "all as long as the shortest",
            2,
            "All sequences are cut to the length of the shortest.",
            {"row[:length]": "row[: lengths.min()]"},
        ),
        Mistake(
            "what has ended is set to zero",
            1,
            "Where padding begins the state is set to zero: the sequence is forgotten "
            "just when it was to be remembered.",
            {
                "row[:length]": "row[: length + 1]",
                STEP: STEP + "\n        if length < len(row):\n            h = 0 * b",
            },
        ),
        Mistake(
            "mean of the states",
            0,
            "That is the mean of all states of a sequence, not the last one.",
            {
                ZERO: "        h = total = torch.zeros_like(b)\n",
                STEP: STEP + "\n            total = total + h",
                "states.append(h)": "states.append(total / max(length, 1))",
            },
        ),
        Mistake(
            "read backwards",
            0,
            "The sequences are read from their end.",
            {"row[:length]": "row[:length].flip(0)"},
        ),
        Mistake(
            "the padding's side",
            1,
            "The last symbols of each row were read. Padding stands *behind* a "
            "sequence.",
            {"row[:length]": "row[len(row) - length :]"},
        ),
        Mistake(
            "begins with ones",
            0,
            "The first state is not 0: Eq. (5.6) begins with h_0 = 0.",
            {"torch.zeros_like(b)": "torch.ones_like(b)"},
        ),
        Mistake(
            "no bias",
            0,
            "The bias b is missing.",
            {" + b)": ")"},
        ),
        Mistake(
            "W transposed",
            0,
            "W is transposed: in Eq. (5.6) the state is a column, W h.",
            {"w @ h": "h @ w"},
        ),
        Mistake(
            "no tanh",
            0,
            "The tanh is missing: this is the linear network of Eq. (5.7).",
            {"torch.tanh(w @ h + u @ x_t + b)": "w @ h + u @ x_t + b"},
        ),
        Mistake(
            "float32 whatever comes",
            2,
            "",
            {"torch.stack(states)": "torch.stack(states).float()"},
        ),
        Mistake(
            "float32 zeros",
            2,
            "",
            {"torch.zeros_like(b)": "torch.zeros(len(b))"},
        ),
    ],
)


# q5: guess the next symbol

SYMBOLS, HELD_OUT = 20, 400


@functools.cache
def secret_chain():
    """Return a chain of order two, and the order and sums of its quadruples."""
    m, generator = SYMBOLS, torch.Generator().manual_seed(5)
    one = 3 * torch.randn(1, m, m, generator=generator)
    two = 2 * torch.randn(m, m, m, generator=generator)
    follows = (one + two).double().softmax(dim=2).numpy()
    pairs = np.full((m, m), 1 / m**2)
    for _ in range(500):
        pairs = np.einsum("ab,abc->bc", pairs, follows)
    four = (pairs[:, :, None] * follows)[..., None] * follows  # the long run's
    likely = np.broadcast_to(follows, four.shape).ravel()
    order = np.argsort(-likely, kind="stable")
    return follows.cumsum(axis=2), order, four.ravel()[order].cumsum()


def held_out(generator):
    """Return names for the symbols, and quadruples of the chain's long run.

    They are a systematic sample: all quadruples are sorted by how surprising they are,
    and taken at even steps. So a score hangs little on the luck of the draw.
    """
    _, order, total = secret_chain()
    n, names = HELD_OUT, torch.randperm(SYMBOLS, generator=generator)
    lots = torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)
    cells = np.searchsorted(total, lots.numpy() / n * total[-1]).clip(0, len(total) - 1)
    four = np.stack(np.unravel_index(order[cells], (SYMBOLS,) * 4), axis=1)
    four = torch.from_numpy(four)[torch.randperm(n, generator=generator)]
    return names, names[four]


def text_case(time):
    """Return a case: a text of the chain, contexts, and the number of symbols."""

    def make(generator):
        names, four = held_out(generator)
        chances = torch.rand(time + 50, generator=generator, dtype=torch.float64)
        sums, text = secret_chain()[0], [0, 1]
        for chance in chances.tolist():
            row = sums[text[-2], text[-1]]
            text.append(min(int(np.searchsorted(row, chance)), SYMBOLS - 1))
        return names[torch.tensor(text[-time:])], four[:, :-1].clone(), SYMBOLS

    return make


def next_symbols(generator):
    """Return what followed the contexts."""
    return held_out(generator)[1][:, -1]


def counted(train, m, n):
    """Return how often each symbol follows each context of n - 1."""
    grams = train.unfold(0, n, 1)
    place = m ** torch.arange(n)
    codes = (grams * place).sum(dim=1)
    return torch.bincount(codes, minlength=m**n).reshape(m, -1).double()


def guess_by_interpolation(train, contexts, m):
    """Return a fixed mixture of three tables: weights by experience."""
    p = torch.full((len(contexts), m), 1 / m, dtype=torch.float64)
    for n in (1, 2, 3):
        place = m ** torch.arange(n - 1)
        now = (contexts[:, contexts.shape[1] - n + 1 :] * place).sum(dim=1)
        found = counted(train, m, n)[:, now].T
        total = found.sum(dim=1, keepdim=True)
        weight = total / (total + (found > 0).sum(dim=1, keepdim=True) + 1e-9)
        p = weight * found / total.clamp(min=1) + (1 - weight) * p
    return p.float()


def guess_in_a_loop(train, contexts, m):
    """Return Eq. (5.3) with dictionaries, one context after the other."""
    text, kappa, counts = train.tolist(), 6.0, {}
    for n in (1, 2, 3):
        for i in range(len(text) - n + 1):
            *h, x = text[i : i + n]
            row = counts.setdefault(tuple(h), [0] * m)
            row[x] += 1
    rows = []
    for context in contexts.tolist():
        p = [1 / m] * m
        for n in (1, 2, 3):
            row = counts.get(tuple(context[len(context) - n + 1 :]), [0] * m)
            total = sum(row) + kappa
            p = [(c + kappa * old) / total for c, old in zip(row, p, strict=True)]
        rows.append(p)
    return torch.tensor(rows)


def guess_with_discount(train, contexts, m):
    """Return absolute discounting: 0.7 is taken off each count, and shared out."""
    p = torch.full((len(contexts), m), 1 / m, dtype=torch.float64)
    for n in (1, 2, 3):
        place = m ** torch.arange(n - 1)
        now = (contexts[:, contexts.shape[1] - n + 1 :] * place).sum(dim=1)
        found = counted(train, m, n)[:, now].T
        total = found.sum(dim=1, keepdim=True)
        taken = (found - 0.7).clamp(min=0)
        left = (total - taken.sum(dim=1, keepdim=True)) / total.clamp(min=1)
        p = torch.where(total > 0, taken / total.clamp(min=1) + left * p, p)
    return p


def guess_by_a_choice(train, contexts, m):
    """Return Eq. (5.3) with the kappa that is best on the last fifth of the text."""

    def mixed(text, now, kappa, largest):
        p = torch.full((len(now), m), 1 / m, dtype=torch.float64)
        for n in range(1, largest + 1):
            place = m ** torch.arange(n - 1)
            at = (now[:, now.shape[1] - n + 1 :] * place).sum(dim=1)
            found = counted(text, m, n)[:, at].T
            p = (found + kappa * p) / (found.sum(dim=1, keepdim=True) + kappa)
        return p

    cut = len(train) * 4 // 5
    held = train[cut:].unfold(0, 4, 1)
    best = min(
        ((kappa, n) for kappa in (2.0, 4.0, 8.0, 16.0) for n in (1, 2, 3, 4)),
        key=lambda pair: -mixed(train[:cut], held[:, :3], *pair)
        .gather(1, held[:, 3:]).log().mean().item(),
    )  # fmt: skip
    return mixed(train, contexts, *best)


MIX = "p = (found + kappa * p) / (found.sum(dim=1, keepdim=True) + kappa)"
NOW = "now = contexts[:, contexts.shape[1] - n + 1 :]"


q5 = Question(
    title="Guess the next symbol",
    answer="guess",
    signature=["train", "contexts", "m"],
    results=["p"],
    cases={
        "1,000 symbols of training": text_case(1000),
        "3,000 symbols of training": text_case(3000),
    },
    reference=next_symbols,
    marks=[
        Marks(
            "better than frequencies",
            1,
            ["1,000 symbols of training"],
            "what does the newest symbol of a context tell? See Hint 1",
            kind="score",
            measure="surprise in bits",
            bound=3.2,
        ),
        Marks(
            "better than one symbol's memory",
            2,
            ["3,000 symbols of training"],
            "split the training text, and see on the held-out part what each step "
            "saves",
            kind="score",
            measure="surprise in bits",
            bound=2.3,
        ),
    ],
    right=[
        guess_by_interpolation,
        guess_in_a_loop,
        guess_with_discount,
        guess_by_a_choice,
    ],
    mistakes=[
        Mistake("blind", 0, "", {"return p": "return 0 * p + 1 / m"}),
        Mistake(
            "frequencies", 0, "", {"largest, kappa = 3, 5.0": "largest, kappa = 1, 5.0"}
        ),
        Mistake(
            "one symbol", 1, "", {"largest, kappa = 3, 5.0": "largest, kappa = 2, 5.0"}
        ),
        Mistake(
            "no smoothing", 0, "", {MIX: "p = found / found.sum(dim=1, keepdim=True)"}
        ),
        Mistake(
            "one added to each count",
            1,
            "",
            {MIX: "p = (found + 1) / (found.sum(dim=1, keepdim=True) + m)"},
        ),
        Mistake(
            "one added, three symbols",
            0,
            "",
            {
                "largest, kappa = 3, 5.0": "largest, kappa = 4, 5.0",
                MIX: "p = (found + 1) / (found.sum(dim=1, keepdim=True) + m)",
            },
        ),
        Mistake(
            "kappa far too large",
            1,
            "",
            {"largest, kappa = 3, 5.0": "largest, kappa = 3, 100.0"},
        ),
        Mistake(
            "kappa far too small",
            0,
            "",
            {"largest, kappa = 3, 5.0": "largest, kappa = 3, 1e-6"},
        ),
        Mistake("kappa missing above", 0, "", {MIX: MIX.replace("kappa * p", "p")}),
        Mistake("counts for probabilities", 0, "", {"return p": "return found"}),
        Mistake("logarithms", 0, "", {"return p": "return p.log()"}),
        Mistake(
            "all on the likeliest",
            0,
            "",
            {"return p": "return torch.eye(m)[p.argmax(dim=1)]"},
        ),
        Mistake(
            "softmax of counts", 0, "", {"return p": "return found.softmax(dim=1)"}
        ),
        Mistake(
            "softmax of probabilities", 0, "", {"return p": "return p.softmax(dim=1)"}
        ),
        Mistake(
            "sharpened", 0, "", {"return p": "return (6 * p.log()).softmax(dim=1)"}
        ),
        Mistake(
            "the oldest symbols",
            0,
            "",
            {NOW: "now = contexts[:, : n - 1]"},
        ),
        Mistake(
            "context turned round",
            0,
            "",
            {NOW: NOW.replace("contexts", "contexts.flip(1)")},
        ),
        Mistake(
            "the symbol just read",
            0,
            "",
            {", seen[:, -1]": ", seen[:, max(n - 2, 0)]"},
        ),
        Mistake(
            "the symbol before",
            0,
            "",
            {"seen = train.unfold(0, n, 1)": "seen = train.flip(0).unfold(0, n, 1)"},
        ),
        Mistake(
            "learnt from the beginning only",
            0,
            "",
            {"seen = train.unfold(0, n, 1)": "seen = train[:25].unfold(0, n, 1)"},
        ),
    ],
    seconds=4.0,
)

QUESTIONS = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5}
