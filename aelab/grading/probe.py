"""A function tried on the trials of an exam, in a process of its own.

A function under trial may crash, run for ever, print, change its arguments, or call
what it is asked to write. All of that stays in the process that tries it, which sends
back numbers and one line of text: nothing that it wrote is executed or unpickled.
"""

import importlib
import inspect
import io
import json
import math
import os
import select
import signal
import struct
import sys
import textwrap
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from aelab.grading.exam import Exam, Seed, Trial, realise

GRADIENT = "the gradient by {}"  # the name of such a result
LARGEST = 2**26  # bytes that one answer may have


class Forbidden(Exception):
    """Something was called that the question asks for."""


@dataclass(frozen=True)
class Answer:
    """What a function gave in one trial.

    Parameters
    ----------
    results : dict of Tensor
        By the names of the results; empty if there is a problem.
    problem : str
        What went wrong before there were results, as a sentence; else empty.
    """

    results: dict[str, Tensor]
    problem: str = ""


def run(function: Callable[..., Any], exam: Exam) -> list[Answer]:
    """Return the answers of a function to all trials of an exam, in their order.

    Parameters
    ----------
    function : callable
        What a student has written.
    exam : Exam
        The question.

    Returns
    -------
    list of Answer
        One a trial. After a trial that did not return in time the rest is not tried.
    """
    trials = [trial for criterion in exam.criteria for trial in criterion.trials]
    if not hasattr(os, "fork"):
        return [answer(function, trial, exam) for trial in trials]
    with _Watch([]):
        torch.zeros(1)  # the first use imports for a second: here, and in no child
    for trial in trials:
        realise(list(trial.arguments.values()))  # likewise, what is loaded once
    answers: list[Answer] = []
    while len(answers) < len(trials):
        answers += _in_child(function, trials[len(answers) :], exam)
        if answers[-1].problem.startswith(_LATE):
            rest = Answer({}, "was not tried: another case had not come to an end")
            answers += [rest] * (len(trials) - len(answers))
    return answers


def answer(function: Callable[..., Any], trial: Trial, exam: Exam) -> Answer:
    """Return what a function gives in one trial, tried in this process.

    Parameters
    ----------
    function : callable
        What is tried.
    trial : Trial
        Its arguments.
    exam : Exam
        The names of the results, and those that may not be called.

    Returns
    -------
    Answer
    """
    arguments = {name: realise(a) for name, a in trial.arguments.items()}
    before = {name: realise(a) for name, a in trial.arguments.items()}
    leaves = [arguments[name].requires_grad_() for name in trial.wrt]
    called: list[str] = []
    try:
        with warnings.catch_warnings(), blocked(exam.forbidden, called):
            warnings.simplefilter("ignore")
            results = _named(function(*arguments.values()), exam.results, trial)
            if trial.wrt:
                if exam.operation and not _is_one_operation(results):
                    raise _Wrong(
                        "leaves the backward pass to PyTorch: its results should "
                        "come from one torch.autograd.Function, of its arguments"
                    )
                results = _gradients(results, trial, leaves)
    except Forbidden:
        pass
    except _Wrong as wrong:
        return Answer({}, str(wrong))
    except NotImplementedError as error:
        if _raised_in(error).startswith(os.path.dirname(torch.__file__)):
            return Answer({}, _raised(error, function))
        return Answer({}, "is not written yet (NotImplementedError)")
    except RecursionError:
        return Answer({}, "calls itself without an end (RecursionError)")
    except (Exception, SystemExit) as error:
        return Answer({}, _raised(error, function))
    if called:
        return Answer({}, f"calls {called[0]}, and the question is to write it")
    seeds = [n for n, a in trial.arguments.items() if isinstance(a, Seed)]
    if "std" in trial.expected and any(
        torch.equal(arguments[n].get_state(), before[n].get_state()) for n in seeds
    ):
        return Answer({}, f"does not draw from its argument {seeds[0]}")
    changed = [n for n, a in arguments.items() if _differ(a, before[n])]
    if changed:
        return Answer({}, f"changes its argument {changed[0]}: work on a copy of it")
    return Answer({name: result.detach().cpu() for name, result in results.items()})


class _Wrong(Exception):
    """Results that cannot be compared at all."""


