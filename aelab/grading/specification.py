"""What a lecturer writes about a question, and the exams that are made from it.

A specification is a Python file, ``specs/01_pca.py``, beside the folder ``source``
of the notebooks. It holds ``QUESTIONS``, a dict from ids to `Question`, with an
independent reference in float64 for each. The notebook holds the solution; known
mistakes are edits of it.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import torch
from torch import Generator, Tensor

from aelab.grading.exam import Criterion, Exam, Strided, Trial, realise
from aelab.grading.judge import TOLERANCE, agrees
from aelab.grading.probe import GRADIENT, Answer, answer

Make = Callable[[Generator], tuple[Any, ...]]

# All roads to a derivative without a formula, but that of small differences.
AUTOGRAD = [
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.autograd.forward_ad.make_dual",
]


@dataclass(frozen=True)
class Marks:
    """What marks are given for, and on which cases.

    Parameters
    ----------
    name : str
        In a student's words: "ordinary clouds".
    points : float
        What it is worth.
    cases : list of str
        Of the question's cases; all of them must be right.
    hint : str
        Where to look if it fails; no solution.
    kind : str
        ``"values"``, ``"gradients"``, ``"draws"`` or ``"score"``.
    wrt : list of str
        Of gradients: the arguments they are taken by.
    law : callable, optional
        Of draws and scores: what stands in the place of the reference; of draws with
        `wrt`, it is that of the gradient of the results' sum by that argument.
    measure : str
        Of a score: one of ``judge.MEASURES``.
    bound : float
        Of a score: the largest that passes.
    tolerance : float
        Relative; 0 for what suits the dtype.
    """

    name: str
    points: float
    cases: list[str]
    hint: str = ""
    kind: str = "values"
    wrt: list[str] = field(default_factory=list)
    law: Callable[..., Any] | None = None
    measure: str = ""
    bound: float = 0.0
    tolerance: float = 0.0


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: an edit of the solution, or a function of its own.

    Parameters
    ----------
    name : str
        Short: "n for n - 1".
    marks : float
        What it is worth, as the criteria have it.
    says : str
        What one who makes it is told; empty for a mistake that is not recognised.
    edits : dict of str
        Pieces of the solution's text, each there once, and what stands there instead.
    function : callable, optional
        In the place of edits.
    """

    name: str
    marks: float
    says: str = ""
    edits: dict[str, str] = field(default_factory=dict)
    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Question:
    """All that is known about a question, the notebook's text aside.

    Parameters
    ----------
    title : str
        What it asks for.
    answer : str
        The name of the function in the notebook.
    signature, results : list of str
        What the function takes and returns, in order.
    cases : dict of callable
        From what is special about an input to a function of a generator that gives
        the arguments, as a tuple.
    reference : callable
        Gives the results in float64, by another way than the solution; of draws, mean
        and standard deviation; of a score, the truth. It gets the arguments, floating
        tensors in float64; of a score the generator, in the state the case got it.
    marks : list of Marks
        The criteria.
    mistakes : list of Mistake
        Known wrong answers.
    right : list of callable
        Different right answers.
    forbidden : list of str
        Names that may not be called; `AUTOGRAD`, where a gradient is the question.
    hidden : set of str
        Cases that are kept for marking.
    seconds : float
        The time for one trial.
    operation : bool
        Whether gradients have to come from one `torch.autograd.Function`.
    """

    title: str
    answer: str
    signature: list[str]
    results: list[str]
    cases: Mapping[str, Make]
    reference: Callable[..., Any]
    marks: list[Marks]
    mistakes: list[Mistake] = field(default_factory=list)
    right: list[Callable[..., Any]] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    seconds: float = 5.0
    operation: bool = False


