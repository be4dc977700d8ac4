"""The op: its promise, on both roads, against float64 and torch's own oracles.

``road`` runs a test on the fused op and on its plain twin. What only the fused op can
do, or do wrong, is skipped where it was not built.
"""

import contextlib
import math
import os
import re
import shutil
import subprocess
import sys

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo import compiled_autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from aelab import ops

fused = pytest.mark.skipif(ops._C is None, reason="runs without the extension")
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


@pytest.fixture(params=["fused", "reference"])
def road(request):
    if request.param == "fused" and ops._C is None:
        pytest.skip("runs without the extension")
    return ops.reparam_kl if request.param == "fused" else ops.reparam_kl_reference


def draw(*shape, dtype=torch.float32, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * scale
    return x[0].to(dtype), x[1].to(dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def exact(mu: Tensor, logvar: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    mu, logvar, eps = mu.double(), logvar.double(), eps.double()
    z = mu + torch.exp(logvar / 2) * eps
    return z, 0.5 * (mu**2 + torch.expm1(logvar) - logvar).sum(-1)


# Shape and dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (1, 1), (128, 2), (2, 3, 41), (2, 1, 3, 5)])
def test_shape_and_dtype(road, shape, dtype):
    z, kl = road(*draw(*shape, dtype=dtype))
    assert z.shape == shape
    assert kl.shape == shape[:-1]
    assert z.dtype == kl.dtype == dtype
    assert z.is_contiguous()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_empty_input_gives_the_empty_sum(road, shape):
    mu = torch.zeros(shape, requires_grad=True)
    z, kl = road(mu, torch.zeros(shape))
    assert z.shape == shape
    assert torch.equal(kl, torch.zeros(shape[:-1]))
    (z.sum() + kl.sum()).backward()
    assert mu.grad.shape == shape


@fused
def test_kl_of_empty_rows_is_zero_in_memory_that_was_used():
    # Rejects a kl that is allocated, and not written.
    for _ in range(20):
        used = torch.full((1000,), 7.0)
        del used
        kl = ops.reparam_kl(torch.zeros(1000, 0), torch.zeros(1000, 0))[1]
        assert torch.equal(kl, torch.zeros(1000))


@fused
def test_meta_and_fake_tensors_have_the_shapes_of_real_ones():
    mu = torch.empty(4, 3, device="meta", dtype=torch.bfloat16)
    z, kl = ops.reparam_kl(mu, mu)
    assert (z.shape, kl.shape) == ((4, 3), (4,))
    assert z.device.type == kl.device.type == "meta"
    assert z.dtype == kl.dtype == torch.bfloat16


# Value against an outside oracle


@pytest.mark.parametrize("dtype", DTYPES)
def test_given_eps_gives_the_formulas(road, dtype):
    mu, logvar = draw(64, 41, dtype=dtype, scale=2.0)
    eps, _ = draw(64, 41, dtype=dtype, seed=1)
    z, kl = road(mu, logvar, eps)
    z_exact, kl_exact = exact(mu, logvar, eps)
    tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 1e-6}
    torch.testing.assert_close(z.double(), z_exact, **tolerance)
    torch.testing.assert_close(kl.double(), kl_exact, **tolerance)


def test_kl_is_that_of_torch_distributions(road):
    mu, logvar = draw(100, 7, dtype=torch.float64, scale=3.0)
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = torch.distributions.kl_divergence(q, p).sum(-1)
    torch.testing.assert_close(road(mu, logvar)[1], expected)


def test_float64_has_the_digits_of_float64(road):
    # Rejects an exponential of float64 that is right to the digits of float32 only.
    mu, logvar = draw(1000, 1, dtype=torch.float64, scale=5.0)
    eps, gz = draw(1000, 1, dtype=torch.float64, seed=1)
    logvar.requires_grad_()
    z, kl = road(mu, logvar, eps)
    std = torch.exp(logvar / 2)
    (grad,) = torch.autograd.grad((z, kl), logvar, (gz, gz[:, 0]))
    expected = gz * eps * std / 2, gz * torch.expm1(logvar) / 2
    digits = {"rtol": 0, "atol": 3e-15}
    size = mu.abs() + std * eps.abs()
    torch.testing.assert_close(z / size, exact(mu, logvar, eps)[0] / size, **digits)
    torch.testing.assert_close(kl, exact(mu, logvar, eps)[1], rtol=3e-15, atol=3e-15)
    size = expected[0].abs() + expected[1].abs()
    torch.testing.assert_close(grad / size, sum(expected) / size, **digits)


@pytest.mark.parametrize("source", ["given", "drawn"])
def test_bfloat16_is_float32_rounded_once(road, source):
    # Rejects rounding that truncates, that takes halves up, and that loses NaN.
    inputs = (*draw(64, 40, dtype=torch.bfloat16), *draw(64, 40, seed=1))
    mu, logvar, eps, gz = (x.bfloat16() for x in inputs)
    logvar[0] = 0.0  # std = 1: sums of two short numbers end in halves
    mu[0, 0], logvar[1, 0], gz[2, 0] = math.nan, math.inf, math.nan
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        leaves = [x.detach().to(dtype).requires_grad_() for x in (mu, logvar)]
        noise = {"eps": eps.to(dtype)} if source == "given" else {}
        torch.manual_seed(6)
        outputs = road(*leaves, **noise)
        weights = gz.to(dtype), gz[:, 1].to(dtype)
        results.append([*outputs, *torch.autograd.grad(outputs, leaves, weights)])
    for short, long in zip(*results, strict=True):
        torch.testing.assert_close(
            short, long.bfloat16(), rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_those_of_the_formulas(road, dtype):
    mu, logvar = (x.requires_grad_() for x in draw(16, 5, dtype=dtype, scale=2.0))
    eps, gz = draw(16, 5, dtype=dtype, seed=1)
    eps.requires_grad_()
    gk = draw(16, dtype=dtype, seed=2)[0]
    got = torch.autograd.grad(road(mu, logvar, eps), (mu, logvar, eps), (gz, gk))
    std = torch.exp(logvar.double() / 2)
    expected = (
        gz + gk[:, None] * mu,
        (gz * eps * std + gk[:, None] * torch.expm1(logvar.double())) / 2,
        gz * std,
    )
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g.double(), e.double(), rtol=1e-5, atol=1e-6)


@fused
def test_drawn_noise_is_the_noise_of_the_plain_twin():
    mu, logvar = draw(257, 41)
    one, two = ops.reparam_kl, ops.reparam_kl_reference
    z1, kl1 = one(mu, logvar, generator=seeded(5))
    z2, kl2 = two(mu, logvar, generator=seeded(5))
    torch.testing.assert_close(z1, z2, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(kl1, kl2, rtol=1e-6, atol=1e-6)


@fused
def test_drawn_noise_has_the_digits_of_float32():
    # Rejects polynomials that are wrong in a last digit. The twin is exact to half a
    # unit; the errors of radius and angle are 2e-7 of the radius.
    zeros = torch.zeros(1_000_000)
    fast, _ = ops.reparam_kl(zeros, zeros, generator=seeded(9))
    slow, _ = ops.reparam_kl_reference(zeros, zeros, generator=seeded(9))
    pairs = slow.reshape(-1, 2).double()
    radius = pairs.norm(dim=-1, keepdim=True)
    error = (fast.reshape(-1, 2).double() - pairs).abs() / radius
    assert error.max() < 3e-7


@pytest.mark.parametrize("d", [1, 2, 7, 1024, 1025, 100_003])
def test_kl_is_at_least_as_exact_as_the_tutorial_formula(road, d):
    mu, logvar = draw(4, d, scale=0.5)
    _, kl = road(mu, logvar)
    truth = exact(mu, logvar, mu)[1]
    tutorial = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)
    # One unit in the last place of the result is granted to both.
    slack = torch.finfo(torch.float32).eps * truth
    assert torch.all((kl - truth).abs() <= (tutorial - truth).abs() + slack)


def test_special_values_are_those_of_the_formulas(road):
    values = [-math.inf, -100.0, -1e-40, 0.0, 1e-40, 1e-7, 100.0, math.inf, math.nan]
    grid = torch.cartesian_prod(torch.tensor(values), torch.tensor(values))
    mu, logvar = grid[:, :1], grid[:, 1:]
    eps = torch.full_like(mu, 1.5)
    z, kl = road(mu, logvar, eps)
    expected_z = mu + torch.exp(logvar / 2) * eps
    expected_kl = (mu**2 + (torch.expm1(logvar) - logvar)).squeeze(-1) / 2
    torch.testing.assert_close(z, expected_z, equal_nan=True)
    torch.testing.assert_close(kl, expected_kl, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_std_is_right_from_the_smallest_to_the_largest_number(road, dtype):
    info = torch.finfo(dtype)
    ends = 2 * math.log(info.tiny), 2 * math.log(info.max)
    logvar = torch.linspace(*ends, 10_000, dtype=torch.float64)[:-1, None].to(dtype)
    mu, eps = torch.zeros_like(logvar), torch.ones_like(logvar)
    z, _ = road(mu, logvar, eps)
    expected = [math.exp(x / 2) for x in logvar.squeeze(1).tolist()]
    expected = torch.tensor(expected, dtype=dtype)[:, None]
    # Denormal numbers may be taken for zero.
    torch.testing.assert_close(z, expected, rtol=4 * info.eps, atol=2 * info.tiny)


# Property


@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100)
def test_both_roads_agree_and_kl_is_never_negative(shape, dtype, seed):
    mu, logvar = draw(*shape, dtype=dtype, seed=seed, scale=3.0)
    z1, kl1 = ops.reparam_kl(mu, logvar, generator=seeded(seed))
    z2, kl2 = ops.reparam_kl_reference(mu, logvar, generator=seeded(seed))
    ulp = torch.finfo(dtype).eps
    noise_error = 2e-6 * torch.exp(logvar.double() / 2)  # noise is float32 in all
    assert torch.all((z1 - z2).abs() <= 2 * ulp * z2.abs() + noise_error)
    torch.testing.assert_close(kl1, kl2, rtol=4 * ulp, atol=1e-6)
    if ops._C is not None:
        assert torch.all(kl1 >= 0)


@fused
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-2, 1.0])
def test_kl_keeps_its_digits_near_zero_and_is_never_negative(scale):
    mu, logvar = draw(10_000, 1, scale=scale)
    _, kl = ops.reparam_kl(mu, logvar)
    v = logvar.double()
    small = v**2 / 2 + v**3 / 6 + v**4 / 24 + v**5 / 120  # expm1(v) - v, no loss
    excess = torch.where(v.abs() < 1e-2, small, torch.expm1(v) - v)
    truth = 0.5 * (mu.double() ** 2 + excess).squeeze(-1)
    assert torch.all(kl >= 0)
    torch.testing.assert_close(kl.double(), truth, rtol=1e-6, atol=0)