def _named(got: Any, names: list[str], trial: Trial) -> dict[str, Tensor]:
    """Return what came, by the names of the results."""
    several = got if isinstance(got, tuple | list) else [got]
    if len(several) != len(names):
        what = "None: has it a return?" if got is None else f"{len(several)}"
        what = f"a list of {len(several)}" if isinstance(got, list) else what
        raise _Wrong(f"should return {_count(names)}, but returns {what}")
    results = {}
    for name, result in zip(names, several, strict=True):
        if isinstance(result, bool | int | float):  # as good as a tensor
            expected = trial.expected.get(name, torch.zeros(()))
            floating = expected.is_floating_point()
            kind = getattr(torch, trial.dtype) if floating else torch.float64
            result = torch.tensor(result, dtype=kind)
        if not isinstance(result, Tensor):
            kind = f"{type(result).__module__}.{type(result).__name__}"
            raise _Wrong(f"should return {name} as a Tensor, but it is a {kind}")
        if result.device.type != "cpu":
            raise _Wrong(f"should leave {name} on the cpu; it is on {result.device}")
        if result.is_sparse or result.is_complex() or result.is_quantized:
            raise _Wrong(f"should return {name} as plain numbers, got {result.dtype}")
        results[name] = result
    return results


def _count(names: list[str]) -> str:
    one = "one result" if len(names) == 1 else f"{len(names)} results"
    return f"{one} ({', '.join(names)})"


def _gradients(
    results: dict[str, Tensor], trial: Trial, leaves: list[Tensor]
) -> dict[str, Tensor]:
    """Return the gradients of a weighted sum of the results."""
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in trial.cotangents.items():
        if results[name].shape != weight.shape:
            shape, wanted = tuple(results[name].shape), tuple(weight.shape)
            raise _Wrong(f"should give {name} the shape {wanted}, but it has {shape}")
        total = total + (results[name] * weight).sum()
    if not total.requires_grad:
        raise _Wrong("gives results without gradients: something was detached")
    found = _grad(total, leaves, allow_unused=True)
    zeros = [torch.zeros_like(leaf) if g is None else g
             for leaf, g in zip(leaves, found, strict=True)]  # fmt: skip
    return dict(zip(map(GRADIENT.format, trial.wrt), zeros, strict=True))


# A copy, which goes on when torch.autograd.grad itself is stopped.
_its: Any = torch.autograd.grad
_grad = types.FunctionType(_its.__code__, _its.__globals__, argdefs=_its.__defaults__)


def _is_one_operation(results: dict[str, Tensor]) -> bool:
    """Say whether all results come from one Function, straight from the leaves."""
    nodes = [result.grad_fn for result in results.values()]
    return (
        isinstance(nodes[0], BackwardCFunction)
        and all(node is nodes[0] for node in nodes)
        and all(
            node is None or node.name() == "torch::autograd::AccumulateGrad"
            for node, _ in nodes[0].next_functions
        )
    )


def _differ(after: Any, before: Any) -> bool:
    if not isinstance(after, Tensor):
        return isinstance(after, list) and any(map(_differ, after, before))
    if after.shape != before.shape or after.dtype != before.dtype:
        return True
    same = (after == before) | ((after != after) & (before != before))
    return not bool(same.all())


def _raised_in(error: BaseException) -> str:
    """Return the file whose code has raised."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_filename


def _raised(error: BaseException, function: Callable[..., Any]) -> str:
    """Tell what was raised, and in which line of the function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if code is not None and frame.f_code.co_filename == code.co_filename:
            name = frame.f_code.co_name
            place = f" (line {line - frame.f_code.co_firstlineno + 1} of {name})"
    text = textwrap.shorten(str(error), 200, placeholder=" ...")
    return f"raises {type(error).__name__}: {text}{place}"


class _Builtins(TorchFunctionMode):
    """Stops functions of torch that are not written in Python."""

    def __init__(self, stops: dict[Any, Callable[..., None]]) -> None:
        super().__init__()
        self.stops = stops

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Stop those, and let the others pass."""
        return self.stops.get(func, func)(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):
    """Sees every operator, and stops those of aelab."""

    def __init__(self, called: list[str]) -> None:
        super().__init__()
        self.called = called

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Stop an operator of aelab, and let the others pass."""
        if func.namespace == "aelab":
            self.called.append(f"torch.ops.{func}")
            raise Forbidden
        return func(*args, **(kwargs or {}))


@contextmanager
def blocked(names: list[str], called: list[str]) -> Iterator[None]:
    """Let some names raise, by whatever way they are called.

    A function keeps its identity and gets another body, so that a name that was
    imported before is stopped as well.

    Parameters
    ----------
    names : list of str
        Functions and classes, such as ``"aelab.models.PCA"``.
    called : list of str
        Those that have been called are added here.

    Returns
    -------
    context manager

    Raises
    ------
    TypeError
        If a name stands for something else.
    """
    builtins: dict[Any, Callable[..., None]] = {}
    with ExitStack() as undo:
        for name in names:
            room, _, member = name.rpartition(".")
            target = getattr(importlib.import_module(room), member)
            stop = _stopper(name, called)
            if isinstance(target, type):
                undo.callback(setattr, target, "__init__", target.__init__)  # type: ignore[misc]
                target.__init__ = stop  # type: ignore[misc]
            elif isinstance(target, types.FunctionType):
                undo.callback(setattr, target, "__code__", target.__code__)
                body = f"def stop(*_, **__): __import__({__name__!r})"
                where: dict[str, Any] = {}
                exec(f"{body}.grading.probe._STOPS[{name!r}]()", where)
                _STOPS[name] = stop
                target.__code__ = where["stop"].__code__
            elif isinstance(target, types.BuiltinFunctionType):
                builtins[target] = stop
            else:
                raise TypeError(f"{name}: expected a function or class, got {target!r}")
        if any(name.startswith("aelab.ops") for name in names):
            undo.enter_context(_Watch(called))
        if builtins:
            undo.enter_context(_Builtins(builtins))
        yield


