"""aelab.grading.probe: a function tried in a process of its own."""

import ctypes
import os
import signal
import sys
import time
from dataclasses import replace

import pytest
import torch
from asked import ROWS, both, exam, trial
from torch.nn.functional import scaled_dot_product_attention as sdpa

from aelab import data, ops
from aelab.grading import probe
from aelab.grading.exam import Digits, Seed, Trial
from aelab.grading.probe import run
from aelab.grading.specification import AUTOGRAD
from aelab.models import PCA
from aelab.ops import reparam_kl as imported_before


def problem(function, asked=None):
    """Return what is told of a function that gives no results."""
    (answer,) = run(function, asked or exam(ROWS))
    assert (not answer.results) == bool(answer.problem)
    return answer.problem


def one(function, *arguments, forbidden=()):
    """Return the problem of a function of the arguments, with one result."""
    named = dict(zip("xyz", map(torch.tensor, arguments), strict=False))
    asked = exam(Trial("any", named, {"total": torch.zeros(()).double()}))
    return problem(
        function, replace(asked, results=["total"], forbidden=list(forbidden))
    )


# Shape and dtype


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]
)
def test_results_come_with_shape_and_dtype(dtype):
    (answer,) = run(lambda x, y: (x.to(dtype), y[:0].to(dtype)), exam(ROWS))
    assert answer.problem == ""
    assert [r.dtype for r in answer.results.values()] == [dtype] * 2
    assert [tuple(r.shape) for r in answer.results.values()] == [(2,), (0,)]


def test_python_numbers_take_the_dtype_that_is_asked_for():
    for dtype in ("float32", "float64"):
        asked = trial([1.0, 2.0], [3.0, 5.0], dtype=dtype)
        (answer,) = run(lambda x, y: (float(x.sum()), 3), exam(asked))
        assert answer.results["product"].dtype == getattr(torch, dtype)
        assert answer.results["product"].item() == 3


# Value against an outside oracle


def test_results_are_those_of_a_plain_call():
    generator = torch.Generator().manual_seed(0)
    trials = [trial(*torch.randn(2, n, generator=generator).tolist()) for n in (1, 50)]
    for answer, asked in zip(run(both, exam(*trials)), trials, strict=True):
        total, product = both(*asked.arguments.values())
        assert torch.equal(answer.results["total"], total)
        assert torch.equal(answer.results["product"], product)


def test_gradients_are_those_of_autograd():
    weights = {"total": torch.tensor([1.0, 2.0]), "product": torch.tensor([3.0, -1.0])}
    expected = {"the gradient by y": torch.zeros(2).double()}
    asked = Trial("any", ROWS.arguments, expected, wrt=["y"], cotangents=weights)
    (answer,) = run(both, exam(asked, kind="gradients"))
    x = ROWS.arguments["x"]  # d/dy of 1 (x + y) + 3 x y, and so on
    by_hand = weights["total"] + weights["product"] * x
    torch.testing.assert_close(answer.results["the gradient by y"], by_hand)


# Property


def test_a_crash_costs_its_own_trial_only():
    """Rejects: one process for all, which the first crash takes along."""

    def crashes(x, y):
        if len(x) == 2:
            os._exit(0)
        return both(x, y)

    asked = exam(trial([1.0], [1.0]), ROWS, trial([2.0, 2.0, 3.0], [1.0, 1.0, 1.0]))
    first, second, third = run(crashes, asked)
    assert "the process has died" in second.problem
    assert first.results["total"].tolist() == [2.0]
    assert third.results["total"].tolist() == [3.0, 3.0, 4.0]


def test_after_an_endless_trial_the_rest_is_not_tried():
    asked = replace(exam(ROWS, ROWS, ROWS), seconds=0.3)

    def loop(x, y):
        while True:
            pass

    begin = time.monotonic()
    first, *rest = run(loop, asked)
    assert "had not come to an end after 0.3 seconds" in first.problem
    assert all("was not tried" in answer.problem for answer in rest)
    assert time.monotonic() - begin < 30  # three times 0.3, were it not for the load


def test_nothing_is_left_of_a_child(capfd):
    """Rejects: processes and pipes that stay, and prints that get out."""
    descriptors = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

    def noisy(x, y):
        print("out of Python")
        os.write(1, b"out of C")
        sys.stderr.write("an error")
        return both(x, y)

    for _ in range(3):
        run(noisy, exam(ROWS))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_the_parent_keeps_its_state():
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def careless(x, y):
        torch.manual_seed(99)
        torch.set_num_threads(1)
        torch.add = None
        return both(x, y)

    run(careless, exam(ROWS))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.add is not None