def test_a_seed_reproduces_and_two_calls_differ(road):
    mu, logvar = draw(128, 2)
    torch.manual_seed(3)
    first, second = road(mu, logvar)[0], road(mu, logvar)[0]
    torch.manual_seed(3)
    assert torch.equal(road(mu, logvar)[0], first)
    assert not torch.isclose(first, second).any()


def test_a_generator_reproduces_and_leaves_torchs_own_alone(road):
    mu, logvar = draw(128, 2)
    before = torch.get_rng_state()
    first = road(mu, logvar, generator=seeded(1))[0]
    assert torch.equal(road(mu, logvar, generator=seeded(1))[0], first)
    assert not torch.equal(road(mu, logvar, generator=seeded(2))[0], first)
    assert torch.equal(torch.get_rng_state(), before)


def test_given_eps_draws_nothing(road):
    mu, logvar = draw(8, 2)
    before = torch.get_rng_state()
    road(mu, logvar, torch.zeros_like(mu))
    assert torch.equal(torch.get_rng_state(), before)


def run(mu, logvar):
    """z, kl and both gradients, from one fixed seed."""
    mu, logvar = mu.detach().requires_grad_(), logvar.detach().requires_grad_()
    z, kl = ops.reparam_kl(mu, logvar, generator=seeded(11))
    loss = (z * torch.arange(z.numel()).reshape(z.shape)).sum() + kl.sum()
    return z, kl, *torch.autograd.grad(loss, (mu, logvar))