@dataclass(frozen=True)
class Set:
    """The questions of one notebook, and its solutions.

    Parameters
    ----------
    stem : str
        Such as ``"01_pca"``.
    questions : dict of Question
        By their ids.
    sources : dict of (str, str)
        By the ids: the notebook's code that an answer needs, and its own cell.
    """

    stem: str
    questions: dict[str, Question]
    sources: dict[str, tuple[str, str]]

    def solution(
        self, question: str, edits: Mapping[str, str] | None = None
    ) -> Callable[..., Any]:
        """Return the notebook's answer, or an edited one.

        Parameters
        ----------
        question : str
            The id.
        edits : dict of str, optional
            Pieces of its text and what stands there instead.

        Returns
        -------
        callable

        Raises
        ------
        ValueError
            If a piece does not stand there exactly once.
        """
        head, own = self.sources[question]
        for old, new in (edits or {}).items():
            if own.count(old) != 1:
                raise ValueError(
                    f"{self.stem}, {question}: expected {old!r} once in the solution, "
                    f"but it is there {own.count(old)} times"
                )
            own = own.replace(old, new)
        room: dict[str, Any] = {"__name__": self.stem}
        exec(compile(head + own, f"<{self.stem} {question}>", "exec"), room)
        return room[self.questions[question].answer]

    def wrong(self, question: str, mistake: Mistake) -> Callable[..., Any]:
        """Return a known wrong answer.

        Parameters
        ----------
        question : str
            The id.
        mistake : Mistake
            One of the question's.

        Returns
        -------
        callable
        """
        return mistake.function or self.solution(question, mistake.edits)

    def exam(self, question: str, seed: int | str, *, public: bool = False) -> Exam:
        """Return a question with inputs drawn from a seed.

        Parameters
        ----------
        question : str
            The id.
        seed : int or str
            Any text: a lecturer's secret and a submission's digest, for marks.
        public : bool
            Without the cases that are kept for marking.

        Returns
        -------
        Exam
        """
        q = self.questions[question]
        wrong = {m.name: self.wrong(question, m) for m in q.mistakes if m.says}
        criteria = []
        for marks in q.marks:
            cases = [c for c in marks.cases if not (public and c in q.hidden)]
            trials = [_trial(q, marks, case, f"{question} {seed}") for case in cases]
            criteria.append(
                Criterion(
                    marks.name, marks.points, marks.kind, marks.hint, trials,
                    marks.tolerance, marks.bound,
                )
            )  # fmt: skip
        says = {m.name: m.says for m in q.mistakes if m.says}
        exam = Exam(
            question, q.title, q.signature, q.results, q.forbidden, q.seconds, says,
            criteria, q.operation,
        )  # fmt: skip
        for criterion in criteria:
            for trial in criterion.trials:
                for name, function in wrong.items():
                    found = answer(function, trial, exam)
                    if _tells(criterion, trial, found):
                        trial.known[name] = found.results
        return exam

    def exams(self, seed: int | str, *, public: bool = False) -> dict[str, Exam]:
        """Return all questions with inputs drawn from a seed.

        Parameters
        ----------
        seed : int or str
            As in `exam`.
        public : bool
            Without the cases that are kept for marking.

        Returns
        -------
        dict of Exam
        """
        return {name: self.exam(name, seed, public=public) for name in self.questions}


def load(path: Path) -> Set:
    """Return the questions of a specification, with the solutions of its notebook.

    Parameters
    ----------
    path : Path
        ``.../specs/<stem>.py``; the notebook is ``.../source/<stem>/<stem>.ipynb``.

    Returns
    -------
    Set

    Raises
    ------
    ValueError
        If a question has no solution in the notebook.
    """
    place = importlib.util.spec_from_file_location(f"specification_{path.stem}", path)
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    notebook = path.parents[1] / "source" / path.stem / f"{path.stem}.ipynb"
    cells = nbformat.read(notebook, as_version=4).cells
    questions: dict[str, Question] = module.QUESTIONS
    sources, before = {}, ""
    for cell in cells:
        mine = cell.metadata.get("nbgrader", {})
        solves = mine.get("solution") and not mine.get("grade")
        if cell.cell_type != "code" or not (solves or "needed" in _tags(cell)):
            continue
        for name, question in questions.items():
            if solves and f"def {question.answer}(" in cell.source:
                sources[name] = before, cell.source
        before += f"{cell.source}\n\n\n"
    if missing := sorted(questions.keys() - sources.keys()):
        raise ValueError(
            f"{notebook.name}: expected a solution cell with the answer of "
            f"{', '.join(missing)}, but there is none"
        )
    return Set(path.stem, questions, sources)


