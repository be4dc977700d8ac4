"""The house rules: who imports whom, what stands where, what it is called.

Each rule is a function from a tree of texts, path by path, to a list of violations.
"""

import ast
import json
import re
import tomllib
from pathlib import PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDERS = ("aelab", "csrc", "lectures", "tests", "benchmarks", "docs", ".ci", ".")
SKIPPED = {"__pycache__", ".ipynb_checkpoints"}


def read_tree(root):
    """Return the texts of the project: path from its root -> text."""
    tree = {}
    for folder in FOLDERS:
        walk = (root / folder).rglob("*") if folder != "." else root.iterdir()
        for path in sorted(walk):
            if not path.is_file() or SKIPPED & set(path.parts):
                continue
            if path.name.startswith(".coverage"):  # comes and goes while tests run
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            tree[path.relative_to(root).as_posix()] = text
    return tree


def cells(text, kind):
    return [
        "".join(cell["source"])
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == kind
    ]


def rooms(tree):
    """The rooms by path: aelab/models/pca.py -> models.pca, aelab/__init__.py -> ''."""
    paths = [PurePosixPath(p) for p in tree if re.fullmatch(r"aelab/.*\.py", p)]
    names = {str(p): ".".join(p.with_suffix("").parts[1:]) for p in paths}
    return {
        path: name.removesuffix("__init__").strip(".") for path, name in names.items()
    }


def programs(tree, *folders):
    """Every Python text of some folders, a notebook cell by cell: (path, ast)."""
    for path, text in tree.items():
        if path.split("/")[0] in folders and path.endswith(".py"):
            yield path, ast.parse(text)
        if path.split("/")[0] in folders and path.endswith(".ipynb"):
            for source in cells(text, "code"):
                yield path, ast.parse(source)


def imported(path, program):
    """Every module that a program imports, by its absolute name."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) + 1 - node.level] if node.level else []
            start = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


EDGES = {
    ("models.autoencoder", "models.arguments"),
    ("models.sequence", "models.arguments"),
    ("models.vae", "models.arguments"),
    ("models.vae", "ops"),
    ("models.vqvae", "models.arguments"),
    ("ops", "extension"),
    ("training", "checkpoint"),
    ("training", "progress"),
}


def room_imports(tree):
    """The rooms meet only in a lecture: few edges, and the doors that lead nowhere."""
    names = rooms(tree)
    found = []
    for path, program in programs(tree, "aelab"):
        room = names[path]
        for module in imported(path, program):
            target = module.removeprefix("aelab").strip(".")
            hits = [n for n in names.values() if n and f"{target}.".startswith(f"{n}.")]
            if not re.match(r"aelab(\.|$)", module) or not hits:
                continue
            other = max(hits, key=len)
            free = room in ("__main__", "doctor") or room.startswith("grading")
            inside = room == "models" and other.startswith("models")
            packages = ("data", "losses", "metrics")
            inside |= room.split(".")[0] == other.split(".")[0] in packages
            if other != room and not (free or inside or (room, other) in EDGES):
                found.append(f"{path} imports {other}")
    return found


def outward_imports(tree):
    """No room imports a lecture or a test, no lecture a test or the extension."""
    files = [PurePosixPath(p) for p in tree if p.startswith(("lectures/", "tests/"))]
    text = {"tests", "lectures", *(p.stem for p in files if p.suffix == ".py")}
    tests = {"tests", *(p.stem for p in files if p.parts[0] == "tests")}
    found = []
    for path, program in programs(tree, "aelab", "lectures"):
        for module in imported(path, program):
            banned = text if path.startswith("aelab") else tests
            if module.split(".")[0] in banned or "aelab._C" in (module, module[:8]):
                found.append(f"{path} imports {module}")
    return found


def pyplot(tree):
    """No room imports pyplot, whose figures are global state."""
    return [
        f"{path} imports {module}"
        for path, program in programs(tree, "aelab")
        for module in imported(path, program)
        if re.match(r"matplotlib\.(pyplot|pylab)\b|pylab\b", module)
    ]


# Test files that mirror no room, and why.
OTHER_TESTS = {
    "tests/test_exercises.py": "the exercises' sets, and what the judge makes of them",
    "tests/test_house.py": "the rules of the house as a whole",
    "tests/test_lectures.py": "the rules of the lectures as texts",
    "tests/test_csrc.py": "the sources of csrc/, as files and as a built library",
    "tests/test_ops_mutants.py": "the table of wrong answers that test_ops rejects",
    "tests/test_ops_fuzz.py": "100,000 random calls of the op, right and wrong",
    "tests/test_ops_processes.py": "the op among threads, processes, copies and files",
    "tests/test_training_mutants.py": "the same for losses and the training loop",
}


def mirror_of(path):
    """The test of a room or of a lecture's program, or None."""
    match = re.fullmatch(r"(?:aelab|(lectures))/((?:\w+/)*)(\w+)\.py", path)
    if not match or match[3] == "__init__" or match[2] == "exercises/specs/":
        return None
    folder = f"lectures/{match[2]}" if match[1] else match[2]
    return f"tests/{folder}test_{match[3].strip('_')}.py"


