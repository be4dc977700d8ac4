"""Results compared with what was expected: marks, and what a student is told."""

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aelab.grading.exam import Criterion, Exam, Trial
from aelab.grading.probe import Answer

TOLERANCE = {"float64": 1e-8, "float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}
RARE = 1e-7  # a right answer fails a test of randomness this often


@dataclass(frozen=True)
class Row:
    """What became of one criterion.

    Parameters
    ----------
    name : str
        The criterion.
    points, earned : float
        What it is worth, and what it gave.
    passed : bool or None
        None if it is not judged here.
    message : str
        What is wrong, as far as the results tell.
    known : str
        What is said to one who makes this mistake, if it is a known one.
    hint : str
        Where to look.
    shown : dict of Tensor
        Expected and got, where a picture of them helps.
    """

    name: str
    points: float
    earned: float
    passed: bool | None
    message: str = ""
    known: str = ""
    hint: str = ""
    shown: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What became of a question.

    Parameters
    ----------
    question, title : str
        What was asked.
    rows : list of Row
        One a criterion.
    """

    question: str
    title: str
    rows: list[Row]

    @property
    def earned(self) -> float:
        """The marks."""
        return sum(row.earned for row in self.rows)

    @property
    def points(self) -> float:
        """The marks that could be had here."""
        return sum(row.points for row in self.rows if row.passed is not None)

    def __bool__(self) -> bool:
        return all(row.passed is not False for row in self.rows)

    def __repr__(self) -> str:
        return f"{self.question}: {self.earned:g} of {self.points:g} points"

    def table(self) -> str:
        """Return what a student reads: a line for each criterion, and what is wrong.

        Returns
        -------
        str
            Lines of at most 88 characters.
        """
        words = {True: "passed", False: "FAILED", None: "later "}
        lines, said = [f"{self!r}. {self.title}"], set[str]()
        for row in self.rows:
            marks = f"{row.earned:g} of {row.points:g}"
            if row.passed is None:
                marks = f"{row.points:g}, with cases that are kept for marking"
            lines.append(f"  {words[row.passed]}  {row.name}: {marks}")
            hint = row.hint and f"Hint: {row.hint}"
            told = [] if row.known in said else [row.known]
            said |= {row.known} - {""}
            for text in filter(None, [row.message, *told, "" if row.known else hint]):
                lines += textwrap.wrap(
                    text, 88, initial_indent=" " * 10, subsequent_indent=" " * 10
                )
        return "\n".join(lines)


def judge(exam: Exam, answers: list[Answer]) -> Verdict:
    """Return the marks of a function's answers, and what to tell.

    Parameters
    ----------
    exam : Exam
        The question.
    answers : list of Answer
        One for each trial, in the order of the criteria and their trials.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        If there is not one answer for each trial.
    """
    wanted = sum(len(criterion.trials) for criterion in exam.criteria)
    if wanted != len(answers):
        raise ValueError(
            f"judge: expected {wanted} answers, one a trial, but got {len(answers)}"
        )
    rest = iter(answers)
    found = [[(trial, next(rest)) for trial in c.trials] for c in exam.criteria]
    tried = list(zip(exam.criteria, found, strict=True))
    refuted = {
        name
        for criterion, cases in tried
        for trial, answer in cases
        for name, results in trial.known.items()
        if not answer.problem
        and not agrees(answer.results, results, _tolerance(criterion, trial))
    }
    says = {name: told for name, told in exam.says.items() if name not in refuted}
    rows = [_row(criterion, cases, says) for criterion, cases in tried]
    return Verdict(exam.question, exam.title, rows)


def _row(
    criterion: Criterion, found: list[tuple[Trial, Answer]], says: dict[str, str]
) -> Row:
    if not found:
        return Row(criterion.name, criterion.points, 0.0, None)
    compare = KINDS[criterion.kind]
    wrong = [
        (trial, answer, message)
        for trial, answer in found
        if (message := answer.problem or compare(criterion, trial, answer.results))
    ]
    if not wrong:
        trial, answer = found[0]
        score = criterion.kind == "score"
        told = _standing(criterion, trial, answer.results) if score else ""
        return Row(criterion.name, criterion.points, criterion.points, True, told)
    trial, answer, message = wrong[0]
    if answer.problem:
        message = f"your function {message}"
    where = f"{trial.case}: " if len(found) > 1 else ""
    more = f" ({len(wrong)} of {len(found)} cases fail)" if wrong[1:] else ""
    known = "" if answer.problem else _recognised(wrong, says)
    exact = answer.problem and not answer.problem.startswith("raises")
    text = f"{where}{message}{more}"
    return Row(
        criterion.name,
        criterion.points,
        0.0,
        False,
        text if text[-1] in ".?" else f"{text}.",
        known,
        "" if exact else criterion.hint,
        _picture(trial, answer.results) if criterion.kind == "values" else {},
    )


def _recognised(wrong: list[tuple[Trial, Answer, str]], says: dict[str, str]) -> str:
    """Return what is said to one whose results are those of a known mistake."""
    seen = [trial.known for trial, answer, _ in wrong if not answer.problem]
    fits = {name: sum(name in known for known in seen) for name in says}
    best = max(fits, key=lambda name: fits[name], default="")
    return says[best] if best and fits[best] else ""


def _tolerance(criterion: Criterion, trial: Trial) -> float:
    return criterion.tolerance or TOLERANCE[trial.dtype]


def _off(got: Tensor, expected: Tensor, tolerance: float) -> Tensor:
    """Say of each number whether it is wrong; `expected` sets the scale."""
    got, expected = got.double(), expected.double()
    finite = expected[expected.isfinite()].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    near = (got - expected).abs() <= tolerance * (expected.abs() + scale)
    near &= expected.isfinite()  # infinity is not near to anything
    return ~(near | (got == expected) | (got.isnan() & expected.isnan()))


def agrees(
    got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float
) -> bool:
    """Say whether results are those that are expected.

    Parameters
    ----------
    got, expected : dict of Tensor
        By the names of the results; `expected` sets the scale.
    tolerance : float
        Relative to each number and to the largest one.

    Returns
    -------
    bool
    """
    return got.keys() == expected.keys() and all(
        got[name].shape == expected[name].shape
        and not _off(got[name], expected[name], tolerance).any()
        for name in expected
    )


def _values(criterion: Criterion, trial: Trial, results: dict[str, Tensor]) -> str:
    """Return what is wrong with values, or nothing."""
    tolerance = _tolerance(criterion, trial)
    for name, expected in trial.expected.items():
        got = results[name]
        if got.shape != expected.shape:
            shape, wanted = tuple(got.shape), tuple(expected.shape)
            return f"{name} should have the shape {wanted}, but has {shape}"
        whole = not expected.is_floating_point()
        dtype = str(expected.dtype if whole else trial.dtype).removeprefix("torch.")
        plain = whole and got.dtype == torch.float64 and got.ndim == 0  # of Python
        if str(got.dtype) != f"torch.{dtype}" and not plain:
            return f"{name} should be {dtype}, as the input is, but is {got.dtype}"
        off = _off(got, expected, tolerance)
        if off.any():
            return _difference(name, got, expected, off)
    return ""


def _difference(name: str, got: Tensor, expected: Tensor, off: Tensor) -> str:
    first = tuple(off.nonzero()[0].tolist())
    place = f"[{', '.join(map(str, first))}]" if first else ""
    bad = got[off].double()
    kinds = [
        f"{int(count)} {kind}"
        for kind, count in (("NaN", bad.isnan().sum()), ("infinite", bad.isinf().sum()))
        if count
    ]
    told = f" ({', '.join(kinds)})" if kinds else ""
    pair = got[first].item(), expected[first].item() + 0.0  # no -0
    digits = 6 if f"{pair[0]:.6g}" != f"{pair[1]:.6g}" else 12
    return (
        f"{int(off.sum())} of {off.numel()} numbers of {name} differ{told}: "
        f"{name}{place} is {pair[0]:.{digits}g}, should be {pair[1]:.{digits}g}"
    )


def _draws(criterion: Criterion, trial: Trial, results: dict[str, Tensor]) -> str:
    """Return what is wrong with draws from N(mean, std^2), or nothing."""
    from scipy import stats  # here, since it takes a while

    (name, z), *_ = results.items()
    mean, std = trial.expected["mean"], trial.expected["std"]
    if z.shape != mean.shape:
        shape, wanted = tuple(z.shape), tuple(mean.shape)
        return f"{name} should have the shape {wanted}, but has {shape}"
    if not z.isfinite().all():
        return f"{int((~z.isfinite()).sum())} of {z.numel()} numbers are not finite"
    eps = (z.double() - mean) / std  # (n, d): standard normal, if all is right
    spread = eps.std().item()
    for which, dim in (("rows", 0), ("columns", 1)):
        means = (eps.mean(dim=dim) - eps.mean()) / (spread or 1.0)
        total = eps.shape[dim] * means.square().sum().item()  # chi-squared, if so
        if stats.chi2(len(means) - 1).sf(total) < RARE:
            return f"the {which} of {name} are not independent of each other"
    if stats.kstest(eps.flatten().numpy(), "norm").pvalue < RARE:
        return (
            f"({name} - mean) / std should be standard normal; it has mean "
            f"{eps.mean().item():.2f}, standard deviation {spread:.2f}, and values "
            f"from {eps.min().item():.2f} to {eps.max().item():.2f}"
        )
    return ""


def _score(criterion: Criterion, trial: Trial, results: dict[str, Tensor]) -> str:
    """Return by how much a score is missed, or nothing."""
    ((name, got),) = results.items()
    ((measure, truth),) = trial.expected.items()
    wanted = tuple(truth.shape)
    if measure == "surprise in bits":  # a row of probabilities for each symbol
        wanted += tuple(got.shape[-1:])
    if tuple(got.shape) != wanted:
        return f"{name} should have the shape {wanted}, but has {tuple(got.shape)}"
    if not got.double().isfinite().all():
        return f"{int((~got.isfinite()).sum())} numbers of {name} are not finite"
    try:
        score = MEASURES[measure](got.double(), truth)
    except ValueError as error:
        return f"{name} {error}"
    if score <= criterion.bound:
        return ""
    return _standing(criterion, trial, results)


def _standing(criterion: Criterion, trial: Trial, results: dict[str, Tensor]) -> str:
    (got,) = results.values()
    ((measure, truth),) = trial.expected.items()
    score = MEASURES[measure](got.double(), truth)
    never = " (what did come had the probability 0)" if score == math.inf else ""
    target = f"the target is {criterion.bound:g} or less"
    return f"the {measure} is {score:.4g}{never}; {target}"


def _bits(probabilities: Tensor, truth: Tensor) -> float:
    total = probabilities.sum(dim=-1)
    if (probabilities < 0).any():
        raise ValueError("should hold probabilities, but some are below 0")
    if (total - 1).abs().max() > 1e-3:
        raise ValueError("should hold probabilities: rows that sum to 1")
    if truth.numel() and truth.max() >= probabilities.shape[-1]:
        raise ValueError(
            f"has {probabilities.shape[-1]} columns; there are more symbols"
        )
    right = probabilities.gather(-1, truth.long()[..., None])
    return -right.log2().mean().item()


# What a score measures, of what was given and the truth: the smaller the better.
MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "mean squared error": lambda got, truth: (got - truth).square().mean().item(),
    "share of wrong labels": lambda got, truth: (got != truth).double().mean().item(),
    "surprise in bits": _bits,
    "change of what was known": lambda got, truth: (
        (got - truth)[truth.isfinite()].abs().max().item()
    ),
}
KINDS = {"values": _values, "gradients": _values, "draws": _draws, "score": _score}


def _picture(trial: Trial, results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return expected and got, if a picture of them shows where they differ."""
    for name, expected in trial.expected.items():
        got = results.get(name)
        flat = expected.ndim == 2 and min(expected.shape) > 1 and expected.numel() > 8
        if got is not None and got.shape == expected.shape and flat:
            pair = {"expected": expected.double(), "got": got.double()}
            if all(tensor.isfinite().all() for tensor in pair.values()):
                return pair
    return {}
