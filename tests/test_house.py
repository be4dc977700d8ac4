"""The project keeps the house rules, and each rule can be broken.

Each rule is tried on the project, and on a small tree with a planted violation.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from house import (
    RULES,
    constraints,
    docstrings,
    equation_links,
    file_lengths,
    four_kinds,
    imported,
    machine_paths,
    makefile,
    mirror,
    names,
    outward_imports,
    pyplot,
    read_tree,
    room_imports,
    room_names,
    rooms,
)

ROOT = Path(__file__).resolve().parents[1]
TREE = read_tree(ROOT)
ROOMS = [f"aelab.{name}" for name in rooms(TREE).values() if name]


def notebook(*sources, kind="code"):
    return json.dumps({"cells": [{"cell_type": kind, "source": s} for s in sources]})


ROOM = {"aelab/ops.py": "", "aelab/data.py": "", "aelab/models/pca.py": ""}
DOC = '''
def f(x, *, y=1) -> int:
    """Return {0}

    Parameters
    ----------
    x{1} : float
        A number.
{2}    """
'''
RETURNS = "\n    Returns\n    -------\n    int\n"
PROJECT = """
[project]
name = "aelab"
dependencies = ["torch>=2.11"]
optional-dependencies.test = ["aelab[lectures]", "scikit_learn"]
[build-system]
requires = ["cmake>=3.26"]
"""
PINS = "torch==2.13.0  # the op is built against it\nscikit-learn==1.5\ncmake==3.30\n"
HOLD = 'class A:\n """Hold."""\n'
HEADINGS = "# Shape and dtype\n# Value against an outside oracle\n# Property\n# Error\n"


def in_ops(text):
    return {"aelab/ops.py": text}


def in_lecture(source):
    return {"lectures/01.ipynb": notebook(source)}


PLANTED = [
    (room_imports, in_ops("from aelab import data"), "aelab/ops.py imports data"),
    (room_imports, in_ops("import aelab.data"), "aelab/ops.py imports data"),
    (room_imports, in_ops("from .data import f"), "aelab/ops.py imports data"),
    (room_imports, in_ops("from aelab.models import PCA"), "imports models"),
    (room_imports, in_ops("def f():\n from aelab.models import pca"), "models.pca"),
    (room_imports, {"aelab/models/vae.py": "from ..data import f"}, "imports data"),
    (
        room_imports,
        {"aelab/__main__.py": "", **in_ops("import aelab.__main__")},
        "main",
    ),
    (outward_imports, in_ops("import test_data"), "imports test_data"),
    (outward_imports, in_ops("from lectures import f"), "imports lectures.f"),
    (outward_imports, {"lectures/run.py": "", **in_ops("import run")}, "imports run"),
    (outward_imports, in_lecture("import notes"), "imports notes"),
    (outward_imports, in_lecture("from aelab import _C"), "imports aelab._C"),
    (pyplot, in_ops("from matplotlib import pyplot as plt"), "pyplot"),
    (pyplot, in_ops("def f():\n import matplotlib.pyplot"), "pyplot"),
    (mirror, {"aelab/models/vae.py": ""}, "tests/models/test_vae.py is missing"),
    (mirror, {"aelab/__main__.py": ""}, "tests/test_main.py is missing"),
    (mirror, {"lectures/run.py": ""}, "tests/lectures/test_run.py is missing"),
    (mirror, {"tests/test_vae.py": ""}, "tests/test_vae.py mirrors nothing"),
    (
        mirror,
        {"tests/data/test_toys.py": "", "tests/models/test_toys.py": ""},
        "tests/data/test_toys.py has the name of another test file",
    ),
    (four_kinds, {"tests/test_ops.py": HEADINGS[18:]}, "test_ops.py: ['Value'"),
    (
        four_kinds,
        {"tests/test_ops.py": f"# Error\n{HEADINGS}"},
        "test_ops.py: ['Error'",
    ),
    (equation_links, in_ops("# Eq. (4.5)"), "ops.py: Eq. (4.5)"),
    (equation_links, {"csrc/a.h": "// Eq. (6.1), Eqs. (4.51)"}, "csrc/a.h: Eq. (4.51)"),
    (names, in_ops("def loss(recon_x): pass"), "ops.py: recon_x"),
    (names, in_ops("self.fc21 = 1"), "ops.py: fc21"),
    (names, {"tests/test_ops.py": "class VAE_v2: pass"}, "test_ops.py: VAE_v2"),
    (names, in_lecture("KLD = 1"), "01.ipynb: KLD"),
    (names, in_ops("import torch as my_torch"), "ops.py: my_torch"),
    (names, {"csrc/a.h": "float logsigma;"}, "csrc/a.h: logsigma"),
    (room_names, {"aelab/utils.py": ""}, "aelab/utils.py"),
    (room_names, {"csrc/common.h": ""}, "csrc/common.h"),
    (room_names, {"aelab/helpers/x.py": ""}, "aelab/helpers/x.py"),
    (docstrings, in_ops("def f(): pass"), "f: no summary"),
    (
        docstrings,
        in_ops(DOC.format("A\n    b.", ", y", RETURNS)),
        "f: no summary of one",
    ),
    (docstrings, in_ops(DOC.format("A.", "", RETURNS)), "f: Parameters without y"),
    (docstrings, in_ops(DOC.format("A.", ", y", "")), "f: no Returns"),
    (docstrings, in_ops(f"{HOLD} def f(self): pass"), "A.f: no summary"),
    (docstrings, in_ops('def f() -> int:\n """Give 1."""'), "f: no Returns"),
    (docstrings, in_ops(f"{HOLD} def __init__(self, n): pass"), "Parameters without n"),
    (file_lengths, {"csrc/a.cpp": "\n" * 261}, "csrc/a.cpp: 261 lines"),
    (file_lengths, {"aelab/models/vae.py": "\n" * 261}, "vae.py: 261 lines"),
    (machine_paths, {"README.md": f"cd /{'home'}/me/course"}, "README.md: /"),
    (machine_paths, in_lecture(f"x = '/{'work'}/x'"), "01.ipynb: /"),
    (makefile, {"Makefile": "all:\n" * 61}, "61 lines"),
    (makefile, {"Makefile": ""}, "0 lines"),
    (constraints, {"constraints.txt": f"{PINS}numpy>=1.26"}, "exact pin: numpy>=1.26"),
    (constraints, {"constraints.txt": f"{PINS}numpy==1.*"}, "exact pin: numpy==1.*"),
    (constraints, {"constraints.txt": PINS[6:]}, "torch>=2.11 is pinned to nothing"),
    (constraints, {"constraints.txt": PINS.replace("2.13", "2.1")}, "pinned to 2.1.0"),
    (constraints, {"constraints.txt": PINS.replace("cmake", "make")}, "cmake>=3.26"),
]

# What stands around a planted violation, and violates no rule.
SOUND = {
    **ROOM,
    "aelab/__init__.py": '"""Rooms."""',
    "aelab/ops.py": DOC.format("A.", ", y", RETURNS) + "# Eq. (6.1)",
    "aelab/models/__init__.py": "from aelab.models import pca",
    "csrc/a.cpp": "// see Eq. (6.1), not KLD",
    "lectures/01.ipynb": notebook(r"\tag{6.1}", kind="markdown"),
    "lectures/__init__.py": "",
    "tests/notes.py": "import aelab.ops",
    "tests/test_house.py": "x = 'fc21'",
    "tests/test_ops.py": HEADINGS,
    "tests/test_data.py": HEADINGS,
    "tests/models/test_pca.py": HEADINGS,
    "Makefile": "all:",
    "pyproject.toml": PROJECT,
    "constraints.txt": PINS,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule):
    assert rule(TREE) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_tree_violates_no_rule(rule):
    assert rule(SOUND) == []


@pytest.mark.parametrize(("rule", "texts", "message"), PLANTED)
def test_rule_finds_the_planted_violation(rule, texts, message):
    assert message in "; ".join(rule({**SOUND, **texts}))


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_the_tree_is_read():
    """Rejects: a tree read from the wrong folder, in which no rule is broken."""
    assert {"aelab/ops.py", "aelab/models/pca.py", "csrc/philox.h"} <= set(TREE)
    assert {"README.md", "tests/test_house.py", "lectures/run.py"} <= set(TREE)
    assert not [path for path in TREE if path.startswith((".venv", "build", ".git/"))]


# What importing a room does, seen from a fresh interpreter.
PROBE = """
import random, sys
import numpy, torch
def state():
    return (torch.initial_seed(), torch.get_rng_state().tolist(), random.getstate(),
            numpy.random.get_state()[1].tolist(), torch.is_grad_enabled(),
            torch.get_default_dtype(), torch.get_num_threads())