@fused
@pytest.mark.parametrize("shape", [(3, 100_003), (4096, 33), (20_000, 2), (1, 5)])
def test_same_bits_for_any_number_of_threads(threads, shape):
    mu, logvar = draw(*shape)
    threads(1)
    alone = run(mu, logvar)
    for n in (2, 3, 7):
        threads(n)
        for one, many in zip(alone, run(mu, logvar), strict=True):
            assert torch.equal(one, many), f"{n} threads"


DIGESTS = """
import hashlib, itertools, math, torch
from aelab import ops
print(ops._C.cpu_loops().lower())
shapes = [(1, 1), (3, 5), (1030, 2), (64, 33), (9, 300), (2, 5003)]
dtypes = [torch.float32, torch.float64, torch.bfloat16]
for shape, dtype, drawn in itertools.product(shapes, dtypes, [True, False]):
    n = 4 * math.prod(shape)  # torch.randn has other bits on other sets
    x = (torch.arange(n) * 7919 % 9973).double().reshape(4, *shape) / 1e3 - 5
    if n > 4:
        x[0, -1, :2] = torch.tensor([math.nan, 1e-40])
        x[1, 0, -2:] = torch.tensor([-200.0, math.inf])
    mu, logvar, eps, grad = x.to(dtype)
    leaves = mu.requires_grad_(), logvar.requires_grad_()
    torch.manual_seed(1)
    z, kl = ops.reparam_kl(mu, logvar, None if drawn else eps)
    grads = torch.autograd.grad((z, kl), leaves, (grad, grad[:, 0]))
    parts = [t.detach().nan_to_num(7).double().numpy() for t in (z, kl, *grads)]
    name = f"{shape} {dtype} {'drawn' if drawn else 'given'}"
    print(name, *(hashlib.sha1(part.tobytes()).hexdigest()[:12] for part in parts))
"""


