"""``check``: what is right in an answer, what is wrong, and why."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aelab import plots
from aelab.grading.exam import Exam, read
from aelab.grading.judge import Row, Verdict, judge
from aelab.grading.probe import run

EXAMS = "exams.json"  # beside a notebook of exercises


def check(
    question: str, function: Callable[..., Any], folder: Path | str = "."
) -> Verdict | None:
    """Try a function on fresh inputs, and print what is right and what is wrong.

    The function runs in a process of its own: it may crash, or run for ever, and the
    notebook goes on.

    Parameters
    ----------
    question : str
        Its id, such as ``"q1"``.
    function : callable
        Your answer.
    folder : path, optional
        Where the notebook of exercises lies.

    Returns
    -------
    Verdict or None
        True in an ``assert`` if nothing failed; None if there was nothing to try.
    """
    try:
        exam = _exam(question, Path(folder))
        _callable(exam, function)
    except (ValueError, OSError) as problem:
        print(f"check: {problem}")
        return None
    verdict = judge(exam, run(function, exam))
    print(verdict.table())
    for row in verdict.rows:
        if row.shown:
            _show(row)
            break  # the first one is enough to begin with
    return verdict


def _exam(question: str, folder: Path) -> Exam:
    """Return the exam of a question, from the notebook's folder or the lecturer's."""
    here = folder.resolve()
    source = here.parents[1] / "specs" / f"{here.name}.py" if here.parent.name else None
    if (here / EXAMS).is_file():
        exams = read(here / EXAMS)
    elif source is not None and source.is_file():
        from aelab.grading.specification import load

        exams = load(source).exams(0, public=True)
    else:
        raise ValueError(
            f"expected the file {EXAMS} beside the notebook, in {here}, but it is not "
            "there; take it from the exercises, or name the folder: check(..., folder=)"
        )
    if question not in exams:
        known = ", ".join(exams)
        raise ValueError(f"expected one of the questions {known}, but got {question!r}")
    return exams[question]


def _callable(exam: Exam, function: Any) -> None:
    """Refuse what cannot be called as the question asks."""
    wanted = f"{', '.join(exam.signature)}"
    if not callable(function):
        raise ValueError(
            f"expected a function of ({wanted}), but got {type(function).__name__}; "
            f"hand over the function itself, as in check({exam.question!r}, solve)"
        )
    try:
        inspect.signature(function).bind(*exam.signature)
    except TypeError:
        raise ValueError(
            f"expected a function of ({wanted}), but got one of "
            f"{inspect.signature(function)}; the order counts, not the names"
        ) from None
    except ValueError:  # a built-in function tells no signature
        pass


def _show(row: Row) -> None:
    """Draw expected, got and their difference, where there is a notebook."""
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        return
    expected, got = row.shown["expected"], row.shown["got"]
    pictures = {"expected": expected, "got": got, "difference": got - expected}
    display(
        plots.images(
            {name: picture[None] for name, picture in pictures.items()},
            signed=True,
            title=f"{row.name}: blue is above zero, orange below",
            alt="Three tables of numbers as colours: what was expected, what your "
            "function gave, and the difference of the two.",
        )
    )
