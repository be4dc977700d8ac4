"""What `make store` keeps of an executed lecture: clean, and true on any machine."""

import base64
import json
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import nbformat

COURSE = Path(__file__).resolve().parent.parent
RAISES = "raises-exception"
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE = "readme-picture"  # the tag of the cell whose figure the README shows
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
# Cell metadata that belongs to one session in an editor, not to the text.
SESSION = ("ExecuteTime", "collapsed", "execution", "papermill", "scrolled", "vscode")


def is_code(cell):
    """Say whether there is anything to execute in a cell."""
    return cell.cell_type == "code" and bool(cell.source.strip())


def tags(cell):
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def label(cell):
    """Name a cell by its execution number and its first line."""
    return f"cell [{cell.execution_count}] `{cell.source.strip().splitlines()[0]}`"


def plain(text):
    """Return a text on one line, without the colours of a terminal."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def join_streams(outputs):
    """Join neighbouring pieces of one stream: where the kernel cuts it is chance."""
    joined = []
    for out in outputs:
        if joined and "name" in out and out.name == joined[-1].get("name"):
            joined[-1].text += out.text
        else:
            joined.append(out)
    return joined


def shorten_paths(line):
    """Keep `aelab/ops.py` of a path in a traceback: the same on every machine."""
    folders = [*map(sysconfig.get_path, ("purelib", "stdlib")), str(COURSE)]
    home = str(Path.home())  # which IPython writes as ~
    for folder in folders:
        for form in (folder, folder.replace(home, "~", 1)):
            line = line.replace(f"{form}{os.sep}", "")
    return line


def clean(nb):
    """Take from an executed notebook what belongs to this session and machine."""
    for key in ("widgets", "jupytext"):
        nb.metadata.pop(key, None)
    nb.metadata.update(kernelspec=dict(KERNEL), language_info={"name": "python"})
    for cell in nb.cells:
        for key in SESSION:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs if is_code(cell) else [])
            cell.execution_count = cell.execution_count if is_code(cell) else None
            for out in cell.outputs:
                if "text/html" in out.get("data", {}):
                    out.data.pop(WIDGET, None)  # without a kernel it would show nothing
                if out.output_type == "error":
                    out.traceback = [shorten_paths(line) for line in out.traceback]


def blemishes(nb):
    """List what no reader of a stored lecture should find in its outputs."""
    found = []
    folders = {re.escape(str(p)) for p in (Path.home(), COURSE, sys.prefix) if p != "/"}
    machine = re.compile(rf"0x[0-9a-fA-F]{{9,}}|(?:{'|'.join(folders)})(?![\w-])")
    for cell in filter(is_code, nb.cells):
        for out in cell.outputs:
            data = {k: v for k, v in out.get("data", {}).items() if k != "image/png"}
            text = json.dumps({**out, "data": data}, ensure_ascii=False)
            if out.get("name") == "stderr":
                found.append(f"{label(cell)}: writes to stderr: {plain(out.text)}")
            elif match := machine.search(text):
                found.append(f"{label(cell)}: shows {match[0]}, true only here and now")
    return found


def readme_picture(nb):
    """Return the PNG file that a notebook has for the README, or None."""
    for cell in nb.cells:
        for out in cell.outputs if PICTURE in tags(cell) else []:
            if "image/png" in out.get("data", {}):
                return base64.b64decode(out.data["image/png"])
    return None


def write(nb, path):
    """Write a notebook so that a reader meets the old file or the new one, whole."""
    replace(path, (nbformat.writes(nb) + "\n").encode())


def replace(path, content):
    """Put a file with this content in the place of the old one, in one step."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