def test_a_child_of_a_busy_parent_does_not_hang(threads):
    """Rejects: threads asked for that only the parent has."""
    threads(2)
    big = torch.randn(600, 600)
    (big @ big).exp().sum().item()  # the pool of threads is there

    def large(x, y):
        big = torch.randn(600, 600)
        return x + (big @ big).exp().sum() * 0, y

    assert problem(large) == ""


def test_without_fork_the_same_answers(monkeypatch):
    monkeypatch.delattr(os, "fork")
    (answer,) = run(both, exam(ROWS))
    assert answer.results["total"].tolist() == [4.0, 7.0]
    asked = exam(Trial("any", {"x": torch.ones(3, 2)}, {"total": torch.zeros(1)}))
    asked = replace(asked, results=["total"], forbidden=["aelab.models.PCA"])
    assert "calls aelab.models.PCA" in problem(lambda x: PCA(1).fit(x), asked)
    assert PCA(1).fit(torch.randn(9, 2)).components_.shape == (1, 2)  # as before


# Error


CASES = {
    "is not written yet": lambda x, y: (_ for _ in ()).throw(NotImplementedError()),
    "should return 2 results (total, product), but returns 1": lambda x, y: x,
    "None: has it a return?": lambda x, y: None,
    "total as a Tensor, but it is a numpy.ndarray": lambda x, y: (x.numpy(), y),
    "total as a Tensor, but it is a builtins.str": lambda x, y: ("0", y),
    "should leave product on the cpu; it is on meta": lambda x, y: (x, y.to("meta")),
    "as plain numbers, got torch.complex64": lambda x, y: (x, y + 0j),
    "changes its argument y": lambda x, y: (x, y.add_(1)),
    "raises ValueError: no such thing (line 1 of <lambda>)": lambda x, y: _raise(),
    "raises ZeroDivisionError: division by zero": lambda x, y: 1 / 0,
    "raises SystemExit": lambda x, y: sys.exit(3),
    "calls itself without an end": lambda x, y: _again(),
    "more than 64 MiB": lambda x, y: (x, torch.zeros(2**25)),
    "the process has died": lambda x, y: ctypes.string_at(0),
}


def _raise():
    raise ValueError("no such\nthing")


def _again():
    return _again()


@pytest.mark.parametrize("message", CASES)
def test_a_problem_is_told_in_one_line(message):
    told = problem(CASES[message])
    assert message.split(" (line")[0] in told
    assert "\n" not in told


