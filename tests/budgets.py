"""The budgets of a lecture: form, rows, equations, alt text, and what is stored.

Each rule is a function from a lecture to a list of violations.
"""

import ast
import re
import statistics

import nbformat

# What every lecture teaches, in its order.
ROWS = {
    "00": "N1 N2 N3 N5 N6 N4",
    "01": "P3 P4 P4b P5 P6 P12 P10 P8 P7 P6b P1 P2 P11 P11b P9 P13",
    "02": "A1 A4 A5 A2 A3 A6 A7 A8 A8b A9 A10 A11 A11b A12 A15 A13 A14",
    "03": "S1 S2 S3 S4 S5 D1 D2 D3 D4 D6 D7 S6 D5",
    "04a": "V1 V1a V3a V3 V5 V4 V8 V6 V7 V11 V14 V14b V15 V2 V14c",
    "04b": "V13 V9 V10 V12 V16 V17 V18 V19",
    "05": "Q1 Q2 Q4 Q5 Q6 Q9 Q10 Q3 Q7 Q8 Q10b Q11 Q12",
    "06": "G1 G2 G3 G4 G5",
}
UNCHECKED = {"Q12", "G5"}  # a reading list and a table: nothing to assert
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
SESSION = {"ExecuteTime", "collapsed", "execution", "papermill", "scrolled", "vscode"}


class Lecture:
    """A notebook, its stem, and what the rules ask of it."""

    def __init__(self, stem, text):
        self.stem = stem
        self.text = text
        self.nb = nbformat.reads(text, as_version=4)
        self.number = int(stem[:2])
        self.code = [c for c in self.nb.cells if c.cell_type == "code"]
        self.prose = "\n".join(
            c.source for c in self.nb.cells if c.cell_type == "markdown"
        )
        self.outputs = [(c, out) for c in self.code for out in c.outputs]

    def nodes(self, cell):
        try:
            return list(ast.walk(ast.parse(cell.source)))
        except SyntaxError:
            return []


def where(cell):
    return f"cell [{cell.execution_count}]"


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def opening(lecture):
    """The first cell: a title, a question, three lines of what the reader can then."""
    cell = lecture.nb.cells[0]
    lines = cell.source.splitlines()
    promise = [
        n for n, line in enumerate(lines) if "after this lecture you" in line.lower()
    ]
    return [
        message
        for message, fine in {
            "the first cell is no title": cell.cell_type == "markdown"
            and lines[0].startswith("# "),
            "the first cell asks no question": "?" in cell.source,
            "not three lines after 'After this lecture you can'": promise
            and sum(bool(re.match(r"([-*]|\d\.) ", s)) for s in lines[promise[0] :])
            == 3,
        }.items()
        if not fine
    ]


def imports(lecture):
    """One import cell, and it is the first code cell."""
    kinds = (ast.Import, ast.ImportFrom)
    cells = [
        where(cell)
        for cell in lecture.code
        if any(isinstance(node, kinds) for node in lecture.nodes(cell))
    ]
    return [] if cells == [where(lecture.code[0])] else [f"imports in {cells}"]


def plumbing(lecture):
    """Plain Python only: no magic, no shell, no path hack, no installation."""
    found = []
    for cell in lecture.code:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            found.append(f"{where(cell)}: no plain Python: {error.text}")
        for word in ("sys.path", "pip install", "get_ipython", "os.system"):
            if word in cell.source:
                found.append(f"{where(cell)}: {word}")
    return found


def lengths(lecture):
    """Lines a cell: median 6, nine of ten at most 12; with comments none over 20."""
    sizes = [
        sum(bool(re.match(r"\s*[^\s#]", line)) for line in cell.source.splitlines())
        for cell in lecture.code
    ]
    found = [
        f"{where(cell)}: {len(cell.source.splitlines())} lines"
        for cell in lecture.code
        if len(cell.source.splitlines()) > 20
    ]
    if statistics.median(sizes) > 6:
        found.append(f"median {statistics.median(sizes)} lines")
    if (share := sum(size <= 12 for size in sizes) / len(sizes)) < 0.9:
        found.append(f"{share:.0%} of the cells have at most 12 lines")
    return found


