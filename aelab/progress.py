"""A bar that shows how far something is, and leaves nothing behind.

In a notebook it is one HTML ``<progress>``, emptied at the end, so that a stored
lecture holds no bar stopped at 97 %. In a terminal it is one line, written over and
wiped. Elsewhere, as in a log file or a test, it is silent.
"""

import html
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self

INTERVAL = 0.1  # seconds between two drawings: a bar must not cost what it measures


class _Canvas(Protocol):
    def draw(self, share: float, text: str) -> None: ...
    def wipe(self) -> None: ...


class Bar:
    """A bar, to be used in a ``with`` statement.

    Parameters
    ----------
    total : int
        How many steps there are.
    visible : bool
        False for no bar at all.

    Attributes
    ----------
    label : str
        The words to the right of the bar, to be changed at will.
    """

    def __init__(self, total: int, *, visible: bool = True) -> None:
        self.total = total
        self.visible = visible
        self.label = ""

    def __enter__(self) -> Self:
        self._canvas = _canvas() if self.visible else None
        self._start = time.monotonic()
        self._next = self._start
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._canvas is not None:
            self._canvas.wipe()

    def update(self, done: int) -> None:
        """Show that `done` steps are done, unless it was drawn a moment ago.

        Parameters
        ----------
        done : int
            From 1 to `total`.
        """
        if self._canvas is None or (now := time.monotonic()) < self._next:
            return
        self._next = now + INTERVAL
        left = (now - self._start) * (self.total - done) / done
        words = [self.label, f"{left:.0f} s left"]
        self._canvas.draw(done / self.total, ", ".join(filter(None, words)))


def _canvas() -> _Canvas | None:
    # A notebook's kernel has imported IPython long ago: nothing is imported for it.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        return _Notebook()
    return _Terminal() if sys.stderr.isatty() else None


class _Notebook:
    def __init__(self) -> None:
        from IPython.display import display

        # Empty first and last: what is stored is one output without data.
        self._handle: Any = display({}, raw=True, display_id=True)

    def draw(self, share: float, text: str) -> None:
        label = html.escape(text)
        bar = f'<progress value="{share:.3f}" max="1" aria-label="{label}"></progress>'
        data = {"text/html": f"{bar} {label}", "text/plain": f"{share:.0%} {text}"}
        self._handle.update(data, raw=True)

    def wipe(self) -> None:
        self._handle.update({}, raw=True)


class _Terminal:
    WIDTH = 20  # characters

    def draw(self, share: float, text: str) -> None:
        full = round(share * self.WIDTH)
        bar = "#" * full + "." * (self.WIDTH - full)
        self._write(f"[{bar}] {text}")

    def wipe(self) -> None:
        self._write("")

    def _write(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
