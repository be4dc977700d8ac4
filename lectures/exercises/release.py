"""Make what students get of the exercises: behind `make exercises`.

Of each set in `source/` the solutions are taken out: a body becomes `raise
NotImplementedError`, an answer in prose a place for one's own. Beside the notebook lies
`exams.json`, inputs and expected results that `check` tries, without the cases that are
kept for marking. The folder is built beside the old one and then takes its place.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import nbformat

from aelab.grading.exam import write
from aelab.grading.selfcheck import EXAMS
from aelab.grading.specification import load

HERE = Path(__file__).resolve().parent
POINTS = 20  # a set
REGION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION[^\n]*\n.*?^[ \t]*### END SOLUTION[^\n]*$",
    re.MULTILINE | re.DOTALL,
)
STUB = {"code": r"\1raise NotImplementedError", "markdown": "*Your answer.*"}


def without_solutions(nb):
    """Return a copy of a notebook as students get it."""
    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        nbgrader = cell.metadata.get("nbgrader", {})
        if nbgrader.get("solution"):
            cell.source, found = REGION.subn(STUB[cell.cell_type], cell.source)
            if not found:
                raise ValueError(f"{nbgrader['grade_id']}: no solution to take out")
        if "SOLUTION" in cell.source:
            raise ValueError(f"a solution is left over: {cell.source[:60]!r}")
        cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nb


def points(nb, questions):
    """Check that points and ids of a notebook and of its specification agree."""
    graded = [c.metadata.nbgrader for c in nb.cells if c.metadata.nbgrader.grade]
    found = {g.grade_id.removesuffix("-check"): g.points for g in graded}
    total = sum(found.values())
    if total != POINTS:
        raise ValueError(f"expected {POINTS} points, but the cells say {total}")
    for name, question in questions.items():
        worth = sum(marks.points for marks in question.marks)
        if found.get(name) != worth:
            raise ValueError(
                f"{name}: the specification gives {worth} points, the notebook "
                f"{found.get(name)}"
            )


def release(root, output):
    """Build the release of all sets below a folder; return their names."""
    specs = sorted((root / "specs").glob("*.py"))
    if not specs:
        raise ValueError(f"{root / 'specs'}: no specification there")
    draft = output.with_name(f"{output.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    for spec in specs:
        try:
            exercises = load(spec)
            source = root / "source" / spec.stem / f"{spec.stem}.ipynb"
            nb = nbformat.read(source, as_version=4)
            points(nb, exercises.questions)
            folder = draft / spec.stem
            folder.mkdir(parents=True)
            nbformat.write(without_solutions(nb), folder / source.name)
            write(exercises.exams(0, public=True), folder / EXAMS)
        except ValueError as error:
            raise ValueError(f"{spec.stem}: {error}") from error
    shutil.copy(root / "students.md", draft / "README.md")
    shutil.rmtree(output, ignore_errors=True)
    draft.rename(output)
    return [spec.stem for spec in specs]


def main():
    """Run the command; its status is 0 only if all sets were released."""
    parser = argparse.ArgumentParser(description="Release the exercises.")
    parser.add_argument("--root", type=Path, default=HERE)
    parser.add_argument("--output", type=Path, default=Path("build/release"))
    args = parser.parse_args()
    output = args.output.resolve()
    if output.exists() and not (output / "README.md").is_file():
        parser.error(f"{output}: something else is there; choose another --output")
    try:
        names = release(args.root.resolve(), output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{output}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
