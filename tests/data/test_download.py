"""One file from mirrors on 127.0.0.1 that fail in every way: whole, or not there."""

import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from http.client import IncompleteRead
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirror import Mirror

from aelab.data import download
from aelab.data.download import retrieve

CONTENT = random.Random(0).randbytes(200_000)  # a little more than three chunks
SIZE, SHA256 = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()


def get(urls, path, *, timeout=20.0, **kwargs):
    return retrieve(urls, path, size=SIZE, sha256=SHA256, timeout=timeout, **kwargs)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.gz"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Record the pauses in the place of making them."""
    made = []
    monkeypatch.setattr(download, "sleep", made.append)
    return made


@pytest.fixture
def mirror(mirror):
    mirror.content = CONTENT
    return mirror


# Value against an outside oracle


@pytest.mark.parametrize("kind", ["right", "whole"])
def test_what_the_mirror_holds(kind, mirror, path):
    assert get([mirror.url(kind)], path) is True
    assert path.read_bytes() == CONTENT
    assert {p.name for p in path.parent.iterdir()} == {"file.gz", "file.gz.lock"}


def test_what_is_here_is_not_asked_for(mirror, path):
    get([mirror.url("right")], path)
    assert get([mirror.url("right")], path) is False
    assert get([], path) is False
    assert mirror.ranges() == [0]


def test_a_folder_of_this_machine(tmp_path, path):
    # A teacher's memory stick as AELAB_MIRROR.
    (tmp_path / "stick").write_bytes(CONTENT)
    assert get([(tmp_path / "stick").as_uri()], path)
    assert path.read_bytes() == CONTENT


def test_pauses_double(mirror, path, pauses):
    # Rejects: no pause, one before the first round, equal ones.
    url = mirror.url("503", "503", "503", "right")
    assert get([url], path, rounds=4, pause=0.5)
    assert pauses == [0.5, 1.0, 2.0]


def test_rounds_and_mirrors(mirror, path, pauses):
    # Rejects: no second mirror, a pause between mirrors, a refusal asked for again, a
    # mirror too busy (429) given up.
    urls = [mirror.url("404", "right"), mirror.url("503"), mirror.url("429")]
    with pytest.raises(OSError, match="HTTP 429"):
        get(urls, path, rounds=3)
    assert [p for p, _ in mirror.log] == ["/0", "/1", "/2", "/1", "/2", "/1", "/2"]
    assert pauses == [1.0, 2.0]


def test_no_pause_for_nothing(mirror, path, pauses):
    # Rejects: waiting where no mirror is left to ask; the wrong file, downloaded anew.
    kinds = ("404", "403", "wrong", "page")
    with pytest.raises(
        OSError, match=r"HTTP 404 .* HTTP 403 .* content with .* Content"
    ):
        get([mirror.url(kind) for kind in kinds], path)
    assert len(mirror.log) == 4
    assert pauses == []


def test_what_is_reported(mirror, path):
    told = []
    get([mirror.url("cut", "right")], path, report=lambda *a: told.append(a))
    assert {(name, size) for name, _, size in told} == {("file.gz", SIZE)}
    here = [number for _, number, _ in told]
    assert here == sorted(set(here))
    assert here[-1] == SIZE
    assert 100_000 in here


# Property


@pytest.mark.parametrize("kind", ["cut", "reset", "silent"])
def test_a_second_attempt_goes_on(kind, mirror, path):
    # Rejects: beginning anew, appending what was there already.
    url = mirror.url(kind, "right")
    assert get([url], path, timeout=0.5)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges()[0] == 0
    # What a reset leaves in the client is not determined; a cut loses nothing.
    assert mirror.ranges()[1] > 0
    assert kind != "cut" or mirror.ranges() == [0, 100_000]


def test_another_mirror_goes_on(mirror, path, pauses):
    assert get([mirror.url("cut"), mirror.url("cut"), mirror.url("right")], path)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges() == [0, 100_000, 150_000]
    assert pauses == []


