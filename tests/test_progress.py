"""The bar: one line in a terminal, one emptied output in a notebook, else nothing."""

import io
import re
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from aelab import progress
from aelab.progress import Bar

NOTEBOOK = """
print("before")
from aelab.progress import Bar
with Bar(4) as bar:
    for step in range(4):
        bar.label = f"<step {step}>"
        bar.update(step + 1)
print("after")
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, modules={}))
    return stream


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test moves it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


class Kernel:
    """What IPython shows to `progress` in a notebook; remembers what is published."""

    def __init__(self):
        self.kernel = self
        self.published = []

    def get_ipython(self):
        return self

    def display(self, data, **options):
        self.published.append(data)
        return SimpleNamespace(update=self.display)


@pytest.fixture
def notebook(monkeypatch, clock):
    kernel = Kernel()
    display = SimpleNamespace(display=kernel.display)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return kernel.published


def run(clock, seconds, total=10):
    with Bar(total) as bar:
        bar.label = "epoch 1 of 2 & so on"
        for done in range(1, total + 1):
            clock.now += seconds
            bar.update(done)


# Shape and dtype


def test_terminal_bar_is_one_line_of_constant_length(terminal, clock):
    run(clock, 1.0)
    bars = re.findall(r"\[([#.]*)\]", terminal.getvalue())
    assert len(bars) == 10
    assert {len(bar) for bar in bars} == {20}
    assert "\n" not in terminal.getvalue()


# Value against an outside oracle


def test_share_and_seconds_left(terminal, clock):
    run(clock, 1.0, total=4)
    lines = terminal.getvalue().split("\r\x1b[K")[1:]
    assert [line.count("#") for line in lines] == [5, 10, 15, 20, 0]
    assert [re.findall(r"(\d+) s left", line) for line in lines] == [
        ["3"], ["2"], ["1"], ["0"], [],
    ]  # fmt: skip


def test_a_real_kernel_stores_nothing_to_see():
    """Rejects: a bar that stops at 100 %, or one that clears what the cell shows."""
    cell = nbformat.v4.new_code_cell(NOTEBOOK)
    client = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=120)
    (executed,) = client.execute().cells
    kinds = [out.output_type for out in executed.outputs]
    assert kinds == ["stream", "display_data", "stream"]
    assert executed.outputs[1].data == {}
    assert [executed.outputs[i].text for i in (0, 2)] == ["before\n", "after\n"]


# Property


def test_notebook_bar_is_empty_first_and_last(notebook, clock):
    run(clock, 1.0)
    assert len(notebook) == 12
    assert notebook[0] == notebook[-1] == {}
    assert '<progress value="0.500" max="1" aria-label="' in notebook[5]["text/html"]
    assert "epoch 1 of 2 &amp; so on" in notebook[5]["text/html"]
    assert notebook[5]["text/plain"] == "50% epoch 1 of 2 & so on, 5 s left"


def test_fast_steps_are_not_all_drawn(notebook, clock):
    run(clock, 0.03, total=100)
    assert 25 <= len(notebook) - 2 <= 30


def test_a_bar_is_wiped_when_its_loop_fails(terminal, clock):
    def fail():
        with Bar(3) as bar:
            bar.update(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_silent_elsewhere(capsys, clock):
    run(clock, 1.0)
    assert capsys.readouterr() == ("", "")


def test_silent_when_asked_to(notebook):
    with Bar(2, visible=False) as bar:
        bar.update(1)
    assert notebook == []


def test_ipython_in_a_terminal_is_a_terminal(terminal, clock, monkeypatch):
    shell = SimpleNamespace(get_ipython=lambda: object())
    monkeypatch.setitem(progress.sys.modules, "IPython", shell)
    run(clock, 1.0)
    assert "#" in terminal.getvalue()


# Error


def test_use_outside_of_with_is_an_error():
    with pytest.raises(AttributeError):
        Bar(3).update(1)
