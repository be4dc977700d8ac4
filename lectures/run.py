"""Execute the lectures from top to bottom: behind `make lectures` and `make store`.

A cell passes when it raises nothing; a cell tagged `raises-exception` passes when it
raises the exception that the source notebook stores, and no other. The executed copy
goes to the output folder, also when the notebook fails. Only `--store` writes to the
source notebook, and only when every cell passed and no output is a blemish.

The column `checks` counts the `assert` statements and the calls of `assert_close` or
`assert_allclose` in the cells that carry a `row-*` tag and ran without raising. They
are counted in the source: a check in a loop counts once.

Notebooks run side by side, up to four and up to one a core, and share the cores: the
models are so small that a second thread hardly helps them, but a second notebook does.
"""

import argparse
import ast
import asyncio
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from stored import (
    RAISES,
    blemishes,
    clean,
    is_code,
    label,
    plain,
    readme_picture,
    replace,
    tags,
    write,
)

LECTURES = Path(__file__).resolve().parent
CELL_TIMEOUT = 600  # seconds
CHECKS = {"assert_close", "assert_allclose"}
CORES = os.cpu_count() or 1
SIDE_BY_SIDE = 4  # at most: each takes some 600 MB


@dataclass
class Result:
    """What is known about one notebook after its execution."""

    name: str
    cells: int = 0  # executed
    checks: int = 0  # passed
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def count_checks(cell):
    """Count the checks of a row in a cell that has run."""
    if RAISES in tags(cell) or not any(tag.startswith("row-") for tag in tags(cell)):
        return 0
    try:
        nodes = list(ast.walk(ast.parse(cell.source)))
    except SyntaxError:  # IPython's own syntax: nothing that can be counted
        return 0
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [getattr(func, "attr", getattr(func, "id", "")) for func in called]
    asserts = sum(isinstance(node, ast.Assert) for node in nodes)
    return asserts + sum(name in CHECKS for name in names)


def stored_exception(cell):
    """Return the name of the exception that a cell's outputs store, or None."""
    names = [out.ename for out in cell.outputs if out.output_type == "error"]
    return names[0] if names else None


def objection(cell, reply, stored, storing):
    """Say what is wrong with the kernel's reply to a cell, or return None."""
    if reply["status"] not in ("ok", "error"):
        return f"the kernel did not run it ({reply['status']})"
    raised = reply["status"] == "error"
    error = f"{reply['ename']}: {plain(reply['evalue'])}" if raised else "nothing"
    if RAISES not in tags(cell):
        return error if raised else None
    if raised and (storing or reply["ename"] == stored):
        return None
    if raised and stored is None:
        return f"raised {error}; no exception is stored to compare: run `make store`"
    return f"tagged {RAISES}: expected {stored or 'any'}, but it raised {error}"


def kernel_manager():
    """Return a manager for the kernel of this interpreter.

    Without folders to search, jupyter_client takes ipykernel's own specification, whose
    command is sys.executable: a kernel that a user has installed under the name python3
    is never looked at.
    """
    native = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=native)
    manager.transport_encryption = "auto"  # else recent kernels warn at every start
    return manager


async def run_cells(nb, client, result, storing, show):
    """Execute the cells in order, and stop at the first that does not pass."""
    replies = []
    client.on_cell_executed = lambda execute_reply, **_: replies.append(execute_reply)
    total = sum(map(is_code, nb.cells))
    for index, cell in enumerate(nb.cells):
        if not is_code(cell):
            continue
        stored = stored_exception(cell)
        cell.execution_count = result.cells = result.cells + 1
        show(f"cell {result.cells} of {total}")
        try:
            await client.async_execute_cell(cell, index, result.cells)
            problem = objection(cell, replies[-1]["content"], stored, storing)
        except CellTimeoutError:
            problem = f"ran longer than {CELL_TIMEOUT} s"
        except DeadKernelError:
            problem = "the kernel died"
        if problem:
            result.failures.append(f"{label(cell)}: {problem}")
            return
        result.checks += count_checks(cell)