def digests(capability: str | None) -> tuple[str, list[str]]:
    """The instruction set of a fresh process, and its digests of z, kl and grads."""
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    environment |= {"ATEN_CPU_CAPABILITY": capability} if capability else {}
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    name, *lines = done.stdout.splitlines()
    return name, lines


@fused
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_same_bits_for_every_instruction_set(capability):
    # Rejects contraction to fused multiply-adds, sums of as many lanes as fit, and the
    # same loops whatever was asked for.
    best, expected = digests(None)
    sets = ["default", "avx2", "avx512"]
    if best not in sets[sets.index(capability) + 1 :]:
        pytest.skip(f"nothing to compare {capability} with: the processor has {best}")
    name, lines = digests(capability)
    assert name == capability
    assert lines == expected


@fused
def test_same_bits_for_any_memory_layout():
    mu, logvar = draw(6, 10, 34)
    plain = run(mu, logvar)
    views = {
        "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        "strided": lambda x: x.repeat_interleave(2, -1)[..., ::2],
        "offset": lambda x: torch.cat([x[:1], x])[1:],
    }
    for name, view in views.items():
        for one, other in zip(plain, run(view(mu), view(logvar)), strict=True):
            assert torch.equal(one, other), name


@fused
def test_noise_depends_on_the_flat_index_alone():
    long, _ = ops.reparam_kl(*[torch.zeros(5 * 2051)] * 2, generator=seeded(4))
    rows, _ = ops.reparam_kl(*[torch.zeros(5, 2051)] * 2, generator=seeded(4))
    pairs, _ = ops.reparam_kl(*[torch.zeros(2000, 2)] * 2, generator=seeded(4))
    assert torch.equal(rows.flatten(), long)
    assert torch.equal(pairs.flatten(), long[:4000])


