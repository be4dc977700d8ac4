"""lectures/stored.py: what `make store` writes, and what it refuses to write."""

import importlib.util
import os
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output
from notebooks import RUN, code, contents, failures, run, save

COURSE = RUN.parents[1]


WIDGET = "application/vnd.jupyter.widget-view+json"
SHOW = "display({{{html}" + repr(WIDGET) + ": {{}}, 'text/plain': 'it'}}, raw=True)"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two runs of --store: over good and bad notebooks, then the good one again."""
    folder = tmp_path_factory.mktemp("stored")
    broken = (
        "import sys\nsys.path.insert(0, {!r})\nfrom stored import write\nwrite(1, 2)"
    )
    save(
        folder,
        good=[
            code("import time, json"),
            code("for i in range(3):\n    print(i, flush=True)\n    time.sleep(0.3)"),
            code("json.loads('{')", "raises-exception", stored="KeyError"),
            code(broken.format(str(RUN.parent)), "raises-exception"),
            code("display(*[{'text/plain': 'a figure'}][:1])\nprint({'b', 'a', 'c'})"),
            code(SHOW.format(html="'text/html': '<p>a page</p>', ")),
            code(SHOW.format(html="")),
        ],
        loud=[
            code("import sys"),
            code("print('careful', file=sys.stderr)"),
            code("object()"),
            code(f"print({str(COURSE)!r} + '/aelab')"),
        ],
        red=[code("print(1)"), code("1 / 0")],
        quiet=[code("1", "raises-exception", stored="KeyError")],
    )
    good = folder / "good.ipynb"
    nb = nbformat.read(good, as_version=4)
    nb.metadata.update(
        widgets={"state": {}}, jupytext={}, authors=[{"name": "A. Author"}]
    )
    nb.metadata.kernelspec = {
        "name": "mine",
        "display_name": "Mine",
        "language": "python",
    }
    nb.metadata.language_info = {"name": "python", "version": "3.99"}
    stale = [new_output("stream", name="stdout", text="from a cell that was emptied")]
    nb.cells.append(new_code_cell(" ", outputs=stale, execution_count=9))
    nb.cells[1].metadata.update(execution={"iopub.status.busy": "x"}, collapsed=True)
    nbformat.write(nb, good)
    good.chmod(0o640)
    before = contents(folder)
    output = tmp_path_factory.mktemp("out")
    first = run("--store", "--output", output, *sorted(folder.glob("*.ipynb")))
    once = contents(folder)
    second = run("--store", "--output", output, good)
    return first, second, before, once, contents(folder), good


def test_store_writes_only_what_is_green_and_clean(stored):
    first, second, before, once, _, good = stored
    assert (first.returncode, second.returncode) == (1, 0)
    assert {path.name for path in once} == {path.name for path in before}  # no leftover
    assert {path.name for path in once if once[path] != before[path]} == {"good.ipynb"}
    assert "good.ipynb: stored after" in first.stdout
    assert good.stat().st_mode & 0o777 == 0o640


def test_store_is_byte_identical_when_the_outputs_are(stored):
    """Rejects: stream pieces as the kernel cut them, new cell ids, timing metadata."""
    _, _, _, once, twice, _ = stored
    assert twice == once


def test_store_names_every_blemish(stored):
    lines = failures(stored[0])
    found = "\n".join(line for name, line in lines if name == "loud")
    assert found.startswith("cell [2] `print('careful', file=sys.stderr)`: writes to")
    assert found.count("\n") == 2
    assert re.search(
        r"cell \[3\] `object\(\)`: shows 0x[0-9a-f]+, true only here", found
    )
    assert re.search(rf"cell \[4\] .* shows {re.escape(str(COURSE))}, true only", found)
    assert ("red", "cell [2] `1 / 0`: ZeroDivisionError: division by zero") in lines
    assert any(name == "quiet" and "raised nothing" in line for name, line in lines)


def test_store_cleans_metadata_and_keeps_the_rest(stored):
    _, _, before, once, _, good = stored
    old, new = (nbformat.reads(v[good].decode(), as_version=4) for v in (before, once))
    assert [cell.id for cell in new.cells] == [cell.id for cell in old.cells]
    assert dict(new.metadata) == {
        "authors": [{"name": "A. Author"}],
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    assert new.cells[1].metadata == {"tags": []}
    assert new.cells[2].outputs == [
        new_output("stream", name="stdout", text="0\n1\n2\n")
    ]
    assert new.cells[3].outputs[0].ename == "JSONDecodeError"  # replaces the stored one
    assert (new.cells[-1].outputs, new.cells[-1].execution_count) == ([], None)
    assert once[good].endswith(b"}\n")


def test_store_drops_a_live_view_where_a_page_stands_for_it(stored):
    # Rejects: a stored lecture that opens blank, and one that loses its only output.
    *_, once, _, good = stored
    with_page, alone = nbformat.reads(once[good].decode(), as_version=4).cells[6:8]
    assert set(with_page.outputs[0].data) == {"text/html", "text/plain"}
    assert set(alone.outputs[0].data) == {WIDGET, "text/plain"}


def test_store_shortens_the_paths_of_a_traceback(stored):
    *_, once, _, good = stored
    text = once[good].decode()
    assert "json/decoder.py" in text
    assert "lectures/stored.py" in text
    assert str(COURSE) + "/lectures/stored.py" not in text


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    """Rejects: writing in place, and leaving half a file beside it."""
    before = save(tmp_path, old=[code("1")])
    spec = importlib.util.spec_from_file_location("stored", RUN.with_name("stored.py"))
    stored = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stored)

    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    nb = nbformat.read(tmp_path / "old.ipynb", as_version=4)
    nb.cells.pop()
    with pytest.raises(KeyboardInterrupt):
        stored.write(nb, tmp_path / "old.ipynb")
    assert contents(tmp_path) == before