@given(cut=st.sampled_from([0, 1, 65_535, 65_536, SIZE - 1, SIZE]))
@pytest.mark.parametrize("kind", ["right", "whole"])
def test_any_beginning_is_completed(kind, cut):
    with tempfile.TemporaryDirectory() as folder, Mirror(CONTENT) as mirror:
        path = Path(folder, "file")
        Path(folder, "file.part").write_bytes(CONTENT[:cut])
        assert get([mirror.url(kind)], path)
        assert path.read_bytes() == CONTENT
        assert mirror.ranges() == ([cut] if cut < SIZE else [])


@pytest.mark.parametrize("length", [1, 1000, SIZE, SIZE + 1])
@pytest.mark.parametrize("kind", ["right", "whole"])
def test_a_wrong_beginning_is_thrown_away(kind, length, mirror, path):
    # Rejects: a mirror given up for what another one sent, a file that is too long.
    path.parent.mkdir()
    path.with_name("file.gz.part").write_bytes(bytes(length))
    assert get([mirror.url(kind)], path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["page", "truncated", "wrong", "noise"])
def test_a_bad_mirror_does_not_spoil_a_good_one(first, mirror, path):
    # Rejects: a page of 200 bytes taken for the beginning of the file.
    assert get([mirror.url(first), mirror.url("right")], path, rounds=1)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges() == [0, 0]


def test_a_damaged_file_is_replaced(mirror, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    assert get([mirror.url("right")], path)
    assert path.read_bytes() == CONTENT


def test_nothing_has_the_name_before_all_is_there(mirror, path):
    # Rejects: writing under the final name, a rename before the digest.
    there = []
    with pytest.raises(OSError, match="SHA-256"):
        get(
            [mirror.url("wrong")],
            path,
            report=lambda *_: there.append(path.exists()),
        )
    assert there
    assert not any(there)
    assert not path.exists()


def test_an_interrupted_download_goes_on(mirror, path):
    def interrupt(name, here, size):
        raise KeyboardInterrupt

    url = mirror.url("right")
    with pytest.raises(KeyboardInterrupt):
        get([url], path, report=interrupt)
    assert not path.exists()
    assert get([url], path)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges() == [0, 65_536]


CHILD = """
import runpy, sys
from pathlib import Path
program, url, path, size, sha256 = sys.argv[1:]
retrieve = runpy.run_path(program)["retrieve"]  # alone: torch takes seconds
print("ready", flush=True)
print(retrieve([url], Path(path), size=int(size), sha256=sha256))
"""


def test_of_two_processes_one_downloads(mirror, path):
    # Rejects: no lock (the second one asks too), a lock without a second look.
    command = [sys.executable, "-c", CHILD, download.__file__]
    command += [mirror.url("gate"), path, str(SIZE), SHA256]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        mirror.over.wait(1)  # time for the second one to ask, if it does
        mirror.gate.set()
        said = sorted(child.communicate(timeout=60)[0] for child in children)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert said == ["False\n", "True\n"]
    assert mirror.ranges() == [0]
    assert path.read_bytes() == CONTENT


def test_after_the_lock_it_looks_again(path, monkeypatch):
    # Rejects: a download of what came while this process waited.
    @contextmanager
    def waited(_):
        path.write_bytes(CONTENT)
        yield

    monkeypatch.setattr(download, "FileLock", waited)
    assert get([], path) is False


# Error

# Kind of the mirror -> what the error says that it did.
FAILURES = {
    "404": "HTTP 404 Not Found",
    "403": "HTTP 403 Forbidden",
    "503": "HTTP 503 Service Unavailable",
    "cut": "a connection that was cut",
    "truncated": "Content-Length 1000 instead of 200000",
    "page": "Content-Length 23 instead of 200000",
    "unmeasured": "Content-Length None instead of 200000",
    "wrong": f"content with SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}",
    "noise": "220 this is no HTTP",
    "silent": "silence for 0.5 s",
    "reset": "Connection reset by peer",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_one_sentence_and_the_next_try_succeeds(kind, mirror, path):
    url = mirror.url(kind)
    with pytest.raises(OSError, match=r"^fetch: expected ") as caught:
        get([url], path, rounds=3, timeout=0.5)
    sentence = str(caught.value)
    start = f"fetch: expected file.gz of 200000 bytes with SHA-256 {SHA256}, but got "
    assert sentence.startswith(f"{start}from {url}: ")
    assert FAILURES[kind] in sentence
    assert "; look to the connection, and run the command again" in sentence
    assert "AELAB_MIRROR" in sentence
    assert "\n" not in sentence.strip()
    assert not path.exists()
    assert get([mirror.url("right")], path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("shifted", "Content-Range bytes 100001-199999/200000"),
        ("truncated", "HTTP 416"),
        ("page", "Content-Length 23 instead of 200000"),
    ],
)
def test_another_file_instead_of_the_rest(kind, got, mirror, path):
    # Rejects: appending whatever comes; losing what was right.
    with pytest.raises(OSError, match=f"{got}.*; look to the connection"):
        get([mirror.url("cut", kind)], path)
    assert get([mirror.url("right")], path)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges() == [0, 100_000, 100_000]


def test_every_failure_of_every_mirror_is_named(mirror, path):
    urls = [mirror.url("503", "wrong"), mirror.url("404")]
    with pytest.raises(OSError, match=r"^fetch: expected ") as caught:
        get(urls, path)
    wrong = FAILURES["wrong"]
    assert f"{urls[0]}: HTTP 503 Service Unavailable / {wrong}, " in str(caught.value)
    assert f"from {urls[1]}: HTTP 404 Not Found; " in str(caught.value)


def test_a_cut_that_python_notices(mirror, path, monkeypatch):
    # What a release of Python says; ours says nothing, and stops.
    def read(self, amount):
        raise IncompleteRead(b"", amount)

    monkeypatch.setattr("http.client.HTTPResponse.read", read)
    with pytest.raises(OSError, match=r"a connection that was cut; look to"):
        get([mirror.url("right")], path)


@pytest.mark.parametrize(
    ("url", "got"),
    [
        ("nonsense", "unknown url type: 'nonsense'"),
        ("http://[/x", "Invalid IPv6 URL"),
        ("http://127.0.0.1:1/x", "[Errno "),  # nobody listens
    ],
)
def test_no_address(url, got, path):
    with pytest.raises(OSError, match=re.escape(f"but got from {url}: {got}")):
        get([url], path, rounds=1)


def test_a_full_disk(mirror, path):
    # Rejects: the system's bare error; a file under its name that is not whole.
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = mirror.url("right")
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"^fetch: expected ") as caught:
            get([url], path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"fetch: expected to write file.gz (200000 bytes) into {path.parent}, but got: "
        "File too large; make room there, or name another folder by the environment "
        "variable AELAB_DATA"
    )
    assert not path.exists()
    assert get([url], path)
    assert path.read_bytes() == CONTENT
    assert mirror.ranges()[0] == 0
    assert mirror.ranges()[1] > 0