def test_drawn_noise_is_standard_normal(road):
    # 128 seeds, 4,096 numbers each. Under the hypothesis p-values are uniform, so
    # the smallest of 128 is below 1e-5 once in 780 batteries; the seeds are fixed.
    zeros = torch.zeros(64, 64)
    noise = torch.stack(
        [road(zeros, zeros, generator=seeded(s))[0] for s in range(128)]
    )
    rows = noise.reshape(128, -1).double().numpy()
    ks = [scipy.stats.kstest(row, "norm").pvalue for row in rows]
    assert min(ks) > 1e-5
    assert scipy.stats.kstest(ks, "uniform").pvalue > 1e-3
    everything = noise.double().flatten()
    n = everything.numel()
    # Anderson and Darling look at the tails. 3.857 is their 1 % point, 6.0 the 0.1 %.
    u = torch.special.ndtr(everything.sort().values)
    weight = 2 * torch.arange(1, n + 1) - 1
    anderson = -n - (weight * (u.log() + (1 - u.flip(0)).log())).mean()
    assert anderson < 6.0
    # Moments of N(0, 1) and their standard deviations over n draws.
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        z_score = ((everything**power).mean() - mean) / math.sqrt(variance / n)
        assert abs(z_score) < 4, f"moment {power}"
    beyond = (everything.abs() > 4).sum().item()
    expected = n * math.erfc(4 / math.sqrt(2))
    assert abs(beyond - expected) < 4 * math.sqrt(expected)
    # Neighbours share a radius or a call of Philox: lags within and across.
    flat = noise.reshape(128, -1).double()
    for lag in (1, 2, 3, 4, 5, 64):
        for f in (lambda x: x, lambda x: x**2 - 1):
            x, y = f(flat[:, :-lag]), f(flat[:, lag:])
            z_score = (x * y).mean() / (x.std() * y.std()) * math.sqrt(x.numel())
            assert abs(z_score) < 4, f"lag {lag}"
    between = torch.corrcoef(flat)[~torch.eye(128, dtype=torch.bool)]
    assert between.abs().max() < 6 / math.sqrt(4096), "two seeds are correlated"


@pytest.mark.parametrize("source", ["given", "drawn"])
def test_derivatives_of_first_and_second_order(road, source):
    mu, logvar = (x.requires_grad_() for x in draw(3, 2, 4, dtype=torch.float64))
    if source == "given":
        eps = draw(3, 2, 4, dtype=torch.float64, seed=1)[0].requires_grad_()
        arguments, function = (mu, logvar, eps), road
    else:
        arguments = (mu, logvar)

        def function(mu, logvar):
            return road(mu, logvar, generator=seeded(3))

    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def dispatched(mu, logvar, eps=None, *, generator=None):
    """Take the road through the dispatcher, whatever the mode."""
    return torch.ops.aelab.reparam_kl(mu, logvar, eps, generator=generator)[:2]


@fused
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", ["given", "drawn"])
def test_the_short_road_and_the_dispatchers_give_the_same_bits(source, dtype):
    # Rejects a node that swaps gradients, forgets one, or draws from another seed.
    mu, logvar = (x.requires_grad_() for x in draw(6, 5, dtype=dtype))
    eps, gz = draw(6, 5, dtype=dtype, seed=1)
    leaves = (mu, logvar, eps.requires_grad_())[: 3 if source == "given" else 2]
    results = []
    for function in (ops.reparam_kl, dispatched):
        arguments = {"eps": eps} if source == "given" else {"generator": seeded(5)}
        outputs = function(mu, logvar, **arguments)
        first = torch.autograd.grad(outputs, leaves, (gz, gz[:, 0]), create_graph=True)
        (only_z,) = torch.autograd.grad(outputs[0], logvar, gz, retain_graph=True)
        (only_kl,) = torch.autograd.grad(outputs[1], logvar, gz[:, 0])
        second = torch.autograd.grad(first, (mu, logvar), [gz for _ in first])
        results.append((*outputs, *first, only_z, only_kl, *second))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


class Wrapped(torch.Tensor):
    pass