def test_a_line_of_the_students_own_is_named():
    def divide(x, y):
        total = x + y
        return total, total / (1 // 0)

    assert problem(divide).endswith("(line 3 of divide)")


def test_detached_results_are_named():
    weights = {"total": torch.ones(2), "product": torch.ones(2)}
    expected = {"the gradient by x": torch.zeros(2).double()}
    asked = Trial("any", ROWS.arguments, expected, wrt=["x"], cotangents=weights)
    told = problem(lambda x, y: (x.detach(), y), exam(asked, kind="gradients"))
    assert "something was detached" in told
    told = problem(lambda x, y: (x[:1], y), exam(asked, kind="gradients"))
    assert "should give total the shape (2,), but it has (1,)" in told


NAMES = ("aelab.models.PCA", "aelab.ops.reparam_kl")


def _swallows(x):
    try:
        return PCA(1).fit(x).components_
    except Exception:
        return x


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("aelab.models.PCA", lambda x: PCA(1).fit(x).components_),
        ("aelab.models.PCA", _swallows),
        ("aelab.ops.reparam_kl", lambda x: ops.reparam_kl(x, x, x)[0]),
        ("aelab.ops.reparam_kl", lambda x: imported_before(x, x, x)[0]),
    ],
)
def test_what_is_asked_for_may_not_be_called(name, function):
    """Rejects: a name that is stopped in its room only, and not where it went."""
    rows = [[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]
    assert f"calls {name}" in one(function, rows, forbidden=NAMES)
    assert one(function, rows) == ""


SQUARES = [
    lambda x: torch.func.grad(lambda x: x.square().sum())(x),
    lambda x: torch.func.jacfwd(lambda x: x.square().sum())(x),
    lambda x: torch.autograd.functional.jacobian(lambda x: x.square().sum(), x),
    lambda x: _by_backward(x.clone().requires_grad_()),
    lambda x: another_name(x.requires_grad_().square().sum(), x)[0],
]
another_name = torch.autograd.grad


def _by_backward(x):
    x.square().sum().backward()
    return x.grad


@pytest.mark.parametrize("function", SQUARES)
def test_no_public_road_to_a_derivative_is_open(function):
    """Rejects: one name that is stopped, and others that lead to the same place."""
    told = one(function, [1.0, 2.0], forbidden=AUTOGRAD)
    assert "calls torch.autograd." in told
    x = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(function(x.clone()), 2 * x)  # open again
    assert one(lambda x: 2 * x, [1.0], forbidden=AUTOGRAD) == ""


def test_what_torch_has_in_cpp_can_be_forbidden():
    """Rejects: a name in its room only, where it was imported before."""
    name = "torch.nn.functional.scaled_dot_product_attention"

    def attend(x):
        return sdpa(x, x, x)

    assert f"calls {name}" in one(attend, [[1.0, 2.0]], forbidden=[name])
    assert one(attend, [[1.0, 2.0]]) == ""


class Both(torch.autograd.Function):
    """Sum and product, with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x, y):
        """Return both."""
        ctx.save_for_backward(x, y)
        return both(x, y)

    @staticmethod
    def backward(ctx, to_total, to_product):
        """Return two gradients."""
        x, y = ctx.saved_tensors
        return to_total + to_product * y, to_total + to_product * x


@pytest.mark.parametrize(
    ("function", "fine"),
    [
        (Both.apply, True),
        (both, False),
        (lambda x, y: Both.apply(x.double(), y.double()), False),
        (lambda x, y: (Both.apply(x, y)[0], Both.apply(x, y)[1]), False),
    ],
)
def test_an_operation_may_be_asked_for(function, fine):
    """Rejects: a backward pass that is PyTorch's, in whole or in part."""
    weights = {"total": torch.ones(2), "product": torch.ones(2)}
    expected = {"the gradient by x": torch.zeros(2).double()}
    asked = Trial("any", ROWS.arguments, expected, wrt=["x", "y"], cotangents=weights)
    asked = exam(asked, kind="gradients")
    strict = replace(asked, operation=True, forbidden=AUTOGRAD)
    told = problem(function, strict)
    assert ("leaves the backward pass to PyTorch" in told) is not fine
    assert (told == "") is fine
    assert problem(function, asked) == ""
    assert "leaves the" in problem(lambda x, y: torch.aminmax(x), strict)


@pytest.mark.skipif(ops._C is None, reason="runs without the extension")
def test_the_operator_itself_may_not_be_called():
    def direct(x):
        return torch.ops.aelab.reparam_kl(x, x, x)[0]

    told = one(direct, [[1.0, 2.0]], forbidden=NAMES)
    assert "calls torch.ops.aelab.reparam_kl" in told


def test_what_torch_has_not_written_is_told_from_what_a_student_has_not():
    """Rejects: "not written yet", said to one who called something of torch."""

    def fill_me_in(x):
        raise NotImplementedError

    assert "is not written yet" in one(fill_me_in, [1.0])
    told = one(lambda x: torch.distributions.Distribution().rsample(), [1.0])
    assert "raises NotImplementedError" in told


def test_draws_come_from_the_generator_that_was_given():
    """Rejects: noise of the global generator, and of one that is seeded each time."""
    law = {"mean": torch.zeros(4, 2).double(), "std": torch.ones(4, 2).double()}
    asked = exam(Trial("any", {"g": Seed(1)}, law), kind="draws")
    asked = replace(asked, results=["z"])
    assert problem(lambda g: torch.randn(4, 2, generator=g), asked) == ""
    for stray in (
        lambda g: torch.randn(4, 2),
        lambda g: torch.randn(4, 2, generator=torch.Generator().manual_seed(0)),
    ):
        assert "does not draw from its argument g" in problem(stray, asked)


def test_digits_are_loaded_before_the_clock_starts(monkeypatch):
    """Rejects: a slow disk that is taken for an endless loop."""
    loaded, images = [], data.images
    monkeypatch.setattr(data, "images", lambda name: loaded.append(1) or images(name))
    asked = Trial(
        "any", {"x": Digits("train", 0, 2)}, {"total": torch.ones(()).double()}
    )
    assert problem(lambda x: x.sum(), replace(exam(asked), results=["total"])) == ""
    assert loaded  # here, and not only in the child


def test_an_interrupt_ends_the_child(monkeypatch):
    """Rejects: a child that goes on when the student has stopped the cell."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "_frames", stop)
    with pytest.raises(KeyboardInterrupt):
        run(lambda x, y: signal.pause(), exam(ROWS))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("sent", [b"nonsense", b"\x08" * 16, b"\xff" * 40, b""])
def test_what_a_function_sends_itself_is_no_answer(sent):
    """Rejects: bytes that a function wrote into the pipe taken for results."""

    def forge(x, y):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, sent)
            except OSError:
                continue
        os._exit(0)

    assert "the process has died" in problem(forge)


def test_a_forged_header_cannot_ask_for_memory():
    header = b'{"problem": "", "results": {"total": ["torch.float32", "<f4", [9]]}}'
    with pytest.raises(ValueError, match="cannot reshape"):
        probe._received(header, b"")
    with pytest.raises(ValueError, match="expected numbers"):
        probe._received(header.replace(b"<f4", b"|O8"), b"")