before, sockets = state(), []
sys.addaudithook(lambda event, _: event[:7] == "socket." and sockets.append(event))
__import__(sys.argv[1])
if state() != before: print("touches a global state")
if "matplotlib.pyplot" in sys.modules: print("imports pyplot")
if sockets: print("opens a socket")
"""


def import_room(module, **environment):
    """Import a module in a fresh interpreter, and return everything it prints."""
    process = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PROBE, module],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return process.stdout + process.stderr


@pytest.mark.parametrize("module", ROOMS)
def test_importing_a_room_does_nothing_else(module):
    built = importlib.util.find_spec("aelab._C") is not None
    mode = "auto" if built else "off"  # without the extension, auto warns on purpose
    assert import_room(module, AELAB_EXTENSION=mode) == ""


def test_the_import_probe_finds_what_it_looks_for(tmp_path):
    (tmp_path / "planted.py").write_text(
        "import socket, torch, matplotlib.pyplot\n"
        "torch.manual_seed(0)\nsocket.socket().close()\nprint('hello')\n"
    )
    shown = import_room("planted", PYTHONPATH=str(tmp_path))
    assert shown.splitlines() == [
        "hello", "touches a global state", "imports pyplot", "opens a socket",
    ]  # fmt: skip


def test_relative_imports_are_resolved():
    program = ast.parse("from . import pca\nfrom .. import ops\nfrom ..data import x")
    assert list(imported("aelab/models/vae.py", program)) == [
        "aelab.models.pca", "aelab.ops", "aelab.data.x",
    ]  # fmt: skip