ROADS = {  # how mu and logvar come to the op, and whether that is plain eager mode
    "plain": (True, lambda go, mu, logvar: go(mu, logvar)),
    "parameter": (True, lambda go, mu, logvar: go(torch.nn.Parameter(mu), logvar)),
    "no_grad": (True, lambda go, mu, logvar: torch.no_grad()(go)(mu, logvar)),
    "strided": (True, lambda go, mu, logvar: go(mu.T, logvar.T)),
    "inference": (
        True,
        lambda go, mu, logvar: torch.inference_mode()(lambda: go(mu + 0, logvar))(),
    ),
    "subclass": (False, lambda go, mu, logvar: go(mu.as_subclass(Wrapped), logvar)),
    "autocast": (
        False,
        lambda go, mu, logvar: torch.autocast("cpu")(go)(mu, logvar),
    ),
    "meta": (False, lambda go, mu, logvar: go(mu.to("meta"), logvar.to("meta"))),
    "sparse": (False, lambda go, mu, logvar: go(mu.to_sparse(), logvar.to_sparse())),
    "no tensor": (False, lambda go, mu, logvar: go(mu, 0.0)),
    "a number as eps": (False, lambda go, mu, logvar: go(mu, logvar, 0.0)),
    "vmap": (False, lambda go, mu, logvar: torch.vmap(go)(mu, logvar)),
    "func.grad": (
        False,
        lambda go, mu, logvar: torch.func.grad(lambda m: go(m, logvar)[0].sum())(mu),
    ),
    "forward AD": (
        False,
        lambda go, mu, logvar: go(forward_ad.make_dual(mu, mu), logvar),
    ),
    "fake": (
        False,
        lambda go, mu, logvar: go(
            *(FakeTensorMode().from_tensor(x) for x in (mu, logvar))
        ),
    ),
    "dispatch mode": (False, lambda go, *x: in_mode(TorchDispatchMode(), go, *x)),
    "function mode": (False, lambda go, *x: in_mode(TorchFunctionMode(), go, *x)),
}


def in_mode(mode, go, mu, logvar):
    with mode:
        return go(mu, logvar)


@fused
@pytest.mark.parametrize("name", ROADS)
def test_the_short_road_is_taken_in_plain_eager_mode_only(name):
    # Rejects a road that a mode, a subclass or a transform would not see.
    plain, call = ROADS[name]
    roads = []

    def go(mu, logvar, eps=None):
        roads.append(ops._short_road(mu, logvar, eps, None))
        return mu, logvar

    with forward_ad.dual_level():
        call(go, *draw(3, 3))
    assert len(roads) == 1
    assert (roads[0] is not None) == plain


@fused
def test_autograd_guards_the_short_road_as_its_own():
    def step(change=lambda *_: None, **options):
        mu, logvar = (x.requires_grad_() * 1 for x in draw(4, 3))
        z, kl = ops.reparam_kl(mu, logvar)
        change(mu, logvar)
        loss = z.sum() + kl.sum()
        loss.backward(**options)
        return loss

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        step(lambda mu, logvar: logvar.mul_(2))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        step().backward()
    step(retain_graph=True).backward()

    def refuse(_):
        raise LookupError("a hook that fails")

    hooks = torch.autograd.graph.saved_tensors_hooks(refuse, lambda x: x)
    with hooks, pytest.raises(LookupError, match="a hook that fails"):
        step()
    z, _ = ops.reparam_kl(*(x.requires_grad_() for x in draw(4, 3)))
    assert z.grad_fn.name() == "ReparamKlBackward"


@fused
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # its tracing
def test_compiled_autograd_goes_through_the_short_road():
    # Rejects a graph that keeps the seed, or the inputs, of its first call.
    for seed in (2, 3):
        mu, logvar = (x.requires_grad_() for x in draw(4, 3, seed=seed))
        gradients = []
        traced = compiled_autograd._enable(torch.compile(backend="eager"))
        for mode in (contextlib.nullcontext(), traced):
            mu.grad = logvar.grad = None
            z, kl = ops.reparam_kl(mu, logvar, generator=seeded(seed))
            with mode:
                (z * kl[:, None]).sum().backward()
            gradients.append((mu.grad, logvar.grad))
        for one, two in zip(*gradients, strict=True):
            assert torch.equal(one, two)


@fused
@pytest.mark.parametrize("given_eps", [False, True])
def test_opcheck(given_eps):
    mu, logvar = (x.requires_grad_() for x in draw(6, 3))
    eps = draw(6, 3, seed=1)[0] if given_eps else None
    seed = torch.tensor([3, -4])
    grads = torch.ones(6, 3), torch.ones(6)
    for op, arguments in [
        (torch.ops.aelab.reparam_kl, (mu, logvar, eps)),
        (torch.ops.aelab.reparam_kl_backward, (*grads, mu, logvar, eps, seed)),
    ]:
        assert set(torch.library.opcheck(op, arguments).values()) == {"SUCCESS"}


