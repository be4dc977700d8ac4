"""aelab.grading.selfcheck: what a student sees."""

import subprocess
import sys
import textwrap

import pytest
import torch
from asked import ROWS, both, exam
from cubes import save

from aelab.grading import check
from aelab.grading.exam import Trial, write
from aelab.grading.selfcheck import EXAMS


@pytest.fixture
def folder(tmp_path):
    write({"q1": exam(ROWS)}, tmp_path / EXAMS)
    return tmp_path


# Shape and dtype


def test_the_verdict_is_true_if_nothing_failed(folder):
    assert check("q1", both, folder)
    assert not check("q1", lambda x, y: (x, y), folder)


# Value against an outside oracle


def test_the_table_is_printed(folder, capsys):
    check("q1", lambda x, y: (x, x * y), folder)
    out, error = capsys.readouterr()
    assert error == ""
    assert out.splitlines()[:3] == [
        "q1: 0 of 2 points. Sum and product",
        "  FAILED  sums: 0 of 2",
        "          2 of 2 numbers of total differ: total[0] is 1, should be 4.",
    ]


# Property


def test_a_notebook_of_the_lecturer_finds_its_specification(
    tmp_path, monkeypatch, capsys
):
    """Rejects: a lecturer who has to release a set before trying it."""
    save(tmp_path)
    monkeypatch.chdir(tmp_path / "source" / "09_cubes")
    assert check("q1", lambda x, k: (k * x**3, torch.tensor(len(x))))
    assert "float64: 1, with cases that are kept" in capsys.readouterr().out


def test_it_works_in_plain_python(folder):
    program = f"""
    from aelab.grading import check
    def solve(x, y):
        while True: pass
    print(check("q1", lambda x, y: (x + y, x * y), {str(folder)!r}))
    """
    text = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "q1: 2 of 2 points"
    assert done.stderr == ""


def test_a_picture_is_drawn_in_a_notebook(tmp_path):
    """Rejects: a figure that is made and not shown."""
    import nbclient
    from nbformat.v4 import new_code_cell, new_notebook

    x = torch.arange(12.0).reshape(3, 4)
    expected = {"total": 2 * x.double(), "product": x.double() ** 2}
    asked = exam(Trial("any", {"x": x, "y": x}, expected))
    write({"q1": asked}, tmp_path / EXAMS)
    source = (
        "from aelab.grading import check\n"
        "check('q1', lambda x, y: (2 * x.flip(0), x**2))"
    )
    nb = new_notebook(cells=[new_code_cell(source)])
    nbclient.NotebookClient(nb, resources={"metadata": {"path": tmp_path}}).execute()
    table, picture, returned = nb.cells[0].outputs
    shown = picture.metadata["image/png"]
    assert "FAILED" in table.text
    assert "what was expected" in shown["alt"]
    assert returned.data["text/plain"] == "q1: 0 of 2 points"


# Error


BAD = {
    "expected one of the questions q1, but got 'q7'": ("q7", both),
    "expected a function of (x, y), but got Tensor; hand over": ("q1", torch.ones(2)),
    "expected a function of (x, y), but got one of (x); the order": (
        "q1",
        lambda x: x,
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_a_wrong_call_is_told_kindly(folder, capsys, message):
    assert check(*BAD[message], folder) is None
    assert f"check: {message}" in capsys.readouterr().out


def test_a_folder_without_exams_is_named(tmp_path, capsys):
    assert check("q1", both, tmp_path) is None
    told = capsys.readouterr().out
    assert f"expected the file {EXAMS} beside the notebook, in {tmp_path}" in told


def test_a_damaged_file_is_told_too(folder, capsys):
    (folder / EXAMS).write_text("{")
    assert check("q1", both, folder) is None
    assert "take a fresh copy of the file" in capsys.readouterr().out


def test_a_builtin_function_may_be_tried(folder, capsys):
    assert not check("q1", max, folder)
    assert "your function" in capsys.readouterr().out