class Display:
    """What the command says while notebooks run: on a terminal, one line in place."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.running = {}  # name -> what it does
        self.lock = threading.Lock()

    def show(self, name, text):
        """Say what a notebook does now."""
        with self.lock:
            new = name not in self.running
            self.running[name] = f"{name}: {text}"
            if self.terminal or new:
                self._write(self.running[name] + "\n" if not self.terminal else "")

    def end(self, name, text):
        """Say how a notebook ended, on a line that stays."""
        with self.lock:
            self.running.pop(name, None)
            self._write(f"{name}: {text}\n")

    def _write(self, line):
        start = "\r\x1b[K" if self.terminal else ""
        rest = ", ".join(self.running.values()) if self.terminal else ""
        print(f"{start}{line}{rest}", end="", flush=True)


class Lectures:
    """The notebooks of one call, each executed in a kernel of its own."""

    def __init__(self, output, storing, jobs):
        self.output, self.storing = output, storing
        self.threads = str(max(1, CORES // jobs))
        self.display = Display()
        self.kernels = []  # their managers, while they run
        self.stopped = False

    def run(self, path, nb):
        """Execute one notebook, write its copy, store it if asked; return its Result.

        After `stop` nothing is executed or written any more.
        """
        result = Result(path.name)
        if not self.stopped:
            self.display.show(path.name, "started")
            asyncio.run(self.execute(nb, path, result))
        if self.stopped:
            return result
        if self.storing:
            clean(nb)
            result.failures += blemishes(nb)
        write(nb, self.output / path.name)
        if self.storing and not result.failures:
            write(nb, path)
            if picture := readme_picture(nb):
                figures = path.parent / "figures"
                figures.mkdir(exist_ok=True)
                replace(figures / "readme.png", picture)
        passed = "stored" if self.storing else "passed"
        verdict = "FAILED" if result.failures else passed
        self.display.end(path.name, f"{verdict} after {result.seconds:.1f} s")
        return result

    async def execute(self, nb, path, result):
        """Execute a notebook in place, and write down what is seen."""
        manager = kernel_manager()
        client = NotebookClient(
            nb,
            manager,
            timeout=CELL_TIMEOUT,
            allow_errors=True,
            record_timing=False,
            shutdown_kernel="immediate",
        )
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as profile:  # no start-up files of the user
            env = {"OMP_NUM_THREADS": self.threads} | os.environ
            env |= {"PYTHONHASHSEED": "0", "IPYTHONDIR": profile}
            try:
                where = {"cwd": str(path.parent), "env": env}
                async with client.async_setup_kernel(cleanup_kc=True, **where):
                    self.kernels.append(manager)
                    show = partial(self.display.show, path.name)
                    await run_cells(nb, client, result, self.storing, show)
            except RuntimeError as error:
                trouble = f"no cell: kernel trouble: {plain(str(error))}"
                result.failures.append(trouble)
        result.seconds = time.perf_counter() - start

    def stop(self):
        """Kill the kernels: what waits for them ends."""
        self.stopped = True
        for manager in self.kernels:
            if manager.has_kernel:
                manager.provisioner.process.kill()


def report(results):
    """Print the table, and under it every failure."""
    width = max(len(result.name) for result in results)
    print(f"\n{'notebook':{width}}  seconds  cells  checks passed")
    for r in results:
        print(f"{r.name:{width}}  {r.seconds:7.1f}  {r.cells:5d}  {r.checks:13d}")
    for r in results:
        for failure in r.failures:
            print(f"FAILED {r.name}, {failure}")


def read(path):
    """Read a notebook; ValueError says why there is nothing to execute."""
    if not path.is_file():
        raise ValueError(f"{path}: no such notebook")
    try:
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
    except Exception as error:  # the reader's own errors are of many types
        raise ValueError(f"{path}: not a notebook: {plain(str(error))[:80]}") from error
    if not any(map(is_code, nb.cells)):
        raise ValueError(f"{path}: no code cell to execute")
    return nb


def main():
    """Run the command; its status is 0 only if every notebook passed."""
    parser = argparse.ArgumentParser(description="Execute the lectures.")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--output", type=Path, default=Path("build/lectures"))
    parser.add_argument("--store", action="store_true", help="write outputs back")
    args = parser.parse_args()
    paths = [p.resolve() for p in args.notebooks] or sorted(LECTURES.glob("*.ipynb"))
    output = args.output.resolve()
    try:
        if not paths:
            raise ValueError(f"{LECTURES}: no notebook there")
        if len({path.name for path in paths}) < len(paths):
            raise ValueError("two notebooks of one name would share one copy")
        if output in {LECTURES, *(path.parent for path in paths)}:
            raise ValueError(f"{output}: sources are there; choose another --output")
        if output.is_file():
            raise ValueError(f"{output}: --output is a file, not a folder")
        if args.store and "AELAB_DATASET" in os.environ:
            raise ValueError("--store: unset AELAB_DATASET, so that the default is run")
        notebooks = {path: read(path) for path in paths}
        output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    jobs = min(len(paths), CORES, SIDE_BY_SIDE)
    lectures = Lectures(output, args.store, jobs)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            results = list(pool.map(lectures.run, paths, notebooks.values()))
        except KeyboardInterrupt:
            lectures.stop()
            pool.shutdown()
            print("\ninterrupted: the kernels are stopped", flush=True)
            return 130
    report(results)
    return int(any(result.failures for result in results))


if __name__ == "__main__":
    sys.exit(main())
