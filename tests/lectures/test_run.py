"""lectures/run.py on small notebooks that are really executed, and on a lecture."""

import contextlib
import json
import os
import pty
import re
import runpy
import signal
import struct
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from notebooks import RUN, code, command, contents, failures, run, save
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One run over good and bad notebooks, on a machine that is set against it."""
    home = tmp_path_factory.mktemp("home")
    spec = home / "jupyter" / "kernels" / "python3"  # the user's own python3 kernel
    spec.mkdir(parents=True)
    argv = ["/bin/false", "{connection_file}"]
    foreign = {"argv": argv, "display_name": "other", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(foreign))
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("planted = 1")

    folder = tmp_path_factory.mktemp("mixed")
    before = save(
        folder,
        a_green=[
            code("import os, sys"),
            code(
                f"assert sys.executable == {sys.executable!r}, 'kernel'\n"
                "assert os.environ['PYTHONHASHSEED'] == '0', 'hash'",
                "row-P1",
            ),
            code("  "),
            code(
                f"for _ in range(3):\n    assert os.getcwd() == {str(folder)!r}",
                "row-P2",
            ),
            code("assert 'planted' not in globals(), 'not counted: no row'"),
            code(
                "def assert_close(a, b): assert a == b\nassert_close(1, 1)",
                "row-P3",
            ),
            code("%time 1", "row-P3"),
            code(
                "assert 1 / 0", "row-P4", "raises-exception", stored="ZeroDivisionError"
            ),
        ],
        b_false=[
            code("x = 3"),
            code("# why\nassert x == 4, 'x\\nis 3'", "row-P1"),
            code("x = 5"),
        ],
        c_other=[code("int('a')", "raises-exception", stored="KeyError")],
        d_silent=[code("1", "raises-exception", stored="KeyError")],
        e_unstored=[code("int('a')", "raises-exception")],
        f_dead=[code("import os\nos._exit(1)")],
        g_green=[code("print(1)")],
    )
    output = tmp_path_factory.mktemp("out") / "deep"
    process = run(
        "--output", output, *sorted(folder.glob("*.ipynb")),
        JUPYTER_PATH=str(home / "jupyter"), IPYTHONDIR=str(home / "ipython"),
    )  # fmt: skip
    return process, before, contents(folder), output


def test_run_goes_on_and_its_status_is_1(mixed):
    process, _, _, _ = mixed
    assert process.returncode == 1
    assert process.stderr == ""
    names = [name for name, _ in failures(process)]
    assert names == ["b_false", "c_other", "d_silent", "e_unstored", "f_dead"]
    assert re.search(r"^a_green.ipynb: started$", process.stdout, re.M)
    assert re.search(r"^a_green.ipynb: passed after \d+\.\d s$", process.stdout, re.M)
    assert re.search(r"^g_green.ipynb: passed after \d+\.\d s$", process.stdout, re.M)


def test_run_prints_the_table(mixed):
    """Rejects: counting cells without a row, cells that raise, cells never run."""
    rows = re.findall(r"^(\w+)\.ipynb +\d+\.\d +(\d+) +(\d+)$", mixed[0].stdout, re.M)
    assert rows == [
        ("a_green", "7", "5"),
        ("b_false", "2", "0"),
        ("c_other", "1", "0"),
        ("d_silent", "1", "0"),
        ("e_unstored", "1", "0"),
        ("f_dead", "1", "0"),
        ("g_green", "1", "0"),
    ]
    assert re.search(
        r"^notebook +seconds +cells +checks passed$", mixed[0].stdout, re.M
    )


INT = "cell [1] `int('a')`"
TAGGED = "tagged raises-exception"
KEY = "expected KeyError, but it raised"
REMEDY = "to compare: run `make store`"
ERROR = "ValueError: invalid literal for int() with base 10: 'a'"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("b_false", "cell [2] `# why`: AssertionError: x is 3"),
        ("c_other", f"{INT}: {TAGGED}: {KEY} {ERROR}"),
        ("d_silent", f"cell [1] `1`: {TAGGED}: {KEY} nothing"),
        ("e_unstored", f"{INT}: raised {ERROR}; no exception is stored {REMEDY}"),
        ("f_dead", "cell [1] `import os`: the kernel died"),
    ],
)
def test_run_names_cell_and_error(mixed, name, line):
    assert dict(failures(mixed[0]))[name] == line


def test_run_leaves_the_source_and_writes_every_copy(mixed):
    _, before, after, output = mixed
    assert after == before
    assert sorted(path.name for path in output.iterdir()) == sorted(
        p.name for p in before
    )
    copy = nbformat.read(output / "b_false.ipynb", as_version=4)
    assert [c.get("execution_count") for c in copy.cells] == [None, 1, 2, None]
    assert copy.cells[2].outputs[0].ename == "AssertionError"


def listen():
    """Let Ctrl-C through, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupt_stops_kernels_and_command(tmp_path):
    """On a terminal: the line is updated in place, and Ctrl-C leaves nothing behind."""
    markers = [tmp_path / "first", tmp_path / "second"]
    sleep = "import os, time\nopen({!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    long = {m.name: [code("1"), code(sleep.format(str(m)))] for m in markers}
    before = save(tmp_path, **long)
    main, terminal = pty.openpty()
    notebooks = sorted(before)
    arguments = command("--output", tmp_path / "out", *notebooks)
    streams = {"stdout": terminal, "stderr": terminal}
    awaited = markers[: min(2, os.cpu_count())]
    with subprocess.Popen(arguments, preexec_fn=listen, **streams) as process:
        os.close(terminal)
        deadline = time.monotonic() + 30
        while not all(m.exists() and m.read_text() for m in awaited):
            assert time.monotonic() < deadline, "the notebooks did not start"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    shown = ""
    with contextlib.suppress(OSError):  # Linux: EIO at the end of a closed terminal
        while piece := os.read(main, 4096).decode():
            shown += piece
    os.close(main)
    assert "first.ipynb: cell 2 of 2" in shown
    assert shown.rstrip().endswith("interrupted: the kernels are stopped")
    assert "Traceback" not in shown
    for marker in awaited:
        with pytest.raises(ProcessLookupError):
            os.kill(int(marker.read_text()), 0)
    assert {k: v for k, v in contents(tmp_path).items() if k in before} == before


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two cores")
def test_notebooks_run_side_by_side_and_share_the_cores(tmp_path):
    """Rejects: one after another, and all cores for each."""
    wait = """import os, pathlib, time
pathlib.Path({mine!r}).touch()
deadline = time.monotonic() + 30
while not pathlib.Path({theirs!r}).exists():
    assert time.monotonic() < deadline, 'the other did not start'
    time.sleep(0.05)
assert os.environ['OMP_NUM_THREADS'] == {threads!r}, os.environ['OMP_NUM_THREADS']"""
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    each = {"threads": str(os.cpu_count() // 2)}
    save(
        tmp_path,
        a=[code(wait.format(mine=names[0], theirs=names[1], **each))],
        b=[code(wait.format(mine=names[1], theirs=names[0], **each))],
    )
    paths = sorted(tmp_path.glob("*.ipynb"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        done = run("--output", tmp_path / "out", *paths)
    assert done.returncode == 0, done.stdout + done.stderr


def test_store_writes_the_readmes_picture(tmp_path):
    png = "iVBORw0KGgo="  # the first eight bytes of every PNG file
    show = f"display({{'image/png': {png!r}}}, raw=True)"
    save(tmp_path, pictured=[code("x = 1"), code(show, "readme-picture")])
    done = run("--store", "--output", tmp_path / "out", tmp_path / "pictured.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    picture = tmp_path / "figures" / "readme.png"
    assert picture.read_bytes() == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.ipynb"], "none.ipynb: no such notebook"),
        (["text.ipynb"], "text.ipynb: not a notebook: Notebook does not appear to be"),
        (
            ["half.ipynb"],
            "half.ipynb: not a notebook: 'outputs' is a required property",
        ),
        (["empty.ipynb"], "empty.ipynb: no code cell to execute"),
        (["ok.ipynb", "--output", "."], "sources are there; choose another --output"),
        (["ok.ipynb", "--output", "text.ipynb"], "--output is a file"),
        (["ok.ipynb", "sub/ok.ipynb"], "two notebooks of one name"),
        (["--store", "ok.ipynb"], "--store: unset AELAB_DATASET"),
    ],
)
def test_bad_arguments_give_one_clear_error(
    tmp_path, monkeypatch, capsys, arguments, message
):
    (tmp_path / "sub").mkdir()
    before = save(tmp_path, ok=[code("1")], empty=[code(" ")])
    save(tmp_path / "sub", ok=[code("1")])
    (tmp_path / "text.ipynb").write_text("hello")
    cell = {"cell_type": "code", "id": "a", "source": "1", "metadata": {}}
    half = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "half.ipynb").write_text(json.dumps(half))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AELAB_DATASET", "mnist")
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    monkeypatch.syspath_prepend(RUN.parent)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(RUN), run_name="__main__")
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    _, line = error.strip().split("\n")
    assert message in line
    assert {k: v for k, v in contents(tmp_path).items() if k in before} == before


@pytest.fixture(scope="module")
def folder_28x28(tmp_path_factory):
    """Write the digits as 28x28 idx files, with MNIST's constant border of zeros."""
    folder = tmp_path_factory.mktemp("mnist")
    digits = load_digits()
    noise = np.random.default_rng(0).integers(0, 16, (len(digits.images), 24, 24))
    pixels = np.kron(digits.images, np.ones((3, 3))) * 15 + noise
    images = np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    for stem, part in (("train", slice(0, 1297)), ("t10k", slice(1297, None))):
        for kind, array in (("images", images[part]), ("labels", digits.target[part])):
            magic = struct.pack(">HBB", 0, 8, array.ndim)  # 8: unsigned bytes
            sizes = struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / f"{stem}-{kind}-idx{array.ndim}-ubyte"
            path.write_bytes(magic + sizes + array.astype(np.uint8).tobytes())
    return folder


def printed(path):
    """What a notebook says in words, output by output."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    return [out.get("text", out.get("data", {}).get("text/plain")) for out in outputs]


LECTURES = sorted(RUN.parent.glob("*.ipynb"))


@pytest.fixture(scope="module")
def on_28x28(folder_28x28, tmp_path_factory):
    """Run all lectures on these images, side by side."""
    output = tmp_path_factory.mktemp("on_28x28")
    environment = {"AELAB_DATASET": "mnist", "AELAB_DATA": str(folder_28x28)}
    return run("--output", output, *LECTURES, **environment), output


@pytest.mark.parametrize("source", LECTURES, ids=[path.stem for path in LECTURES])
def test_a_lecture_runs_unchanged_on_28x28_images(source, on_28x28):
    """Rejects: a lecture that counts on 64 pixels, or that runs on digits anyway."""
    process, output = on_28x28
    assert dict(failures(process)).get(source.stem) is None, process.stderr
    assert f"{source.name}: passed after" in process.stdout
    assert printed(output / source.name) != printed(source)
