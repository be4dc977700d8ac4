"""A small set of exercises for the tests of grading and of its release."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

SPEC = """
import numpy as np
import torch
from aelab.grading.specification import Marks, Mistake, Question


def numbers(g, n=4, dtype=torch.float32):
    return torch.randn(n, generator=g).to(dtype), 3


def cubes(x, k):
    return (x.numpy() ** 3 * k).copy(), np.array(len(x))


def noise(g):
    return torch.ones(50, 20), g


QUESTIONS = {
    "q1": Question(
        title="Cubes",
        answer="cube",
        signature=["x", "k"],
        results=["cubes", "count"],
        cases={
            "four": numbers,
            "none": lambda g: (torch.zeros(0), 3),
            "float64": lambda g: numbers(g, dtype=torch.float64),
        },
        reference=cubes,
        marks=[
            Marks("values", 2, ["four", "none"], "by hand"),
            Marks("slopes", 1, ["four"], "derive", kind="gradients", wrt=["x"]),
            Marks("float64", 1, ["float64"], "dtype"),
        ],
        mistakes=[
            Mistake("squares", 0, "These are squares.", {"x**3": "x**2"}),
            Mistake("detached", 3, "", {"k * x**3": "(k * x**3).detach()"}),
            Mistake("own", 0, "Nothing.", function=lambda x, k: (0 * x, len(x))),
        ],
        right=[lambda x, k: (x * x * x * k, torch.tensor(len(x)))],
        hidden={"float64"},
    ),
    "q2": Question(
        title="Zeros",
        answer="zeros",
        signature=["seed"],
        results=["guess"],
        cases={"drawn": lambda g: (float(torch.rand(1, generator=g)),)},
        reference=lambda g: torch.rand(1, generator=g).double() * torch.ones(3),
        marks=[
            Marks("near", 4, ["drawn"], kind="score", measure="mean squared error",
                  bound=0.01),
        ],
    ),
}
"""
CELLS = [
    ("import torch", {"needed": True}),
    ("raise RuntimeError('only shown')", {}),
    ("def cube(x, k):\n    return k * x**3, torch.tensor(len(x))", {"solution": "q1"}),
    ("def zeros(seed):\n    return torch.full((3,), seed)", {"solution": "q2"}),
]


def save(root, cells=CELLS, spec=SPEC):
    """Write a set of exercises, and return the path of its specification."""
    path = root / "specs" / "09_cubes.py"
    source = root / "source" / "09_cubes"
    for folder in (path.parent, source):
        folder.mkdir(parents=True, exist_ok=True)
    path.write_text(spec)
    nb = new_notebook()
    for text, what in cells:
        cell = new_code_cell(text)
        if "solution" in what:
            cell.metadata["nbgrader"] = {"solution": True, "grade": False}
        if "needed" in what:
            cell.metadata["tags"] = ["needed"]
        nb.cells.append(cell)
    nbformat.write(nb, source / "09_cubes.ipynb")
    return path
