"""`ops.reparam_kl` beside other ways to write it: behind `make bench`.

All ways take turns in one process, so that they meet the same machine; what counts is
the ratio to the fused op, of which the median and the middle half of all rounds are
shown. `forward` builds the graph of autograd, `forward+backward` takes the gradients of
z and kl by mu and logvar as well.

The heap is warm: the process starts itself again with malloc told to keep what is freed
(MALLOC_TOP_PAD_, MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), and every way runs
before it is timed. In a fresh heap the page faults of large outputs rule, whoever
computes them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aelab import ops, plots

SHAPES = [(128, 2), (128, 32), (512, 64), (4096, 128), (65536, 256)]
# Times as fast as eager: forward, forward+backward.
AIMS = {
    "128x2": (12, 5.5),
    "128x32": (13, 7),
    "512x64": (22, 11),
    "4096x128": (25, 14),
    "65536x256": (20, 12),
}
HEAP = {
    "MALLOC_TOP_PAD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
Outputs = tuple[Tensor, Tensor]


def tutorial(mu: Tensor, logvar: Tensor, eps: Tensor | None = None) -> Outputs:
    """Sample and measure as tutorials do."""
    std = torch.exp(0.5 * logvar)
    eps = torch.randn_like(std) if eps is None else eps
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)
    return mu + eps * std, kl


def distributions(mu: Tensor, logvar: Tensor) -> Outputs:
    """Leave it to torch.distributions."""
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return q.rsample(), torch.distributions.kl_divergence(q, p).sum(-1)


class Written(torch.autograd.Function):
    """The gradients written out in Python: eps is saved."""

    @staticmethod
    def forward(ctx: Any, mu: Tensor, logvar: Tensor) -> Outputs:
        """Save std and eps beside the inputs."""
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        ctx.save_for_backward(mu, std, eps)
        return mu + eps * std, 0.5 * (mu * mu + std * std - 1 - logvar).sum(-1)

    @staticmethod
    def backward(ctx: Any, gz: Tensor, gk: Tensor) -> Outputs:
        """Write out the formulas of docs and lecture."""
        mu, std, eps = ctx.saved_tensors
        gk = gk[:, None]
        return gz + gk * mu, 0.5 * (gz * eps * std + gk * (std * std - 1))


def compiled(**options: object) -> Callable[..., Outputs]:
    """Compile the tutorial's code anew: each shape gets the code made for it."""
    return torch.compile(tutorial, dynamic=False, options=options or None)


def jax_ways(mu: Tensor, logvar: Tensor) -> tuple[Callable, Callable]:
    """Return forward and forward+backward, each one compiled function of JAX."""
    import jax
    import jax.numpy as jnp

    def op(mu: Any, logvar: Any, key: Any) -> Any:
        eps = jax.random.normal(key, mu.shape)
        kl = 0.5 * (mu**2 + jnp.exp(logvar) - 1 - logvar).sum(-1)
        return mu + jnp.exp(0.5 * logvar) * eps, kl

    def both(mu: Any, logvar: Any, key: Any) -> Any:
        outputs, pull = jax.vjp(lambda m, v: op(m, v, key), mu, logvar)
        return outputs, pull((jnp.ones_like(mu), jnp.ones(mu.shape[0])))

    x = jnp.asarray(mu.detach().numpy()), jnp.asarray(logvar.detach().numpy())
    keys = iter(jax.random.split(jax.random.key(0), 100_000))
    forward, backward = jax.jit(op), jax.jit(both)
    return (
        lambda: jax.block_until_ready(forward(*x, next(keys))),
        lambda: jax.block_until_ready(backward(*x, next(keys))),
    )


def backward_of(way: Callable[[], Any], leaves: Any, grads: Any) -> Callable[[], Any]:
    """Return a way that goes on to the gradients."""
    return lambda: torch.autograd.grad(way(), leaves, grads)


