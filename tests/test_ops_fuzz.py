"""100,000 random calls of the op, half of them wrong: no crash, no unclear error.

A call is drawn as shapes, dtypes, layouts and values. What it must do follows from
the draw alone: a wrong call must raise the type of error that its fault has, in a
sentence that starts with the op's name and gives what was expected and what came; a
right call must give the formulas' numbers, and gradients of the inputs' shapes.
"""

import random

import pytest
import torch

from aelab import ops

CALLS = 100_000
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}
SPECIAL = [0.0, -0.0, 1e-40, -1e-40, 100.0, -100.0, 3e38, float("inf"), float("nan")]
SENTENCE = "reparam_kl: expected "

# Fault -> the type that must be raised.
FAULTS = {
    "shape": ValueError,
    "dimensions": ValueError,
    "scalar": ValueError,
    "dtype": TypeError,
    "integers": TypeError,
    "half": TypeError,
    "complex": TypeError,
    "no tensor": TypeError,
    "device": ValueError,
    "sparse": TypeError,
    "both": ValueError,
    "eps shape": ValueError,
}


def shape(rng):
    return [rng.choice((0, 1, 1, 2, 3, 5, 17)) for _ in range(rng.randint(1, 4))]


def tensor(rng, size, dtype):
    """Return values of mixed magnitude in a layout that is often not contiguous."""
    kind = rng.random()
    if kind < 0.3 and len(size) > 1:
        x = torch.randn(size[::-1], dtype=torch.float64).permute(
            *range(len(size))[::-1]
        )
    elif kind < 0.5:
        x = torch.randn([*size[:-1], 2 * size[-1]], dtype=torch.float64)[..., ::2]
    elif kind < 0.6:
        x = torch.randn(1, dtype=torch.float64).expand(size)
    else:
        x = torch.randn(size, dtype=torch.float64)
    x = x.to(dtype)
    if rng.random() < 0.1 and x.numel() and kind >= 0.6:
        x.flatten()[rng.randrange(x.numel())] = rng.choice(SPECIAL)
    return x


def spoil(rng, fault, mu, logvar):
    """Return the arguments of a call with one fault."""
    other = list(mu.shape)
    other[rng.randrange(len(other))] += 1
    if fault == "shape":
        return (mu, logvar.new_zeros(other)), {}
    if fault == "dimensions":
        return (mu, logvar.unsqueeze(0)), {}
    if fault == "scalar":
        return (mu.new_zeros(()), mu.new_zeros(())), {}
    if fault == "dtype":
        different = rng.choice([dtype for dtype in DTYPES if dtype != mu.dtype])
        return (mu, logvar.to(different)), {}
    if fault in ("integers", "half", "complex"):
        wrong = {"integers": torch.int64, "half": torch.half, "complex": torch.cfloat}
        return (torch.zeros(mu.shape, dtype=wrong[fault]), logvar), {}
    if fault == "no tensor":
        return (mu, rng.choice([None, 1.5, "logvar", [1.0], {}, object()])), {}
    if fault == "device":
        return (mu, logvar.to("meta")), {}
    if fault == "sparse":
        return (torch.zeros(mu.shape, dtype=mu.dtype).to_sparse(), logvar), {}
    if fault == "both":
        return (mu, logvar, mu.clone()), {"generator": torch.Generator()}
    return (mu, logvar, mu.new_zeros(other)), {}


def check_right_call(rng, op, mu, logvar):
    eps = tensor(rng, mu.shape, mu.dtype) if rng.random() < 0.7 else None
    mu = mu.detach().requires_grad_(rng.random() < 0.3)
    z, kl = op(mu, logvar, eps)
    assert z.shape == mu.shape
    assert kl.shape == mu.shape[:-1]
    assert z.dtype == kl.dtype == mu.dtype
    if eps is not None:
        m, v, e = mu.detach().double(), logvar.double(), eps.double()
        expected = m + torch.exp(v / 2) * e, (m**2 + torch.expm1(v) - v).sum(-1) / 2
        for got, exact in zip((z, kl), expected, strict=True):
            fits = exact.isnan() | (exact.abs() < 1e30)  # the rest overflows in float32
            rtol = TOLERANCE[mu.dtype]
            torch.testing.assert_close(
                got.detach().double()[fits],
                exact[fits],
                rtol=rtol,
                atol=4 * rtol,
                equal_nan=True,
            )
    if mu.requires_grad:
        (z.sum() + kl.sum()).backward()
        assert mu.grad.shape == mu.shape


def fuzz(op, calls, seed):
    """Return how often each fault, and a right call, was drawn."""
    rng, counts = random.Random(seed), dict.fromkeys([*FAULTS, "none"], 0)
    torch.manual_seed(seed)
    for _ in range(calls):
        size, dtype = shape(rng), rng.choice(DTYPES)
        mu, logvar = tensor(rng, size, dtype), tensor(rng, size, dtype)
        fault = rng.choice(list(FAULTS)) if rng.random() < 0.5 else "none"
        counts[fault] += 1
        if fault == "none":
            check_right_call(rng, op, mu, logvar)
            continue
        arguments, named = spoil(rng, fault, mu, logvar)
        with pytest.raises(FAULTS[fault]) as caught:
            op(*arguments, **named)
        sentence = str(caught.value)
        assert sentence.startswith(SENTENCE), (fault, sentence)
        assert ", but got " in sentence, (fault, sentence)
        assert "\n" not in sentence, "a C++ backtrace is no sentence"
    return counts


def test_random_calls_give_the_formulas_or_a_clear_error():
    """Rejects an op that broadcasts, that reads strides wrongly, or that crashes."""
    counts = fuzz(ops.reparam_kl, CALLS, seed=0)
    assert min(counts.values()) > CALLS / 100, counts


def test_the_fuzz_notices_an_op_that_ignores_strides():
    def blind(mu, logvar, eps=None, *, generator=None):
        if eps is not None and eps.shape == mu.shape:
            contiguous = torch.empty(mu.shape).stride()  # what it takes eps to be
            eps = eps.clone().as_strided(mu.shape, contiguous)
        return ops.reparam_kl(mu, logvar, eps, generator=generator)

    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        fuzz(blind, 2000, seed=0)


def test_the_fuzz_notices_an_op_that_broadcasts():
    def lenient(mu, logvar, eps=None, *, generator=None):
        if isinstance(logvar, torch.Tensor) and logvar.dim() == mu.dim() + 1:
            logvar = logvar[0]
        return ops.reparam_kl(mu, logvar, eps, generator=generator)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        fuzz(lenient, 2000, seed=0)
