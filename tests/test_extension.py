"""The door to the compiled half: auto, require, off, and a build that is broken.

Each case runs in an interpreter of its own, on a copy of the package beside which the
test puts what it needs: nothing, a file that is no library, a build for another torch.
"""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

from aelab import extension, ops

USE_OP = """
import torch
from aelab import ops
z, kl = ops.reparam_kl(torch.zeros(4, 2), torch.zeros(4, 2))
print(z.shape == (4, 2) and bool((kl == 0).all()), ops._C is None)
"""


@pytest.fixture
def copy(tmp_path):
    """Return the package without its extension, and how to run code on it."""
    package = tmp_path / "aelab"
    ignore = shutil.ignore_patterns("__pycache__", "_C*", "_build.py")
    shutil.copytree(Path(extension.__file__).parent, package, ignore=ignore)

    def run(mode: str | None, code: str = USE_OP) -> subprocess.CompletedProcess[str]:
        # An editable installation finds the package by a hook: the copy goes first.
        preamble = (
            "import sys\n"
            "sys.meta_path[:] = [f for f in sys.meta_path"
            " if not type(f).__module__.startswith('_editable')]\n"
            f"sys.path.insert(0, {str(tmp_path)!r})\n"
        )
        environment = {k: v for k, v in os.environ.items() if k != "AELAB_EXTENSION"}
        if mode is not None:
            environment["AELAB_EXTENSION"] = mode
        return subprocess.run(
            [sys.executable, "-c", preamble + code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )

    run.package = package
    return run


def put_broken_build(package: Path, torch_version: str) -> None:
    (package / f"_C{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    text = f"torch_version = {torch_version!r}\ncuda_version = 'none'\n"
    (package / "_build.py").write_text(text)


# Value against an outside oracle


@pytest.mark.skipif(ops._C is None, reason="runs without the extension")
def test_the_build_tells_the_torch_it_was_made_for():
    from aelab import _build

    assert _build.torch_version == torch.__version__
    assert extension.cuda_compiled() in (None, torch.version.cuda)
    assert extension.load() is ops._C


# Property


@pytest.mark.parametrize("mode", [None, "", "auto"])
def test_auto_warns_once_where_nothing_was_built_and_works(copy, mode):
    done = copy(mode)
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr.count("aelab runs without its extension") == 1
    assert extension.BUILD in done.stderr
    assert "slower" in done.stderr


@pytest.mark.parametrize("built", ["missing", "broken"])
def test_off_is_silent_whatever_was_built(copy, built):
    if built == "broken":
        put_broken_build(copy.package, torch.__version__)
    done = copy("off")
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr == ""


@pytest.mark.skipif(ops._C is None, reason="runs without the extension")
def test_an_untested_torch_is_told_once(monkeypatch):
    assert extension.load() is ops._C  # a warning would be an error here
    monkeypatch.setattr(extension, "TESTED", ("1.0", "1.1"))
    with pytest.warns(UserWarning, match="tested with torch 1.0, 1.1, and not") as told:
        assert extension.load() is ops._C
    assert len(told) == 1


# Error


def test_require_fails_where_nothing_was_built(copy):
    done = copy("require")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: AELAB_EXTENSION=require, but")
    assert extension.BUILD in last


@pytest.mark.parametrize("mode", ["auto", "require"])
@pytest.mark.parametrize("built", [torch.__version__, "1.0.0+cu99"])
def test_a_broken_build_raises_and_names_the_remedy(copy, mode, built):
    put_broken_build(copy.package, built)
    done = copy(mode)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: aelab._C is broken")
    assert f"built against torch {built}" in last
    assert f"torch {torch.__version__} is found" in last
    assert last.endswith(extension.BUILD)


def test_an_unknown_mode_is_named(monkeypatch):
    monkeypatch.setenv("AELAB_EXTENSION", "yes")
    expected = "expected one of auto, require, off, but got 'yes'; unset it"
    with pytest.raises(ValueError, match=expected):
        extension.mode()
