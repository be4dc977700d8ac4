"""The doctor: what it says where all is well, and where something is broken."""

import json
import re
import sys

import pytest
import torch

from aelab import extension, ops
from aelab.__main__ import main


def examine(capsys) -> tuple[int, str]:
    status = main(["doctor"])
    return status, capsys.readouterr().out


# Shape and dtype


def test_every_line_is_marked_and_the_last_one_is_the_verdict(capsys):
    status, report = examine(capsys)
    *findings, _, verdict = report.splitlines()
    for line in findings:
        assert re.match(r"\[(OK|FAIL|--)\] |       remedy: ", line)
    assert status == 0
    assert verdict == "The lectures can run."


# Value against an outside oracle


def test_it_tells_what_is_here(capsys):
    _, report = examine(capsys)
    assert f"[OK]   Python {sys.version.split()[0]} in {sys.prefix}" in report
    assert f"[OK]   torch {torch.__version__}" in report
    assert "[OK]   data set digits: 1297 + 500" in report
    assert f"[OK]   Jupyter kernel python3 runs in {sys.prefix}" in report


@pytest.mark.skipif(ops._C is None, reason="runs without the extension")
def test_it_runs_the_extension(capsys):
    _, report = examine(capsys)
    assert re.search(r"\[OK\]   extension loaded: .* off plain PyTorch", report)
    assert "CUDA" in report


# Property


def test_what_is_off_or_missing_is_no_failure(capsys, monkeypatch):
    monkeypatch.setenv("AELAB_EXTENSION", "off")
    monkeypatch.setenv("PATH", "")
    status, report = examine(capsys)
    assert status == 0
    assert "[--]   extension switched off by AELAB_EXTENSION" in report
    assert "remedy: unset AELAB_EXTENSION" in report
    assert "[--]   to build the extension: C++ compiler not found" in report
    assert "remedy: Debian: apt install g++ python3-dev" in report


# Error


def test_a_missing_extension_fails_where_it_is_required(capsys, monkeypatch):
    monkeypatch.setenv("AELAB_EXTENSION", "require")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, report = examine(capsys)
    assert status == 1
    assert "[FAIL] extension not built" in report
    assert f"remedy: {extension.BUILD}" in report
    assert "[--]   Jupyter not installed" in report
    assert "remedy: pip install cmake ninja pybind11" in report
    assert "Mend what is marked [FAIL]." in report


def test_a_wrong_mode_is_a_finding_and_the_rest_is_examined(capsys, monkeypatch):
    monkeypatch.setenv("AELAB_EXTENSION", "perhaps")
    status, report = examine(capsys)
    assert status == 1
    assert "[FAIL] extension: AELAB_EXTENSION: expected one of auto" in report
    assert "[OK]   data set faces" in report


def test_a_malformed_data_set_fails(capsys, monkeypatch, tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"")
    for name in ("t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"")
    monkeypatch.setenv("AELAB_DATA", str(tmp_path))
    status, report = examine(capsys)
    assert status == 1
    assert re.search(r"\[FAIL\] data set mnist: .*train-\w+-idx\d-ubyte", report)


def test_a_foreign_kernel_under_the_name_python3_fails(capsys, monkeypatch, tmp_path):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["false"], "display_name": "foreign", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    status, report = examine(capsys)
    assert status == 1
    assert "[FAIL] Jupyter kernel python3 runs in RuntimeError: Kernel died" in report
    assert "remedy: " in report