@fused
def test_compiled_gives_the_bits_of_eager(monkeypatch, tmp_path):
    backend = "inductor" if shutil.which("c++") else "aot_eager"
    # Its cache does not tell the instruction sets of ATEN_CPU_CAPABILITY apart.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def step(mu, logvar):
        z, kl = ops.reparam_kl(mu, logvar)
        return z * 2, kl

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=backend)
    for n in (8, 13):
        mu, logvar = (x.requires_grad_() for x in draw(n, 5))
        results = []
        for function in (step, compiled):
            torch.manual_seed(1)
            z, kl = function(mu, logvar)
            results.append((z, kl, *torch.autograd.grad((z * kl[:, None]).sum(), mu)))
        for plain, fast in zip(*results, strict=True):
            assert torch.equal(plain, fast)
    assert not torch.equal(compiled(mu, logvar)[0], compiled(mu, logvar)[0])


def test_autocast_computes_and_returns_float32(road):
    mu, logvar = draw(16, 4, dtype=torch.bfloat16)
    eps, _ = draw(16, 4, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, kl = road(mu, logvar.float(), eps)
    assert z.dtype == kl.dtype == torch.float32
    expected = road(mu.float(), logvar.float(), eps)
    assert torch.equal(z, expected[0])
    assert torch.equal(kl, expected[1])


def test_checkpointing_draws_the_same_noise_twice(road):
    mu, logvar = (x.requires_grad_() for x in draw(16, 4))

    def loss(mu, logvar):
        z, kl = road(mu, logvar)
        return (z**2).sum() + kl.sum()

    torch.manual_seed(0)
    plain = torch.autograd.grad(loss(mu, logvar), (mu, logvar))
    torch.manual_seed(0)
    again = checkpoint(loss, mu, logvar, use_reentrant=False)
    for one, two in zip(plain, torch.autograd.grad(again, (mu, logvar)), strict=True):
        assert torch.equal(one, two)


@fused
def test_no_tensor_of_the_inputs_size_is_saved_but_the_inputs():
    mu, logvar = (x.requires_grad_() for x in draw(64, 32))
    saved = []

    def pack(x):
        saved.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ops.reparam_kl(mu, logvar)
    large = {x.data_ptr() for x in saved if x.numel() >= mu.numel()}
    assert large == {mu.data_ptr(), logvar.data_ptr()}


def test_functional_transforms(road):
    mu, logvar = draw(6, 4, dtype=torch.float64)
    eps = draw(6, 4, dtype=torch.float64, seed=1)[0]

    def kl(mu):
        return road(mu, logvar, eps)[1].sum()

    def sample(mu, logvar):
        return road(mu, logvar)[0]

    torch.testing.assert_close(torch.func.grad(kl)(mu), mu)
    torch.testing.assert_close(torch.func.jvp(kl, (mu,), (mu,))[1], (mu**2).sum())
    torch.testing.assert_close(
        torch.func.hessian(kl)(mu).reshape(24, 24), torch.eye(24).double()
    )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(mu, torch.ones_like(mu))
        tangent = forward_ad.unpack_dual(road(dual, logvar, eps)[0]).tangent
    assert torch.equal(tangent, torch.ones_like(mu))
    rows = torch.vmap(sample, randomness="different")(mu, logvar)
    noise = (rows - mu) / torch.exp(logvar / 2)
    assert noise.flatten().unique().numel() == 24, "two rows share their noise"
    mapped = torch.vmap(lambda m, v, e: road(m, v, e)[1])(mu, logvar, eps)
    torch.testing.assert_close(mapped, road(mu, logvar, eps)[1])


# Error


batch = torch.zeros(8, 2)
ONE_SHAPE = "expected mu and {} of one shape, but got {} and {}"
ONE_DTYPE = "expected mu and {} of one dtype, but got {} and {}"
DTYPE = "expected mu of dtype float32, float64 or bfloat16, but got {}"
BAD = [
    (ValueError, ONE_SHAPE.format("logvar", (8, 2), (8, 3)), batch, torch.zeros(8, 3)),
    (ValueError, ONE_SHAPE.format("logvar", (3,), (1,)), batch[:3, 0], batch[:1, 0]),
    (ValueError, ONE_SHAPE.format("logvar", (8, 2), (2, 8)), batch, batch.view(2, 8)),
    (ValueError, ONE_SHAPE.format("eps", (8, 2), (2,)), batch, batch, batch[0]),
    (
        ValueError,
        "at least one dimension, the latent one, but got a scalar",
        batch[0, 0],
    ),
    (
        ValueError,
        "on one device, but got cpu and meta; move one",
        batch,
        batch.to("meta"),
    ),
    (
        TypeError,
        ONE_DTYPE.format("logvar", "float32", "float64"),
        batch,
        batch.double(),
    ),
    (
        TypeError,
        ONE_DTYPE.format("eps", "float32", "bfloat16"),
        batch,
        batch,
        batch.bfloat16(),
    ),
    (TypeError, DTYPE.format("int64"), batch.long()),
    (TypeError, DTYPE.format("float16"), batch.half()),
    (TypeError, DTYPE.format("complex64"), batch.cfloat()),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[1])
def test_bad_input_is_named_in_the_same_words_everywhere(case):
    error, message, mu, logvar, eps = (*case, case[2], None)[:5]
    functions = [ops.reparam_kl, ops.reparam_kl_reference]
    if ops._C is not None:
        functions.append(torch.ops.aelab.reparam_kl)  # csrc/checks.h itself
    texts = set()
    for function in functions:
        with pytest.raises(error, match=re.escape(message)) as caught:
            function(mu, logvar, eps)
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert texts.pop().startswith("reparam_kl: expected ")


def test_sparse_input_is_named(road):
    with pytest.raises(TypeError, match="expected a dense mu, but got a sparse one"):
        road(batch.to_sparse(), batch)


def test_eps_and_generator_exclude_each_other(road):
    with pytest.raises(ValueError, match="expected eps or a generator, but got both"):
        road(batch, batch, batch, generator=seeded(0))


def test_generator_of_another_device_is_named(road):
    with pytest.raises(ValueError, match=r"a generator on meta, .* but got one on cpu"):
        road(batch.to("meta"), batch.to("meta"), generator=seeded(0))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mu", ([1.0], batch)),
        ("logvar", (batch, 0.0)),
        ("eps", (batch, batch, batch.numpy())),
    ],
)
def test_anything_but_a_tensor_is_named(road, name, arguments):
    with pytest.raises(TypeError, match=f"expected {name} to be a Tensor, but got"):
        road(*arguments)


