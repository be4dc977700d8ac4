"""The wrong answers for autoencoders that public teaching code gives, each rejected.

A mutant is the source of a room with one line changed. Each check looks at the rooms
from outside; a mutant counts as rejected by a check when that check's assert fails on
it and passes on the original. The table of all of them is printed.
"""

import inspect
import tempfile
import types
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical

from aelab import checkpoint, data, training
from aelab.losses import autoencoding as losses
from aelab.models.autoencoder import Autoencoder

DENOISING = """
from aelab import data, losses

def denoising(model, x, generator):
    if not model.training:
        return {"loss": losses.squared_error(x, model(x).x_hat)}
    x_noisy = data.add_gaussian_noise(x, 0.5, generator=generator)
    x_hat = model(x_noisy).x_hat
    return {"loss": losses.squared_error(x, x_hat)}
"""
SOURCES = {
    "losses": inspect.getsource(losses),
    "checkpoint": inspect.getsource(checkpoint),
    "training": inspect.getsource(training),
    "denoising": DENOISING,
}
ERROR = "return (x - x_hat).square().sum(dim=1)"
BCE = "binary_cross_entropy_with_logits(logits, x, "
SOFTMAX = "return -(x * F.log_softmax(logits, dim=1)).sum(dim=1)"
WEIGHTS = "weights = [p for p in model.parameters() if p.ndim > 1]"
L1 = "return z.abs().sum(dim=1)"
COINS = """
    on = rho * (math.log(rho) - rho_hat.log())
    off = (1 - rho) * (math.log1p(-rho) - torch.log1p(-rho_hat))"""
PRICE = 'price = weight * penalty(_read("sparse", output, "z", "penalty"))'
TARGET = 'return {"loss": losses.squared_error(x, x_hat)}'
ORDER = "order = torch.randperm("

# name: (room, line of the original, line of the mutant, the checks that must reject)
MUTANTS = {
    "mean for sum": ("losses", ERROR, ERROR.replace("sum", "mean"), "terms penalty"),
    "mean over the batch, too": (
        "losses", ERROR, ERROR.replace("sum(dim=1)", "mean()"), "terms"),
    "sum over the batch": ("losses", ERROR, ERROR.replace("1", "0"), "terms"),
    "half the squared error": ("losses", ERROR, ERROR + " / 2", "terms penalty"),
    "absolute error": ("losses", ERROR, ERROR.replace("square", "abs"), "terms"),
    "Bernoulli: mean for sum": (
        "losses", "terms.sum(dim=1)", "terms.mean(dim=1)", "terms"),
    "Bernoulli: swapped": (
        "losses", BCE, BCE.replace("logits, x", "x, logits"), "terms"),
    "Bernoulli: sigmoid twice": (
        "losses", BCE, BCE.replace("(logits", "(logits.sigmoid()"), "terms"),
    "softmax over the batch": (
        "losses", SOFTMAX, SOFTMAX.replace("logits, dim=1", "logits, dim=0"), "terms"),
    "penalty on the encoder alone": ("losses", WEIGHTS, WEIGHTS + "[:1]", "penalty"),
    "penalty on the decoder alone": ("losses", WEIGHTS, WEIGHTS + "[1:]", "penalty"),
    "penalty on the biases, too": (
        "losses", WEIGHTS, WEIGHTS.replace("1", "0"), "biases"),
    "penalty on the biases alone": (
        "losses", WEIGHTS, WEIGHTS.replace("> 1", "== 1"), "penalty biases"),
    "penalty not squared": (
        "losses", "weight.square().sum()", "weight.norm()", "penalty"),
    "penalty over the batch size": (
        "losses", "(l2 * weight_penalty(model))",
        "(l2 * weight_penalty(model) / len(x))", "penalty"),
    "L1: mean for sum": ("losses", L1, L1.replace("sum", "mean"), "sparsity"),
    "rho and rho_hat swapped": ("losses", COINS, """
    on = rho_hat * (rho_hat.log() - math.log(rho))
    off = (1 - rho_hat) * (torch.log1p(-rho_hat) - math.log1p(-rho))""", "sparsity"),
    "one outcome of the coin": (
        "losses", "(on + off).sum()", "on.sum()", "sparsity"),
    "divergence: mean over units": (
        "losses", "(on + off).sum()", "(on + off).mean()", "sparsity"),
    "divergence of each activation": (
        "losses", "rho_hat = z.mean(dim=0)", "rho_hat = z", "sparsity"),
    "the output charged, not the code": (
        "losses", PRICE, PRICE.replace('"z"', '"x_hat"'), "sparsity"),
    "lambda forgotten": (
        "losses", PRICE, PRICE.replace("weight * ", ""), "sparsity"),
    "denoising: noisy target": (
        "losses", 'drawn.get("target", x)', 'drawn["corrupt"]', "denoiser"),
    "denoising: target ignored": (
        "losses", 'drawn.get("target", x)', "x", "denoiser"),
    "denoising: clean input": (
        "losses", 'model(drawn["corrupt"])', "model(x)", "denoiser"),
    "noisy target": ("denoising", TARGET, TARGET.replace("x,", "x_noisy,"), "target"),
    "noise on the target only": (
        "denoising", "x_hat = model(x_noisy).x_hat",
        "x_hat, x = model(x).x_hat, x_noisy", "target"),
    "noise added at test time": (
        "denoising", "if not model.training:", "if False:", "test_time"),
    "evaluate in training mode": (
        "training", "model.training\n    model.eval()", "model.training", "test_time"),
    "evaluate leaves its mode": ("training", "model.train(mode)", "pass", "modes"),
    "every batch weighs the same": (
        "training", "+ n * mean.item()", "+ 4 * mean.item()", "mean"),
    "gradients never cleared": (
        "training", "descent.step()\n                    descent.zero_grad()",
        "descent.step()", "loop"),
    "one order for all epochs": (
        "training", ORDER, f"generator.manual_seed(seed); {ORDER}", "loop"),
    "the last batch dropped": (
        "training", "loss.backward()", "len(index) < size or loss.backward()", "loop"),
    "resume with another order": (
        "checkpoint", 'generator.set_state(tensors["generator"])', "pass", "resume"),
    "resume without Adam's memory": (
        "checkpoint", '"state": state})', '"state": {}})', "resume"),
}  # fmt: skip


