"""The doctor: what it says where all is well, and where something is broken."""

import json
import os
import re
import sys

import pytest
import torch

from aelab import data, extension, ops
from aelab.doctor import cache as look_at_cache
from aelab.doctor import doctor


def examine(capsys) -> tuple[int, str]:
    status = doctor()
    return status, capsys.readouterr().out


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty folder for downloads, which does not exist yet."""
    monkeypatch.setenv("AELAB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
    assert "[OK]   data set corpus: " in report
    assert f"[OK]   Jupyter kernel python3 runs in {sys.prefix}" in report


def test_it_tells_where_downloads_are_kept(capsys, cache):
    _, report = examine(capsys)
    line = rf"\[OK\]   data cache {cache}: [\d.]+ GB free, holds nothing"
    assert re.search(line, report)
    (cache / "tinyshakespeare").mkdir(parents=True)
    (cache / "tinyshakespeare" / "tinyshakespeare.txt").write_text("no play")
    _, report = examine(capsys)
    assert "GB free, holds tinyshakespeare" in report


@pytest.mark.skipif(ops._C is None, reason="runs without the extension")
def test_it_runs_the_extension(capsys):
    _, report = examine(capsys)
    assert re.search(r"\[OK\]   extension loaded: .* off plain PyTorch", report)
    assert "CUDA" in report


# Property


def test_an_untested_torch_is_no_failure(capsys, monkeypatch):
    assert "[OK]   the extension is tested with torch 2." in examine(capsys)[1]
    monkeypatch.setattr(extension, "TESTED", ("1.0",))
    status, report = examine(capsys)
    assert status == 0
    assert "[--]   the extension is tested with torch 1.0: what it does with" in report


def test_what_is_off_or_missing_is_no_failure(capsys, monkeypatch):
    monkeypatch.setenv("AELAB_EXTENSION", "off")
    monkeypatch.setenv("PATH", "")
    status, report = examine(capsys)
    assert status == 0
    assert "[--]   extension switched off by AELAB_EXTENSION" in report
    assert "remedy: unset AELAB_EXTENSION" in report
    assert "[--]   to build the extension: C++ compiler not found" in report
    assert "remedy: Debian: apt install g++ python3-dev" in report


def test_what_is_not_downloaded_is_no_failure(capsys):
    status, report = examine(capsys)
    assert status == 0
    for name in data.SOURCES:
        assert f"[--]   data set {name}: not here" in report
        assert f"remedy: python -m aelab data fetch {name}" in report


def test_a_folder_that_cannot_be_written_is_no_failure(capsys, cache):
    # Rejects: looking at the folder alone, which is not there yet.
    cache.write_text("no folder")
    status, report = examine(capsys)
    assert status == 0
    assert f"[--]   data cache {cache}: not writable, holds nothing" in report
    assert "remedy: name another folder by the environment variable" in report


def test_a_read_only_folder_is_told(cache, monkeypatch):
    # Rejects: a folder that exists, taken for one that can be written. Root writes
    # everywhere, so the system's answer is given here.
    refused = (cache.parent, os.W_OK)
    monkeypatch.setattr("os.access", lambda *question: question != refused)
    (finding,) = look_at_cache()
    assert finding.ok is None
    assert f"data cache {cache}: not writable" in finding.text


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


def test_a_damaged_text_fails(capsys, cache):
    cache.mkdir()
    (cache / "tinyshakespeare.txt").write_text("no play")
    status, report = examine(capsys)
    assert status == 1
    assert "[FAIL] data set tinyshakespeare: text: expected SHA-256" in report


def test_a_foreign_kernel_under_the_name_python3_fails(capsys, monkeypatch, tmp_path):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-c", "raise SystemExit(1)"],
        "display_name": "foreign",
        "language": "python",
    }
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    status, report = examine(capsys)
    assert status == 1
    assert "[FAIL] Jupyter kernel python3 runs in RuntimeError: Kernel died" in report
    assert "remedy: " in report