def mirror(tree):
    """Every room has its test file, every test file has its room and a name."""
    expected = {mirror_of(path) for path in tree} - {None}
    there = {p for p in tree if re.fullmatch(r"tests/(.*/)?test_\w+\.py", p)}
    return [
        *(f"{path} is missing" for path in sorted(expected - there)),
        *(
            f"{path} mirrors nothing"
            for path in sorted(there - expected - set(OTHER_TESTS))
        ),
        *(  # pytest imports test files by their names alone
            f"{path} has the name of another test file"
            for path in sorted(there)
            if sum(p.endswith(path[path.rindex("/") :]) for p in there) > 1
        ),
    ]


KINDS = ("Shape and dtype", "Value", "Property", "Error")
# Path -> the kinds that it does without, and why.
WITHOUT_KINDS = {
    "tests/test_main.py": {"Shape and dtype": "it prints text"},
    "tests/data/test_checks.py": {
        "Shape and dtype": "a check returns nothing",
        "Value": "a check returns nothing",
    },
    "tests/models/test_arguments.py": {
        "Shape and dtype": "a check computes nothing",
        "Value": "a check computes nothing",
    },
    "tests/data/test_download.py": {"Shape and dtype": "it moves bytes"},
    "tests/test_extension.py": {"Shape and dtype": "it loads a library, not a tensor"},
}


def four_kinds(tree):
    """Each test file of a room holds four kinds under headings, in this order."""
    found = []
    for path in filter(None, (mirror_of(p) for p in tree if p.startswith("aelab/"))):
        expected = [kind for kind in KINDS if kind not in WITHOUT_KINDS.get(path, "")]
        heading = rf"^# ({'|'.join(KINDS)})\b.{{0,40}}$"
        headings = re.findall(heading, tree.get(path, ""), re.MULTILINE)
        if headings != expected:
            found.append(f"{path}: {headings}, expected {expected}")
    return found


def equation_links(tree):
    r"""Eq. (n.m) in the code has its \tag{n.m} in a lecture."""
    lectures = [text for path, text in tree.items() if path.endswith(".ipynb")]
    prose = "\n".join("\n".join(cells(text, "markdown")) for text in lectures)
    return [
        f"{path}: Eq. ({number})"
        for path, text in tree.items()
        if path.startswith(("aelab/", "csrc/"))
        for number in re.findall(r"\bEqs?\.\s+\(?(\d+\.\d+)", text)
        if rf"\tag{{{number}}}" not in prose
    ]


FORBIDDEN = re.compile(
    r"recon_x|KLD|log_var|logsigma|log_sigma|enc|dec|fc\d+|my_\w+|new_\w+|\w+_v2|X|Y|Y_hat"
)


def defined(program):
    """Every name that a program gives: to a variable, argument, function, class."""
    for node in ast.walk(program):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def names(tree):
    """One spelling, the field's: names of other courses' code do not occur."""
    found = [
        f"{path}: {name}"
        for path, program in programs(tree, "aelab", "lectures", "tests", "benchmarks")
        for name in defined(program)
        if FORBIDDEN.fullmatch(name)
    ]
    cpp = re.compile(r"\b(recon_x|KLD|log_var|logsigma|log_sigma|fc\d+)\b")
    code = {p: re.sub(r"//.*", "", t) for p, t in tree.items() if p.startswith("csrc/")}
    return found + [f"{p}: {name}" for p, t in code.items() for name in cpp.findall(t)]


def room_names(tree):
    """A function without a room belongs to its caller: no room for all and nothing."""
    vague = {"utils", "util", "helpers", "common", "misc", "base", "config"}
    paths = [PurePosixPath(p) for p in tree if p.startswith(("aelab/", "csrc/"))]
    return [str(p) for p in paths if vague & {p.stem, *p.parts}]