def ways(shape: tuple[int, int]) -> dict[str, tuple[Callable, Callable]]:
    """Return forward and forward+backward of every way, on tensors of one shape."""
    mu, logvar = (torch.randn(shape).requires_grad_() for _ in range(2))
    eps, gz, gk = torch.randn(shape), torch.ones(shape), torch.ones(shape[0])
    default, strong, given = compiled(), compiled(fallback_random=True), compiled()
    forwards = {
        "reparam_kl": lambda: ops.reparam_kl(mu, logvar),
        "eager": lambda: tutorial(mu, logvar),
        "torch.distributions": lambda: distributions(mu, logvar),
        "autograd.Function": lambda: Written.apply(mu, logvar),
        "compile": lambda: default(mu, logvar),
        "compile, fallback_random": lambda: strong(mu, logvar),
        "reparam_kl, eps given": lambda: ops.reparam_kl(mu, logvar, eps),
        "compile, eps given": lambda: given(mu, logvar, eps),
    }
    found = {
        name: (way, backward_of(way, (mu, logvar), (gz, gk)))
        for name, way in forwards.items()
    }
    one, two = torch.ones_like(mu).requires_grad_(), torch.ones(shape).requires_grad_()

    def add() -> Tensor:
        return torch.add(one, two)

    def add_twice() -> Outputs:
        return torch.add(one, two), torch.add(one, two)

    found["(one torch.add)"] = add, backward_of(add, (one, two), gz)
    found["(two torch.add)"] = add_twice, backward_of(add_twice, (one, two), (gz, gz))
    if importlib.util.find_spec("jax"):
        found["JAX, jit"] = jax_ways(mu, logvar)
    return found


