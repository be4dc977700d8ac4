"""The command line: what it prints, where, and its exit status."""

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from aelab import __main__, data
from aelab.__main__ import main
from aelab.data.sources import File, Source

PLAY = b"ACT I. A room.\n" * 9000


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty folder for downloads."""
    monkeypatch.setenv("AELAB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def mirror(monkeypatch, tmp_path):
    """A folder in the place of the mirrors, with a short play."""
    folder = tmp_path / "mirror" / "tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "tinyshakespeare.txt").write_bytes(PLAY)
    file = File("tinyshakespeare.txt", len(PLAY), hashlib.sha256(PLAY).hexdigest())
    monkeypatch.setitem(data.SOURCES, "tinyshakespeare", Source((file,), ()))
    monkeypatch.setenv("AELAB_MIRROR", folder.parent.as_uri())
    return folder


# Value against an outside oracle


def test_list(capsys, cache):
    # Rejects: sizes of nothing, the folder of another set.
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out == (
        "digits           comes with scikit-learn\n"
        "faces            comes with scikit-image\n"
        "mnist            not here; 11.6 MB to download\n"
        "fashion_mnist    not here; 30.9 MB to download\n"
        "corpus           comes with Python\n"
        "tinyshakespeare  not here; 0.1 MB to download\n"
        f"\nDownloads go to {cache}: python -m aelab data fetch NAME\n"
    )
    folder = cache / "tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "tinyshakespeare.txt").write_bytes(bytes(1234))
    main(["data", "list"])
    line = f"tinyshakespeare  1234 bytes in {folder}\n"
    assert line in capsys.readouterr().out


def test_fetch(capsys, cache):
    path = cache / "tinyshakespeare" / "tinyshakespeare.txt"
    for _ in range(2):
        assert main(["data", "fetch", "tinyshakespeare"]) == 0
        said = capsys.readouterr()
        assert said.out == f"{path} (0.1 MB)\n"
        assert said.err == ""  # no terminal, no progress
        assert path.read_bytes() == PLAY
    main(["data", "list"])
    assert f"tinyshakespeare  0.1 MB in {path.parent}\n" in capsys.readouterr().out


def test_the_doctor_is_called(monkeypatch):
    monkeypatch.setattr(__main__, "doctor", lambda: 7)
    assert main(["doctor"]) == 7


def test_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "aelab", "data", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("digits")
    assert done.stderr == ""


# Property


def test_progress_stays_on_one_line(monkeypatch):
    # Rejects: a line for each step, a bar that is never finished.
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["data", "fetch", "tinyshakespeare"]) == 0
    name = "\rtinyshakespeare.txt"
    expected = [f"{name}: {share} of 0.1 MB" for share in (" 49%", " 97%", "100%")]
    assert terminal.getvalue() == "".join(expected) + "\n"


# Error


def test_what_cannot_be_had(capsys, mirror, cache, monkeypatch):
    # Rejects: a traceback, exit status 0, a message among the results.
    monkeypatch.setattr("aelab.data.download.sleep", lambda seconds: None)
    (mirror / "tinyshakespeare.txt").unlink()
    assert main(["data", "fetch", "tinyshakespeare"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("\nfetch: expected tinyshakespeare.txt of 135000 bytes")
    assert not Path(cache, "tinyshakespeare", "tinyshakespeare.txt").exists()


def test_an_interruption(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "fetch", interrupt)
    assert main(["data", "fetch", "mnist"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["data"], "required: action"),
        (["data", "fetch"], "required: name"),
        (["data", "fetch", "digits"], "invalid choice: 'digits'"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