def equations(lecture):
    r"""Equations carry unique numbers \tag{lecture.n}; a reference has its equation."""
    numbers = re.findall(r"\\tag\{([^}]*)\}", lecture.prose)
    form = re.compile(rf"{lecture.number}\.\d+")
    written = "\n".join(cell.source for cell in lecture.nb.cells)
    cited = re.findall(rf"Eq\. \(({lecture.number}\.\d+)\)", written)
    return [
        *([] if numbers else ["no equation has a number"]),
        *(
            f"tag {n} is not {lecture.number}.n"
            for n in numbers
            if not form.fullmatch(n)
        ),
        *(f"tag {n} twice" for n in sorted(set(numbers)) if numbers.count(n) > 1),
        *(f"Eq. ({n}) is nowhere" for n in sorted(set(cited) - set(numbers))),
    ]


def failure_on_purpose(lecture):
    """At least one cell fails on purpose, and what it raises is stored."""
    cells = [cell for cell in lecture.code if has_tag(cell, "raises-exception")]
    found = [] if cells else ["no cell is tagged raises-exception"]
    for cell in cells:
        if "error" not in [out.output_type for out in cell.outputs]:
            found.append(f"{where(cell)}: no exception is stored")
    return found


def execution(lecture):
    """Stored as executed from top to bottom, without warnings and other errors."""
    counts = [cell.execution_count for cell in lecture.code]
    found = [] if counts == list(range(1, len(counts) + 1)) else [f"order {counts}"]
    for cell, out in lecture.outputs:
        if out.get("name") == "stderr":
            found.append(f"{where(cell)}: writes to stderr")
        if out.output_type == "error" and not has_tag(cell, "raises-exception"):
            found.append(f"{where(cell)}: {out.ename} is stored")
    return found


def size(lecture):
    """At most 600 kB."""
    kilobytes = len(lecture.text.encode()) / 1000
    return [f"{kilobytes:.0f} kB"] if kilobytes > 600 else []


def alt_text(lecture):
    """Every picture has alt text of some words."""
    found = []
    for cell, out in lecture.outputs:
        for kind in out.get("data", {}):
            alt = out.metadata.get(kind, {}).get("alt", "")
            if kind.startswith("image/") and len(alt.split()) < 5:
                found.append(f"{where(cell)}: alt text {alt!r}")
    for alt in re.findall(r"!\[([^\]]*)\]\(", lecture.prose):
        if len(alt.split()) < 5:
            found.append(f"picture in the prose: alt text {alt!r}")
    return found


def metadata(lecture):
    """Nothing of a session: kernel by name, no widget state, no timing, no folding."""
    meta = lecture.nb.metadata
    found = []
    if meta.get("kernelspec") != KERNEL:
        found.append(f"kernelspec {meta.get('kernelspec')}")
    if meta.get("language_info") != {"name": "python"}:
        found.append(f"language_info {meta.get('language_info')}")
    if "widgets" in meta:
        found.append("widget state")
    for cell in lecture.nb.cells:
        if extra := SESSION & set(cell.metadata):
            found.append(f"cell {cell.id}: {sorted(extra)}")
    return found


def row_checks(lecture, cell):
    """Split the checks of a cell into good ones and complaints."""
    nodes = lecture.nodes(cell)
    asserts = [node for node in nodes if isinstance(node, ast.Assert)]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    good = sum(
        getattr(f, "attr", getattr(f, "id", "")) == "assert_close" for f in calls
    )
    bad = []
    for node in asserts:
        if isinstance(node.test, ast.Constant | ast.Tuple):
            bad.append(f"{where(cell)}: asserts a constant")
        elif node.msg is None or getattr(node.msg, "value", "a message") == "":
            bad.append(f"{where(cell)}: assert without a message")
        else:
            good += 1
    return good, bad


def rows(lecture):
    """The rows of the syllabus, in its order, each with a check that can fail."""
    expected = ROWS[lecture.stem.split("_")[0]].split()
    seen, checked, found = [], set(), []
    for cell in lecture.code:
        tags = [t for t in cell.metadata.get("tags", []) if t.startswith("row")]
        found += [t for t in tags if not re.fullmatch(r"row-[A-Z]\d+[a-z]?", t)]
        good, bad = row_checks(lecture, cell) if tags else (0, [])
        found += bad
        for row in (tag.removeprefix("row-") for tag in tags):
            seen += [] if row in seen else [row]
            if good and not has_tag(cell, "raises-exception"):
                checked.add(row)
    found += [] if seen == expected else [f"rows {seen}, expected {expected}"]
    unchecked = [row for row in seen if row not in checked | UNCHECKED]
    return found + [f"row {row} has no check" for row in unchecked]


RULES = [
    opening, imports, plumbing, lengths, equations, failure_on_purpose, execution,
    size, alt_text, metadata, rows,
]  # fmt: skip