_STOPS: dict[str, Callable[..., None]] = {}  # by name, what takes a function's place


def _stopper(name: str, called: list[str]) -> Callable[..., None]:
    def stop(*args: Any, **kwargs: Any) -> None:
        called.append(name)
        raise Forbidden

    return stop


_LATE = "had not come to an end"
_WHY = "does a loop go on, or is it too much work?"


def _in_child(
    function: Callable[..., Any], trials: list[Trial], exam: Exam
) -> list[Answer]:
    """Return the answers to the first trials, one at least."""
    receive, send = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = os.fork()
    if child == 0:
        os.close(receive)
        _try_all(function, trials, exam, send)
    os.close(send)
    answers: list[Answer] = []
    try:
        for found in _frames(receive, exam.seconds):
            answers.append(found)
            if len(answers) == len(trials):
                break
        if not answers or (
            len(answers) < len(trials) and not answers[-1].problem.startswith(_LATE)
        ):
            answers.append(Answer({}, "brings Python down: the process has died"))
    finally:
        os.close(receive)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answers


def _try_all(
    function: Callable[..., Any], trials: list[Trial], exam: Exam, send: int
) -> None:
    """Answer the trials, send each answer, and end this process."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        os.closerange(3, send)  # what the parent has open is none of its business
        os.closerange(send + 1, send + 4096)
        sys.stdin, sys.stdout, sys.stderr = (io.StringIO() for _ in range(3))
        torch.set_num_threads(1)  # the threads of the parent are not here
        for trial in trials:
            torch.manual_seed(0)
            _send(send, answer(function, trial, exam))
    finally:
        os._exit(0)


def _send(pipe: int, found: Answer) -> None:
    """Write an answer: two lengths, a line of JSON, and the numbers as they are."""
    arrays = {name: _portable(result) for name, result in found.results.items()}
    if sum(array.nbytes for array in arrays.values()) > LARGEST:
        found, arrays = Answer({}, f"returns more than {LARGEST >> 20} MiB"), {}
    header = {
        "problem": found.problem,
        "results": {
            name: [str(found.results[name].dtype), array.dtype.str, array.shape]
            for name, array in arrays.items()
        },
    }
    line = json.dumps(header).encode()
    raw = b"".join(array.tobytes() for array in arrays.values())
    rest = memoryview(struct.pack("<QQ", len(line), len(raw)) + line + raw)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _portable(result: Tensor) -> np.ndarray:
    narrow = result.dtype in (torch.bfloat16, torch.float16)
    return (result.float() if narrow else result).contiguous().numpy()


def _frames(pipe: int, seconds: float) -> Iterator[Answer]:
    """Read answers until the pipe is closed, or one is late."""
    while True:
        deadline = time.monotonic() + seconds
        try:
            head = _take(pipe, 16, deadline)
            if len(head) < 16:
                return
            sizes = struct.unpack("<QQ", head)
            if max(sizes) > LARGEST:
                return
            line, raw = (_take(pipe, size, deadline) for size in sizes)
            yield _received(line, raw)
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # not sent by us
        except TimeoutError:
            yield Answer({}, f"{_LATE} after {seconds:g} seconds: {_WHY}")
            return


def _take(pipe: int, size: int, deadline: float) -> bytes:
    got = bytearray()
    while len(got) < size:
        ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        more = os.read(pipe, min(size - len(got), 1 << 16))
        if not more:
            break
        got += more
    return bytes(got)


def _received(line: bytes, raw: bytes) -> Answer:
    header, start, results = json.loads(line), 0, {}
    for name, (dtype, stored, shape) in header["results"].items():
        kind = np.dtype(stored)
        if kind.hasobject:
            raise ValueError(f"{name}: expected numbers, but got {stored}")
        size = kind.itemsize * math.prod(shape)
        array = np.frombuffer(raw[start : start + size], dtype=kind).reshape(shape)
        tensor = torch.from_numpy(array.copy())
        results[name] = tensor.to(getattr(torch, dtype.removeprefix("torch.")))
        start += size
    return Answer(results, header["problem"])