@fused
def test_the_backward_op_guards_its_memory():
    backward = torch.ops.aelab.reparam_kl_backward
    seed = torch.tensor([0, 0])
    good = {
        "grad_z": batch,
        "grad_kl": batch[:, 0],
        "mu": batch,
        "logvar": batch,
        "eps": None,
    }
    for change, error, message in [
        ({"grad_z": batch[:4]}, ValueError, "mu and grad_z of one shape"),
        (
            {"grad_kl": batch[:4, 0]},
            ValueError,
            "one grad_kl for every row of mu (8, 2)",
        ),
        ({"grad_kl": batch[:, 0].double()}, TypeError, "mu and grad_kl of one dtype"),
        ({"logvar": batch[:1]}, ValueError, "mu and logvar of one shape"),
        ({"seed": seed[:1]}, ValueError, "seed of shape (2,), but got (1,)"),
        ({"seed": seed.int()}, TypeError, "seed of dtype int64, but got int32"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            backward(**(good | {"seed": seed} | change))


@fused
def test_the_kernels_guard_themselves_against_memory_elsewhere():
    # A call with a meta tensor goes to the meta kernel. Sent to that of the CPU, it
    # meets the checks of csrc/checks.h, which otherwise a GPU alone would show.
    cpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    seed = torch.tensor([0, 0])
    good = [batch, batch[:, 0], batch, batch, batch, seed]
    names = ["grad_z", "grad_kl", "", "logvar", "eps", "seed"]
    for i in (0, 1, 3, 4, 5):
        bad = [x.to("meta") if i == j else x for j, x in enumerate(good)]
        with pytest.raises(ValueError, match=f"expected .*{names[i]} on .* got .*meta"):
            torch.ops.aelab.reparam_kl_backward.default.redispatch(cpu, *bad)
        if i in (3, 4):
            with pytest.raises(ValueError, match=f"mu and {names[i]} on one device"):
                torch.ops.aelab.reparam_kl.default.redispatch(cpu, *bad[2:5])