@pytest.fixture
def read_only():
    """A folder that this process, even if run by root, cannot write to."""
    if not hasattr(os, "seteuid"):
        pytest.skip("needs users")
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        if user == 0:
            os.seteuid(65_534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)


@pytest.mark.parametrize("inside", ["", "new"])
def test_a_read_only_folder(inside, read_only, mirror, path):
    with pytest.raises(OSError, match=r"^fetch: expected to write ") as caught:
        get([mirror.url("right")], read_only / inside / "file.gz")
    assert f"into {read_only / inside}, but got: Permission denied" in str(caught.value)
    assert mirror.log == []
    assert list(read_only.iterdir()) == []


def test_what_is_in_a_read_only_folder_is_found(mirror, path):
    # Rejects: a lock that has to be taken before the file is looked at.
    get([mirror.url("right")], path)
    path.with_name("file.gz.lock").unlink()
    path.parent.chmod(0o555)
    try:
        assert get([], path) is False
    finally:
        path.parent.chmod(0o755)
    assert not path.with_name("file.gz.lock").exists()


def test_a_file_in_the_place_of_the_folder(mirror, path):
    path.parent.write_text("no folder")
    with pytest.raises(OSError, match=r"^fetch: expected to write .* into "):
        get([mirror.url("right")], path)
