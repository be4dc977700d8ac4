"""An exam as data: what is put to a function, and what a right one gives back.

An exam holds no program, so it can be handed out: no solution stands in it. It is made
from a specification and a seed. Students get the exams of one seed and of some cases,
marks come from the exams of other seeds and of all cases.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seed:
    """An argument that arrives as a `torch.Generator` with this seed.

    Parameters
    ----------
    seed : int
        From 0.
    """

    seed: int


@dataclass(frozen=True)
class Digits:
    """An argument that arrives as pictures of the digits that come with scikit-learn.

    Parameters
    ----------
    part : str
        ``"train"`` or ``"test"``.
    first, last : int
        Which of them: `first` included, `last` not.
    what : str
        ``"x"``, pictures of shape (n, 64) with intensities in [0, 1], or ``"y"``.
    flip : int
        Of pictures: 1 turns them upside down, 2 exchanges left and right.
    """

    part: str
    first: int
    last: int
    what: str = "x"
    flip: int = 0


@dataclass(frozen=True)
class Strided:
    """An argument that arrives as a tensor whose memory has gaps.

    Parameters
    ----------
    tensor : Tensor
        Its values.
    """

    tensor: Tensor


def realise(argument: Any) -> Any:
    """Return an argument as a function receives it, a fresh one at each call.

    Parameters
    ----------
    argument : Tensor, Seed, Digits, Strided, number, str or list
        As it stands in a trial.

    Returns
    -------
    object
        A copy of a tensor or list, a generator, pictures; other things as they are.
    """
    if isinstance(argument, Tensor):
        return argument.clone()
    if isinstance(argument, Strided):
        return torch.stack([argument.tensor] * 2, dim=-1)[..., 0]
    if isinstance(argument, Seed):
        return torch.Generator().manual_seed(argument.seed)
    if isinstance(argument, Digits):
        from aelab import data

        train, test = data.images("digits")
        images = {"train": train, "test": test}[argument.part]
        found = getattr(images, argument.what)[argument.first : argument.last]
        return flipped(found, argument.flip) if argument.flip else found.clone()
    if isinstance(argument, list):
        return [realise(value) for value in argument]
    return argument


def flipped(x: Tensor, axis: int) -> Tensor:
    """Return digits as `Digits.flip` has them: what was looked up does not fit them.

    Parameters
    ----------
    x : Tensor
        Shape (n, 64).
    axis : int
        1 or 2.

    Returns
    -------
    Tensor
        Shape (n, 64).
    """
    return x.reshape(-1, 8, 8).flip(axis).reshape(-1, 64)


@dataclass(frozen=True)
class Trial:
    """One call of a function, and what it should give.

    Parameters
    ----------
    case : str
        What is special about it, in words.
    arguments : dict
        By the names of the parameters, in their order.
    expected : dict of Tensor
        By the names of the results: float64, or integers as they are.
    dtype : str
        What floating results should come as, such as ``"float32"``.
    known : dict of dict of Tensor
        What known mistakes give here, by their names.
    wrt : list of str
        Where results are gradients: the arguments they are taken by.
    cotangents : dict of Tensor
        And the weights of the results whose sum is differentiated.
    """

    case: str
    arguments: dict[str, Any]
    expected: dict[str, Tensor]
    dtype: str = "float32"
    known: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    wrt: list[str] = field(default_factory=list)
    cotangents: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Criterion:
    """What marks are given for: all of its trials must be right.

    Parameters
    ----------
    name : str
        In a student's words.
    points : float
        What it is worth.
    kind : str
        How results are compared: one of ``judge.KINDS``.
    hint : str
        Where to look if it fails.
    trials : list of Trial
        None, if all of them are kept for marking.
    tolerance : float
        Of values and gradients, relative; 0 for what suits the dtype.
    bound : float
        Of scores: the largest that passes.
    """

    name: str
    points: float
    kind: str
    hint: str
    trials: list[Trial]
    tolerance: float = 0.0
    bound: float = 0.0


@dataclass(frozen=True)
class Exam:
    """A question, ready to be put.

    Parameters
    ----------
    question : str
        Its id, such as ``"q1"``.
    title : str
        What it asks for.
    signature : list of str
        The parameters of the function, in order.
    results : list of str
        What it returns, in order.
    forbidden : list of str
        Names that may not be called, such as ``"aelab.models.PCA"``.
    seconds : float
        The time for one trial.
    says : dict of str
        What is told to one who makes a known mistake, by its name.
    criteria : list of Criterion
        What marks are given for.
    operation : bool
        Whether gradients have to come from one `torch.autograd.Function`.
    """

    question: str
    title: str
    signature: list[str]
    results: list[str]
    forbidden: list[str]
    seconds: float
    says: dict[str, str]
    criteria: list[Criterion]
    operation: bool = False

    @property
    def points(self) -> float:
        """What the question is worth."""
        return sum(criterion.points for criterion in self.criteria)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return an exam from what `write` made of it.

        Parameters
        ----------
        plain : dict
            As read from JSON.

        Returns
        -------
        Exam
        """
        criteria = [
            Criterion(**{**c, "trials": [Trial(**_rich(t)) for t in c["trials"]]})
            for c in plain["criteria"]
        ]
        return cls(**{**plain, "criteria": criteria})


def write(exams: Mapping[str, Exam], path: Path) -> None:
    """Write exams to a JSON file, whole or not at all.

    Parameters
    ----------
    exams : dict of Exam
        By the ids of the questions.
    path : Path
        The file.
    """
    text = json.dumps({name: _plain(exam) for name, exam in exams.items()}, indent=0)
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read(path: Path) -> dict[str, Exam]:
    """Return the exams of a JSON file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of Exam
        By the ids of the questions.

    Raises
    ------
    ValueError
        If it holds no exams.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {name: Exam.of(exam) for name, exam in plain.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the exams that came with the exercises, but cannot "
            f"read them ({error}); take a fresh copy of the file"
        ) from error


_SPECIAL = {kind.__name__: kind for kind in (Seed, Digits, Strided)}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        flat = [_short(v) for v in value.flatten().tolist()]
        return {"tensor": dtype, "shape": list(value.shape), "values": flat}
    if is_dataclass(value):
        plain = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        special = type(value).__name__
        return {"special": special, **plain} if special in _SPECIAL else plain
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _short(number: float) -> float:
    """Return 0.1 for the float32 next to 0.1: half as long, and the same float32."""
    if isinstance(number, float) and number == number and abs(number) != float("inf"):
        rounded = float(f"{number:.9g}")
        return rounded if rounded == number or _is_float32(number) else number
    return number


def _is_float32(number: float) -> bool:
    return torch.tensor(number, dtype=torch.float32).item() == number


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return [_rich(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "values" in value and "shape" in value:
        dtype = getattr(torch, value["tensor"])
        return torch.tensor(value["values"], dtype=dtype).reshape(value["shape"])
    inner = {name: _rich(v) for name, v in value.items() if name != "special"}
    return _SPECIAL[value["special"]](**inner) if "special" in value else inner
