"""The lectures keep their budgets, and each budget can be overrun.

Each rule is tried on every lecture, and on a lecture with a planted violation.
"""

import base64
import re
from pathlib import Path

import nbformat
import pytest
from budgets import (
    KERNEL,
    ROWS,
    RULES,
    Lecture,
    alt_text,
    equations,
    execution,
    failure_on_purpose,
    imports,
    lengths,
    metadata,
    opening,
    plumbing,
    rows,
    size,
)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

LECTURES = Path(__file__).resolve().parents[1] / "lectures"
PATHS = sorted(LECTURES.glob("*.ipynb"))


def test_there_are_lectures():
    assert PATHS, f"no lecture in {LECTURES}"
    assert not [
        p.name for p in PATHS if not re.match(r"0\d[ab]?_[a-z_]+\.ipynb", p.name)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_lecture_keeps_the_rule(path, rule):
    assert rule(Lecture(path.stem, path.read_text(encoding="utf-8"))) == []


def test_the_readme_shows_a_figure_that_a_lecture_stores():
    picture = (LECTURES / "figures" / "readme.png").read_bytes()
    encoded = base64.b64encode(picture).decode()
    stored = [
        "".join(out.data.get("image/png", "").split())
        for path in PATHS
        for cell in nbformat.read(path, as_version=4).cells
        for out in cell.get("outputs", [])
        if "data" in out
    ]
    assert encoded in stored, "the README's picture is stale: run `make store`"


def test_equation_numbers_are_unique_over_all_lectures():
    tags = [
        tag
        for path in PATHS
        for tag in re.findall(r"\\\\tag\{([^}]*)\}", path.read_text(encoding="utf-8"))
    ]
    assert sorted(tags) == sorted(set(tags))


def sound():
    """A short lecture that keeps every rule, for the violations to be planted in."""
    title = (
        "# Sums: what is 1 + 1?\n\nAfter this lecture you can\n- add\n- check\n- fail"
    )
    nb = new_notebook(
        metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    error = new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])
    nb.cells = [
        new_markdown_cell(title),
        new_code_cell("import math"),
        new_markdown_cell("$$1 + 1 = 2 \\tag{6.1}$$ By Eq. (6.1) the sum is known."),
        new_code_cell("total = 1 + 1"),
        new_code_cell(
            "plot(total)", outputs=[png("Two points and a line through them")]
        ),
        new_code_cell(
            "1 / 0", outputs=[error], metadata={"tags": ["raises-exception"]}
        ),
    ]
    for row in ROWS["06"].split():
        check = new_code_cell("assert total == 2, 'the sum'", metadata={"tags": []})
        check.metadata.tags.append(f"row-{row}")
        nb.cells.append(check)
    for n, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), start=1):
        cell.execution_count = n
    return nb


UNSET = object()


def planted(cells=None, source=None, tags=None, outputs=None, count=UNSET, **change):
    """Return a change of some cells, or of the notebook's or a cell's metadata."""

    def plant(nb):
        nb.metadata.update({} if cells is not None else change)
        chosen = nb.cells[cells] if isinstance(cells, slice) else [nb.cells[cells or 0]]
        for cell in chosen if cells is not None else []:
            cell.metadata.update(change if tags is None else {"tags": tags})
            cell.source = cell.source if source is None else source
            if outputs is not None:
                cell.outputs = outputs
            if count is not UNSET:
                cell.execution_count = count

    return plant


def stream(name, text="x"):
    return new_output("stream", name=name, text=text)


def png(alt):
    metadata = {"image/png": {"alt": alt}}
    return new_output("display_data", data={"image/png": "aaaa"}, metadata=metadata)


LONG = "\n".join(f"x = {n}" for n in range(13))
PROMISE = "\n\nAfter this lecture you can\n- a\n- b\n"
PLANTED = [
    (opening, planted(0, f"Sums?{PROMISE}- c"), "no title"),
    (opening, planted(0, f"# Sums{PROMISE}- c"), "no question"),
    (opening, planted(0, f"# Sums?{PROMISE}"), "not three lines"),
    (imports, planted(3, "import math"), "imports in ['cell [1]', 'cell [2]']"),
    (imports, planted(3, "def f():\n    from math import pi"), "imports in"),
    (imports, planted(1, "x = 1"), "imports in []"),
    (plumbing, planted(3, "%matplotlib inline"), "no plain Python: %matplotlib"),
    (plumbing, planted(3, "!ls"), "no plain Python: !ls"),
    (plumbing, planted(1, "import sys\nsys.path.append('..')"), "sys.path"),
    (plumbing, planted(3, "run('pip install torch')"), "pip install"),
    (lengths, planted(3, "\n".join(["# why"] * 21)), "21 lines"),
    (lengths, planted(slice(6, 11), LONG[:41]), "median 7"),
    (lengths, planted(slice(3, 5), LONG), "% of the cells have at most 12"),
    (equations, planted(2, "$$1 + 1$$"), "no equation has a number"),
    (equations, planted(2, r"\tag{6.1} \tag{5.2}"), "tag 5.2 is not 6.n"),
    (equations, planted(2, r"\tag{6.1} \tag{6.1}"), "tag 6.1 twice"),
    (equations, planted(2, r"\tag{6.1}, and Eq. (6.2)"), "Eq. (6.2) is nowhere"),
    (failure_on_purpose, planted(5, tags=[]), "no cell is tagged"),
    (failure_on_purpose, planted(5, outputs=[]), "no exception is stored"),
    (execution, planted(4, count=2), "order [1, 2, 2"),
    (execution, planted(4, count=None), "order [1, 2, None"),
    (execution, planted(3, outputs=[stream("stderr")]), "writes to stderr"),
    (execution, planted(5, tags=[]), "ZeroDivisionError is stored"),
    (size, planted(3, outputs=[stream("stdout", "x" * 600_000)]), "60"),
    (alt_text, planted(4, outputs=[png("")]), "alt text ''"),
    (alt_text, planted(4, outputs=[png("a plot")]), "alt text 'a plot'"),
    (alt_text, planted(2, "![](figures/pair.svg)"), "picture in the prose"),
    (metadata, planted(kernelspec={**KERNEL, "name": "mine"}), "kernelspec"),
    (metadata, planted(language_info={"name": "python", "version": "3"}), "language"),
    (metadata, planted(widgets={}), "widget state"),
    (metadata, planted(3, execution={"iopub.status.busy": "0"}), "['execution']"),
    (rows, planted(6, tags=[]), "expected ['G1', 'G2'"),
    (rows, planted(6, tags=["row-G2"]), "rows ['G2', 'G3'"),
    (rows, planted(3, tags=["row-G9"]), "row G9 has no check"),
    (rows, planted(3, tags=["row-g1"]), "row-g1"),
    (rows, planted(6, "total == 2"), "row G1 has no check"),
    (rows, planted(6, "assert total == 2"), "assert without a message"),
    (rows, planted(6, "assert total == 2, ''"), "assert without a message"),
    (rows, planted(6, "assert True, 'the sum'"), "asserts a constant"),
    (rows, planted(6, "assert (total == 2, 'the sum')"), "asserts a constant"),
    (rows, planted(6, tags=["row-G1", "raises-exception"]), "row G1 has no check"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_lecture_violates_no_rule(rule):
    assert rule(Lecture("06_sums", nbformat.writes(sound()))) == []


@pytest.mark.parametrize(("rule", "plant", "message"), PLANTED)
def test_rule_finds_the_planted_violation(rule, plant, message):
    nb = sound()
    plant(nb)
    found = rule(Lecture("06_sums", nbformat.writes(nb)))
    assert message in "; ".join(found)


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
