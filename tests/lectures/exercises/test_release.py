"""lectures/exercises/release.py: what students get, and what they do not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from cubes import CELLS, save

from aelab.grading.exam import read
from aelab.grading.specification import load

RELEASE = Path(__file__).resolve().parents[3] / "lectures/exercises/release.py"
SOURCES = sorted(RELEASE.parent.glob("source/*/*.ipynb"))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", str(RELEASE), *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Build the release once."""
    output = tmp_path_factory.mktemp("release") / "release"
    done = run("--output", output)
    assert done.returncode == 0, done.stderr
    return output


def cells(path, **what):
    """Return the cells of a notebook whose nbgrader metadata say so."""
    found = nbformat.read(path, as_version=4).cells
    return [c for c in found if what.items() <= c.metadata.nbgrader.items()]


def test_there_is_all_that_a_student_needs_and_nothing_else(output):
    assert {path.stem for path in SOURCES} == {
        path.name for path in output.iterdir() if path.is_dir()
    }
    for path in SOURCES:
        folder = output / path.stem
        assert sorted(os.listdir(folder)) == [f"{path.stem}.ipynb", "exams.json"]
    assert 10 <= len((output / "README.md").read_text().splitlines()) <= 30


@pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])
def test_no_solution_is_left(output, source):
    """Rejects: a region that was not found, and a solution repeated elsewhere."""
    released = (output / source.stem / source.name).read_text()
    exams = (output / source.stem / "exams.json").read_text()
    assert "SOLUTION" not in released
    given = "".join(c.source for c in cells(source, solution=False))
    lines = [
        line.strip()
        for cell in cells(source, solution=True)
        for region in re.findall(
            r"### BEGIN SOLUTION(.*?)### END SOLUTION", cell.source, re.DOTALL
        )
        for line in region.splitlines()
    ]
    assert len(lines) > 10
    for line in lines:
        if len(line) > 12 and line not in given:
            assert json.dumps(line)[1:-1] not in released, line
            assert json.dumps(line)[1:-1] not in exams, line


@pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])
def test_the_rest_of_a_notebook_is_untouched(output, source):
    before = nbformat.read(source, as_version=4).cells
    after = nbformat.read(output / source.stem / source.name, as_version=4).cells
    for one, two in zip(before, after, strict=True):
        assert one.metadata.nbgrader == two.metadata.nbgrader
        if not one.metadata.nbgrader.solution:
            assert one.source == two.source
        elif two.cell_type == "code":
            assert "raise NotImplementedError" in two.source
            compile(two.source, source.name, "exec")
        else:
            assert "*Your answer.*" in two.source


@pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])
def test_a_set_keeps_the_conventions(source):
    """Rejects: points that do not add up, ids twice, a question without its parts."""
    graded = cells(source, grade=True)
    assert sum(c.metadata.nbgrader.points for c in graded) == 20
    assert 4 <= len(graded) <= 6
    ids = [c.metadata.nbgrader.grade_id for c in cells(source)]
    assert len(set(ids)) == len(ids)
    prose = "\n".join(c.source for c in cells(source, cell_type="markdown"))
    for cell in graded:
        name = cell.metadata.nbgrader.grade_id.removesuffix("-check")
        part = prose[prose.index(f"## {name}. ") :].split("\n## ")[0]
        points = cell.metadata.nbgrader.points
        assert re.search(rf"\*{points} points, about \d+ minutes, .*\*", part), name
        assert part.count("<summary>Hint") == 3, name
        assert "**A similar example" in part, name
        if cell.cell_type == "code":
            assert f'assert check("{name}", ' in cell.source
            assert cell.metadata.nbgrader.locked, name


@pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])
def test_exams_are_small_and_lack_what_is_kept(output, source):
    path = output / source.stem / "exams.json"
    assert path.stat().st_size < 1_000_000
    exams = read(path)
    assert len(exams) >= 3
    questions = load(RELEASE.parent / f"specs/{source.stem}.py").questions
    assert exams.keys() == questions.keys()
    for name, exam in exams.items():
        assert any(criterion.trials for criterion in exam.criteria)
        assert exam.points == sum(marks.points for marks in questions[name].marks)
        cases = {trial.case for c in exam.criteria for trial in c.trials}
        assert cases == questions[name].cases.keys() - questions[name].hidden


def failing(folder, name):
    """Execute a notebook; return the ids of the cells that fail."""
    report = folder / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:xdist"),
            *("--nbval-current-env", "--nbval-cell-timeout", "120", "-c", os.devnull),
            *("-p", "no:cacheprovider", f"--junitxml={report}", f"{name}.ipynb"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    found = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    code = [c for c in found if c.cell_type == "code"]
    xml = report.read_text() if report.exists() else ""
    tests = re.findall(r'<testcase [^>]*name="[^"]*Cell (\d+)"[^>]*?(/>|>)', xml)
    assert len(tests) == len(code), done.stdout
    return {
        code[int(place)].metadata.nbgrader.grade_id
        for place, end in tests
        if end == ">"
    }  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])
def test_a_release_fails_exactly_where_answers_are_missing(output, source):
    """Rejects: a release that cannot be run, and a check that a stub passes."""
    checks = {c.metadata.nbgrader.grade_id for c in cells(source, grade=True)
              if c.cell_type == "code"}  # fmt: skip
    assert failing(output / source.stem, source.stem) == checks


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "expected 20 points, but the cells say"),
        ({"cells": CELLS[:3]}, "09_cubes: 09_cubes.ipynb: expected a solution cell"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, change, told):
    save(tmp_path, **change)
    path = tmp_path / "source/09_cubes/09_cubes.ipynb"
    nb = nbformat.read(path, as_version=4)
    for i, cell in enumerate(nb.cells):
        cell.metadata.nbgrader = {
            "grade_id": f"c{i}",
            "grade": False,
            **cell.metadata.get("nbgrader", {}),
        }
    nbformat.write(nb, path)
    done = run("--root", tmp_path, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    done = run("--output", tmp_path)
    assert done.returncode == 2
    assert "something else is there" in done.stderr
    assert os.listdir(tmp_path) == ["thesis.txt"]