def measure(
    functions: dict[str, Callable[[], Any]], rounds: int, slice_s: float
) -> dict[str, list[float]]:
    """Return the seconds of a call, one number a round, all functions taking turns."""
    repeats = {}
    for name, function in functions.items():
        function()  # compiles, and warms the heap
        function()
        start = time.perf_counter()
        function()
        repeats[name] = max(1, int(slice_s / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                function()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def rivals(name: str) -> str:
    """Name what a way is compared with: given noise with given noise."""
    return "reparam_kl, eps given" if "eps given" in name else "reparam_kl"


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return medians, and the quartiles of the ratios taken round by round."""
    rows = {}
    for name, times in seconds.items():
        own = seconds.get(rivals(name), next(iter(seconds.values())))
        ratios = [other / one for other, one in zip(times, own, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        microseconds = 1e6 * statistics.median(times)
        rows[name] = {"us": microseconds, "ratio": middle, "low": low, "high": high}
    return rows


def show(title: str, rows: dict[str, dict[str, float]], header: str) -> None:
    """Print one table."""
    print(f"\n{title}\n{'':28}{'median us':>12}{header:>18}{'middle half':>16}")
    for name, row in rows.items():
        spread = f"{row['low']:.2f}-{row['high']:.2f}"
        print(f"{name:28}{row['us']:>12.1f}{row['ratio']:>18.2f}{spread:>16}")


def normals(rounds: int) -> dict[str, float]:
    """Return normal numbers a second, in 10^9: drawn less given, beside normal_."""
    mu, logvar = torch.zeros(2, 4096, 128)
    out, eps = torch.empty(4096, 128), torch.randn(4096, 128)
    seconds = measure(
        {
            "drawn": lambda: ops.reparam_kl(mu, logvar),
            "given": lambda: ops.reparam_kl(mu, logvar, eps),
            "normal_": lambda: out.normal_(),
        },
        rounds,
        0.01,
    )
    each = {name: statistics.median(times) for name, times in seconds.items()}
    n = mu.numel() / 1e9
    return {
        "reparam_kl": n / (each["drawn"] - each["given"]),
        "normal_": n / each["normal_"],
    }


def bandwidth(rounds: int) -> dict[str, float]:
    """Return shares of the copy bandwidth, by the least bytes that each pass moves."""
    mu, logvar, eps, gz, out = torch.randn(5, 65536, 256)
    seed, gk = torch.zeros(2, dtype=torch.int64), torch.ones(65536)
    functions = {"copy": lambda: out.copy_(mu)}
    if ops._C is not None:
        backward = torch.ops.aelab.reparam_kl_backward
        functions |= {
            "forward, eps given": lambda: ops.reparam_kl(mu, logvar, eps),
            "forward": lambda: ops.reparam_kl(mu, logvar),
            "backward": lambda: backward(gz, gk, mu, logvar, None, seed),
        }
    least = {"copy": 8, "forward, eps given": 16, "forward": 12, "backward": 20}
    with torch.no_grad():
        seconds = measure(functions, rounds, 0.02)
    rates = {
        name: least[name] * mu.numel() / statistics.median(times) / 1e9
        for name, times in seconds.items()
    }
    shares = {name: rate / rates["copy"] for name, rate in rates.items()}
    return {"copy, GB/s": rates["copy"], **shares}


def saved(way: Callable[[], Any], size: int) -> int:
    """Count the tensors as large as mu that a way keeps for its backward pass."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = way()
    del result
    return sum(n >= size for n in kept.values())


class VAE(nn.Module):
    """A small VAE, with the sampling of one's choice."""

    def __init__(self, sizes: tuple[int, int, int], sample: Callable) -> None:
        super().__init__()
        inputs, hidden, latent = sizes
        self.encoder = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.code = nn.Linear(hidden, 2 * latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, inputs)
        )
        self.sample = sample

    def forward(self, x: Tensor) -> Tensor:
        """Return the loss: minus the ELBO, the mean over the batch."""
        mu, logvar = self.code(self.encoder(x)).chunk(2, dim=-1)
        z, kl = self.sample(mu, logvar)
        logits = self.decoder(z)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return (nll + kl).mean()


def training_step(sizes: tuple[int, int, int], sample: Callable) -> Callable[[], None]:
    """Return one step of Adam, on a batch of 128."""
    torch.manual_seed(0)
    model, x = VAE(sizes, sample), torch.rand(128, sizes[0])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def aims(results: dict[str, Any]) -> list[tuple[str, float, float, str]]:
    """Return what is aimed at, seen and aim, and what bounds it, by this run's figures.

    The bounds: the time of the same call with the noise given, which leaves out the
    generator; two torch.add, the least graph with two outputs; and, of the traffic, the
    lines of the outputs, which a processor reads before it writes them.
    """
    found = []
    for title, rows in results["times"].items():
        shape, threads, what = title.split(", ") if "x" in title else ("", "", "")
        if threads != "2 threads" or not shape:
            continue
        backward = "backward" in what
        given = rows["reparam_kl, eps given"]["us"]
        peers = {"eager": AIMS[shape][backward]}
        if shape in ("4096x128", "65536x256"):
            peers["compile, fallback_random"] = (12, 6)[backward]
        for peer, aim in peers.items():
            bound = f"{rows[peer]['us'] / given:.1f} if noise were free"
            found.append((f"{shape} {what}, {peer}", rows[peer]["ratio"], aim, bound))
        if shape == "128x2":
            floor = rows["reparam_kl"]["us"] / rows["(two torch.add)"]["us"]
            seen, aim = 1 / rows["(one torch.add)"]["ratio"], (1.0, 1.2)[backward]
            bound = f"{floor:.2f} of two torch.add; less is better"
            found.append((f"{shape} {what}, share of one torch.add", seen, aim, bound))
        if backward and shape in ("4096x128", "65536x256"):
            seen = rows["compile, eps given"]["ratio"]
            found.append((f"{shape} {what}, both with eps given", seen, 2, ""))
    rates = results["10^9 normals a second, 1 thread"]
    seen = rates["reparam_kl"] / rates["normal_"]
    found.append(("normals a second, normal_", seen, 14, ""))
    shares = results["share of copy bandwidth, 2 threads"]
    for name, aim, bytes_, lines in (
        ("forward, eps given", 0.97, 16, 4),
        ("forward", 0.85, 12, 4),
        ("backward", 0.9, 20, 8),
    ):
        bound = f"{shares[name] * (bytes_ + lines) / bytes_:.2f} with the lines read"
        found.append((f"share of copy bandwidth, {name}", shares[name], aim, bound))
    return found


def chart(results: dict[str, Any], path: Path) -> None:
    """Draw how many times the fused op's time the others take, at one shape."""
    title = next(t for t in reversed(results["times"]) if "forward+backward" in t)
    rows = results["times"][title]
    values = {
        name: row["ratio"]
        for name, row in rows.items()
        if "given" not in name and "(" not in name
    }
    text = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
    picture = plots.bars(
        values,
        alt=f"Bars of the time relative to the fused op, {title}: {text}.",
        xlabel="time, in units of reparam_kl",
        title=title,
    )
    picture.savefig(path)
    print(f"\nbar chart: {path}")


def run(shapes: list, threads: list[int], rounds: int, slice_s: float) -> dict:
    """Measure everything, and print it on the way."""
    results: dict[str, Any] = {"times": {}}
    for n in threads:
        torch.set_num_threads(n)
        for shape in shapes:
            found = ways(shape)
            for i, what in enumerate(["forward", "forward+backward"]):
                seconds = measure({k: v[i] for k, v in found.items()}, rounds, slice_s)
                title = f"{shape[0]}x{shape[1]}, {n} thread{'s' * (n > 1)}, {what}"
                results["times"][title] = summary(seconds)
                show(title, results["times"][title], "times reparam_kl")
            torch.compiler.reset()
        for sizes in [(64, 128, 2), (784, 400, 20)]:
            samples = {"reparam_kl": ops.reparam_kl, "eager": tutorial}
            steps = {name: training_step(sizes, s) for name, s in samples.items()}
            title = f"training step of a VAE {'-'.join(map(str, sizes))}, {n} threads"
            results["times"][title] = summary(measure(steps, 4 * rounds, slice_s))
            show(title, results["times"][title], "times reparam_kl")
    torch.set_num_threads(1)
    results["10^9 normals a second, 1 thread"] = normals(rounds)
    for n in threads:
        torch.set_num_threads(n)
        results[f"share of copy bandwidth, {n} threads"] = bandwidth(rounds)
    kept = {
        name: saved(way, 512 * 64)
        for name, (way, _) in ways((512, 64)).items()
        if name[0] != "(" and "JAX" not in name
    }
    results["tensors as large as mu kept for backward (mu, logvar: 2)"] = kept
    for title, values in results.items():
        if title != "times":
            print(f"\n{title}")
            for name, value in values.items():
                print(f"{name:28}{value:>12.4g}")
    return results


def main() -> None:
    """Read the command line, and start again with a warm heap."""
    if any(os.environ.get(k) != v for k, v in HEAP.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | HEAP)
    parser = argparse.ArgumentParser(description="reparam_kl beside its peers")
    parser.add_argument("--quick", action="store_true", help="two shapes, few rounds")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    parser.add_argument(
        "--chart", type=Path, default=Path("build/bench_reparam_kl.png")
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    start = time.perf_counter()
    load = os.getloadavg()[0]
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{os.cpu_count()} cores, load {load:.1f}; warm heap: "
        + " ".join(f"{k}={v}" for k, v in HEAP.items())
        + ("" if importlib.util.find_spec("jax") else "; JAX is not installed")
        + ("" if ops._C else "; WITHOUT the extension: reparam_kl is the plain twin")
    )
    if arguments.quick:
        results = run([(128, 2), (4096, 128)], [2], 15, 0.004)
    else:
        results = run(SHAPES, [1, 2], 31, 0.02)
    print(f"\n{'aim':52}{'seen':>8}{'aim':>8}  bound")
    for name, seen, aim, bound in aims(results):
        print(f"{name:52}{seen:>8.2f}{aim:>8.2f}  {bound}")
    results["load before and after"] = [load, os.getloadavg()[0]]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    arguments.chart.parent.mkdir(parents=True, exist_ok=True)
    chart(results, arguments.chart)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