def _tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def _generator(text: str) -> Generator:
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def _trial(q: Question, marks: Marks, case: str, seed: str) -> Trial:
    """Return one call with inputs from a seed, and what it should give."""
    drawn = q.cases[case](_generator(f"{seed} {case}"))
    arguments = dict(zip(q.signature, drawn, strict=True))
    dtype = _dtype(arguments)
    exact = [_float64(realise(argument)) for argument in arguments.values()]
    if marks.kind == "score":
        truth = (marks.law or q.reference)(_generator(f"{seed} {case}"))
        return Trial(case, arguments, {marks.measure: truth}, dtype)
    if marks.kind == "draws":
        mean, std = (marks.law or q.reference)(*exact)
        ones = torch.ones(mean.shape, dtype=getattr(torch, dtype))
        cotangents = {name: ones for name in q.results if marks.wrt}
        return Trial(
            case, arguments, {"mean": mean, "std": std}, dtype, wrt=marks.wrt,
            cotangents=cotangents,
        )  # fmt: skip
    results = dict(zip(q.results, _several(q.reference(*exact)), strict=True))
    if marks.kind != "gradients":
        return Trial(case, arguments, results, dtype)
    generator = _generator(f"{seed} {case} cotangents")
    weights = {
        name: torch.randn(result.shape, generator=generator, dtype=torch.float64)
        for name, result in results.items()
    }
    cotangents = {n: w.to(getattr(torch, dtype)) for n, w in weights.items()}
    weights = {n: w.double() for n, w in cotangents.items()}
    places = [q.signature.index(name) for name in marks.wrt]
    gradients = {
        GRADIENT.format(q.signature[place]): _slopes(q, exact, place, weights)
        for place in places
    }
    return Trial(
        case, arguments, gradients, dtype, wrt=marks.wrt, cotangents=cotangents
    )


def _slopes(
    q: Question, exact: Sequence[Any], place: int, weights: Mapping[str, Tensor]
) -> Tensor:
    """Return a gradient by central differences of the reference, in float64."""

    def total(x: Tensor) -> Tensor:
        arguments = [*exact[:place], x, *exact[place + 1 :]]
        results = _several(q.reference(*arguments))
        pairs = zip(results, weights.values(), strict=True)
        return sum((w * r.double()).sum() for r, w in pairs)  # type: ignore[return-value]

    x = exact[place].clone()
    slopes = torch.zeros_like(x).flatten()
    for i in range(x.numel()):
        h = 1e-5 * max(1.0, abs(x.flatten()[i].item()))
        step = torch.zeros(x.numel(), dtype=torch.float64)
        step[i] = h
        step = step.reshape(x.shape)
        slopes[i] = (total(x + step) - total(x - step)) / (2 * h)
    return slopes.reshape(x.shape)


def _several(results: Any) -> list[Tensor]:
    several = results if isinstance(results, tuple | list) else [results]
    return [torch.as_tensor(result) for result in several]


def _float64(argument: Any) -> Any:
    if isinstance(argument, list):
        return [_float64(value) for value in argument]
    floating = isinstance(argument, Tensor) and argument.is_floating_point()
    return argument.double() if floating else argument


def _dtype(arguments: Mapping[str, Any]) -> str:
    """Return the dtype of the first floating tensor, which results should have."""
    for argument in arguments.values():
        value = argument.tensor if isinstance(argument, Strided) else argument
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, Tensor) and first.is_floating_point():
            return str(first.dtype).removeprefix("torch.")
    return "float32"


def _tells(criterion: Criterion, trial: Trial, found: Answer) -> bool:
    """Say whether a mistake's results can be told from right ones, and are numbers."""
    if found.problem or criterion.kind not in ("values", "gradients"):
        return False
    if all(result.isnan().all() for result in found.results.values()):
        return False
    tolerance = criterion.tolerance or TOLERANCE[trial.dtype]
    return not agrees(found.results, trial.expected, tolerance)