def rooms(changed: str = "", line: str = "", wrong: str = "") -> types.SimpleNamespace:
    """Execute the sources of the rooms, one of them with one line changed."""
    made = {}
    for name, source in SOURCES.items():
        if name == changed:
            assert source.count(line) == 1, f"the original has not exactly one {line!r}"
            source = source.replace(line, wrong)
        module = types.ModuleType(name)
        exec(source, vars(module))
        made[name] = module
    made["training"].checkpoints = made["checkpoint"]
    return types.SimpleNamespace(**made)


def draw(n: int = 8, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed)).double()


def make(d: int = 6, k: int = 2, bias: bool = True) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(d, k, (), bias=bias).double()


def check_terms(room) -> None:
    x, logits = draw(), 4 * draw(seed=1) - 2
    bits, classes = x.round(), x.argmax(dim=1)
    one_hot = nn.functional.one_hot(classes, 6).double()
    for name, ours, expected in [
        ("squared error", room.losses.squared_error(x, logits),
         (x - logits).norm(dim=1) ** 2),
        ("Bernoulli", room.losses.bernoulli(bits, logits),
         -Bernoulli(logits=logits).log_prob(bits).sum(dim=1)),
        ("categorical", room.losses.categorical(one_hot, logits),
         -Categorical(logits=logits).log_prob(classes)),
    ]:  # fmt: skip
        right = ours.shape == (8,) and torch.allclose(ours, expected)
        assert right, f"the {name} is not its formula, one number an example"


def check_penalty(room) -> None:
    x = draw(50) * torch.arange(1, 7)
    x = x - x.mean(dim=0)
    eigenvalues, v = torch.linalg.eigh(x.T @ x / 50)
    l2 = eigenvalues[-2].item() / 2
    axes = v[:, -2:] * (1 - l2 / eigenvalues[-2:]).sqrt()
    model = make()
    model.load_state_dict({
        "encoder.0.weight": axes.T, "encoder.0.bias": torch.zeros(2),
        "decoder.0.weight": axes, "decoder.0.bias": torch.zeros(6),
    })  # fmt: skip
    terms = room.losses.reconstruction(l2=l2)(model, x, torch.Generator())
    terms["loss"].mean().backward()
    steepest = max(p.grad.abs().max().item() for p in model.parameters())
    assert steepest < 1e-9, f"at the closed form of W the gradient is {steepest:.1e}"


def check_biases(room) -> None:
    model = make()
    before = room.losses.weight_penalty(model).item()
    model.decoder[0].bias.data += 1
    after = room.losses.weight_penalty(model).item()
    assert before == after, "the penalty sees the biases"


def check_sparsity(room) -> None:
    x, model = draw(), make()
    z = model(x).z.detach()
    l1 = torch.linalg.vector_norm(z, 1, dim=1)
    terms = room.losses.sparse(room.losses.l1, 0.3)(model, x, torch.Generator())
    gap = (terms["sparsity"] - 0.3 * l1).abs().max().item()
    assert gap < 1e-12, f"the price is not lambda times the L1 of z: off by {gap:.1e}"
    z = draw()
    asked, found = Bernoulli(torch.full((6,), 0.1).double()), Bernoulli(z.mean(dim=0))
    oracle = torch.distributions.kl_divergence(asked, found).sum()
    gap = (room.losses.kl_sparsity(z, 0.1) - oracle).abs().max().item()
    assert gap < 1e-6, f"kl_sparsity and torch's divergence differ by {gap:.1e}"


