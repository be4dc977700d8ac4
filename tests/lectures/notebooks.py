"""Small notebooks for the tests of lectures/run.py, and the command itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

RUN = Path(__file__).resolve().parents[2] / "lectures" / "run.py"


def code(source, *tags, stored=None):
    """A code cell, with the exception that an earlier run has stored in it."""
    cell = new_code_cell(source, metadata={"tags": list(tags)})
    if stored:
        cell.outputs = [new_output("error", ename=stored, evalue="", traceback=[])]
    return cell


def save(folder, **notebooks):
    """Write notebooks, each a list of cells, and return what the folder then holds."""
    for name, cells in notebooks.items():
        nb = new_notebook(cells=[new_markdown_cell("# A title?"), *cells])
        nbformat.write(nb, folder / f"{name}.ipynb")
    return contents(folder)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(*arguments):
    return [sys.executable, "-W", "error", str(RUN), *map(str, arguments)]


def run(*arguments, **environment):
    """Run the command from a folder of its own, with a clean environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AELAB_DATA")}
    return subprocess.run(
        command(*arguments), env=env | environment, capture_output=True, text=True
    )


def failures(process):
    """The pairs (notebook, failure) that the command names."""
    return re.findall(r"^FAILED (\w+)\.ipynb, (.*)$", process.stdout, re.MULTILINE)