def section(doc, title):
    """The text under a numpydoc heading, or None."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[^\n]*\n-+$|\Z)", doc, re.M | re.S)
    return match and match[1]


def complaints(node, explained):
    """What is missing in the docstring of a public function or class.

    The module's docstring may explain an argument, in ``backticks``, once for all.
    """
    doc = ast.get_docstring(node) or ""
    summary, *rest = doc.split("\n")
    if not summary.endswith((".", "?")) or (rest and rest[0]):
        return ["no summary of one line"]
    if isinstance(node, ast.ClassDef):
        inits = [f for f in node.body if getattr(f, "name", "") == "__init__"]
        args = inits[0].args if inits else None
    else:
        args = node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs] if args else []
    wanted = [arg.arg for arg in every if arg.arg not in ("self", "cls")]
    parameters = section(doc, "Parameters") or ""
    missing = [
        name
        for name in wanted
        if not re.search(rf"\b{name}\b", parameters) and f"``{name}``" not in explained
    ]
    found = [f"Parameters without {', '.join(missing)}"] if missing else []
    if isinstance(node, ast.ClassDef):
        return found
    silent = node.returns is None or ast.unparse(node.returns) in ("None", "NoReturn")
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    plain = not wanted and summary.startswith("Return ")  # the summary says it all
    if not (silent or plain or "property" in decorators or section(doc, "Returns")):
        found.append("no Returns")
    return found


def docstrings(tree):
    """Public functions, classes and methods of the rooms have numpydoc docstrings."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    found = []
    for path, program in programs(tree, "aelab"):
        if path == "aelab/__main__.py":  # a command: it is run, not called
            continue
        about = ast.get_docstring(program) or ""
        public = [
            (node.name, node)
            for node in program.body
            if isinstance(node, functions | ast.ClassDef) and node.name[0] != "_"
        ]
        for name, node in list(public):
            if isinstance(node, ast.ClassDef):
                methods = [f for f in node.body if isinstance(f, functions)]
                public += [(f"{name}.{f.name}", f) for f in methods if f.name[0] != "_"]
        for name, node in public:
            found += [f"{path}: {name}: {what}" for what in complaints(node, about)]
    return found


LONGER = {
    "aelab/grading/exam.py": 325,  # five small classes, and how they are written down
    "aelab/grading/judge.py": 365,  # each way to compare, and what is told
    "aelab/grading/probe.py": 470,  # trying a function here, and in a child
    "aelab/grading/specification.py": 420,  # what a lecturer writes, explained
    "aelab/losses/autoencoding.py": 480,  # terms, penalties, an objective for each idea
    "aelab/models/autoencoder.py": 310,  # one network for all of lectures 02 and 03
    "aelab/ops.py": 315,  # the op, both roads to it, its twin, what PyTorch must know
    "aelab/training.py": 325,  # the loop, and what it takes and gives back
    "aelab/plots.py": 510,  # few kinds of figure, each with a long list of parameters
}


def file_lengths(tree):
    """A room and a C++ file have at most 260 lines."""
    counts = {
        path: len(text.splitlines())
        for path, text in tree.items()
        if re.fullmatch(r"aelab/.*\.py|csrc/.*", path)
    }
    return [f"{p}: {n} lines" for p, n in counts.items() if n > LONGER.get(p, 260)]


def machine_paths(tree):
    """No text knows the machine it was written on."""
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w*")
    found = []
    for path, text in tree.items():
        if path.endswith(".ipynb"):  # a picture's letters are chance
            text = re.sub(r'"image/png": "[^"]*"', "", text)
        found += [f"{path}: {hit}" for hit in pattern.findall(text)]
    return found


def makefile(tree):
    """The Makefile is there, and has at most 60 lines."""
    count = len(tree.get("Makefile", "").splitlines())
    return [] if 0 < count <= 60 else [f"Makefile: {count} lines"]


def constraints(tree):
    """constraints.txt pins exactly, and pins every direct dependency in its range."""
    pins, found = {}, []
    for line in tree.get("constraints.txt", "").splitlines():
        text = line.split("#")[0].strip()
        if match := re.fullmatch(r"([\w.-]+)==([\w.+!]+)(\s*;.*)?", text):
            pins[canonicalize_name(match[1])] = match[2]
        elif text:
            found.append(f"no exact pin: {text}")
    project = tomllib.loads(tree["pyproject.toml"])
    extras = project["project"].get("optional-dependencies", {}).values()
    direct = project["build-system"]["requires"] + project["project"]["dependencies"]
    for line in [*direct, *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        pin = pins.get(canonicalize_name(wanted.name), "")
        if wanted.name != project["project"]["name"] and not (
            pin and wanted.specifier.contains(pin, prereleases=True)
        ):
            found.append(f"{line} is pinned to {pin or 'nothing'}")
    return found


RULES = [
    room_imports, outward_imports, pyplot, mirror, four_kinds, equation_links, names,
    room_names, docstrings, file_lengths, machine_paths, makefile, constraints,
]  # fmt: skip