def check_target(room) -> None:
    """Two denoisers that need no training: return the input, and return zero."""
    x, generator = draw(2000), torch.Generator().manual_seed(0)
    model = make(k=6, bias=False)
    for scale, expected in ((1, 6 * 0.25), (0, x.square().sum(dim=1).mean().item())):
        for weight in model.parameters():
            weight.data = scale * torch.eye(6).double()
        loss = room.denoising.denoising(model, x, generator)["loss"].mean().item()
        assert abs(loss - expected) < 0.06, f"{scale} x input loses {loss:.2f}"


def check_denoiser(room) -> None:
    """The same of the library's objective, and a target with noise of its own."""
    x, generator = draw(2000), torch.Generator().manual_seed(0)

    def noise(x, generator):
        return data.add_gaussian_noise(x, 0.5, generator=generator)

    energy = x.square().sum(dim=1).mean().item()
    model = make(k=6, bias=False)
    for scale, expected in ((1, 6 * 0.25), (0, energy)):
        for weight in model.parameters():
            weight.data = scale * torch.eye(6).double()
        for target, more in ((None, 0), (noise, 6 * 0.25)):
            objective = room.losses.denoising(noise, target=target)
            loss = objective(model, x, generator)["loss"].mean().item()
            off = abs(loss - expected - more)
            assert off < 0.15, f"{scale} x input loses {loss:.2f}, not what it should"


def check_test_time(room) -> None:
    x, model = draw(), make()
    clean = (model(x).x_hat - x).square().sum(dim=1).mean().item()
    ours = room.training.evaluate(model, room.denoising.denoising, x)["loss"]
    assert abs(ours - clean) < 1e-9, "evaluate does not judge on the clean input"


def check_modes(room) -> None:
    model = make()
    room.training.evaluate(model, losses.reconstruction(), draw())
    assert model.training, "evaluate leaves the model in evaluation mode"


def check_mean(room) -> None:
    x, model = draw(10), make()
    expected = (model(x).x_hat - x).square().sum(dim=1).mean().item()
    objective = losses.reconstruction()
    ours = room.training.evaluate(model, objective, x, batch_size=4)["loss"]
    assert abs(ours - expected) < 1e-9, "evaluate is not the mean over examples"


def check_loop(room) -> None:
    x, model, by_hand = draw(50), make(), make()
    options = {"batch_size": 16, "lr": 0.01, "optimizer": torch.optim.SGD}
    room.training.fit(model, losses.reconstruction(), x, epochs=2, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for index in torch.randperm(50, generator=generator).split(16):
            loss = (by_hand(x[index]).x_hat - x[index]).square().sum(dim=1).mean()
            grads = torch.autograd.grad(loss, list(by_hand.parameters()))
            for parameter, grad in zip(by_hand.parameters(), grads, strict=True):
                parameter.data -= 0.01 * grad
    pairs = zip(model.parameters(), by_hand.parameters(), strict=True)
    gap = max((a - b).abs().max().item() for a, b in pairs)
    assert gap < 1e-12, f"fit and the loop by hand end {gap:.1e} apart"


def check_resume(room) -> None:
    x, objective = draw(50), losses.reconstruction()
    whole, model = make(), make()
    with tempfile.TemporaryDirectory() as folder:
        options = {"lr": 0.01, "batch_size": 16}
        room.training.fit(whole, objective, x, epochs=4, **options)
        options["checkpoint"] = Path(folder, "run")
        room.training.fit(model, objective, x, epochs=2, **options)
        room.training.fit(model, objective, x, epochs=4, resume=True, **options)
    pairs = zip(whole.parameters(), model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "resuming is not one run"


CHECKS = {
    "terms": check_terms,
    "penalty": check_penalty,
    "biases": check_biases,
    "sparsity": check_sparsity,
    "target": check_target,
    "denoiser": check_denoiser,
    "test_time": check_test_time,
    "modes": check_modes,
    "mean": check_mean,
    "loop": check_loop,
    "resume": check_resume,
}


def verdicts(room) -> dict[str, str]:
    """The checks that reject some rooms, and the message of the assert that failed."""
    failed = {}
    for name, check in CHECKS.items():
        try:
            check(room)
        except AssertionError as error:
            failed[name] = str(error).splitlines()[0]
        except (RuntimeError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return failed


# Value against an outside oracle


def test_the_originals_pass_every_check():
    assert verdicts(rooms()) == {}
    real = {"losses": losses, "training": training, "checkpoint": checkpoint}
    assert verdicts(types.SimpleNamespace(**(vars(rooms()) | real))) == {}


# Error


def test_each_wrong_answer_is_rejected(show):
    rows = [f"{'mutant':34}" + "".join(f"{name:10}" for name in CHECKS) + "says"]
    survivors = []
    for name, (room, line, wrong, expected) in MUTANTS.items():
        failed = verdicts(rooms(room, line, wrong))
        marks = "".join(f"{'rejected' if c in failed else '.':10}" for c in CHECKS)
        rows.append(f"{name:34}{marks}{failed.get(expected.split()[0], 'nothing')}")
        if not set(expected.split()) <= set(failed):
            survivors.append(name)
    show("\n".join(rows))
    assert survivors == []
