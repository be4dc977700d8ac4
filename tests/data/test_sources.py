"""Where downloads lie, what is found there, and what is fetched."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from idx_files import FILES, write_set

from aelab import data
from aelab.data import sources
from aelab.data.sources import File, Source

PACKED = [f"{file}.gz" for file in FILES]
PLACES = ("nowhere", "elsewhere")


@pytest.fixture
def published(tmp_path, mirror, monkeypatch):
    """Publish a small mnist on the mirror; return what is in its files, in order."""
    arrays = write_set(tmp_path / "published", zipped=(True,) * 4)
    files = []
    for name in PACKED:
        content = (tmp_path / "published" / name).read_bytes()
        for path in (f"/mnist/{name}", f"/elsewhere/{name}"):
            mirror.scripts[path], mirror.contents[path] = ["right"], content
        files.append(File(name, len(content), hashlib.sha256(content).hexdigest()))
    mirrors = (
        f"{mirror.address}/nowhere/{{file}}",
        f"{mirror.address}/elsewhere/{{file}}",
    )
    monkeypatch.setitem(data.SOURCES, "mnist", Source(tuple(files), mirrors))
    return arrays


# Shape and dtype


def test_the_table():
    # Rejects: a digest cut short or in MD5, a file that images() does not look for, a
    # set with one mirror only, a mirror that serves all files under one name.
    assert list(data.SOURCES) == ["mnist", "fashion_mnist", "tinyshakespeare"]
    for name, (files, mirrors) in data.SOURCES.items():
        expected = PACKED if name in data.IMAGE_SETS else ["tinyshakespeare.txt"]
        assert [file.name for file in files] == expected
        for file in files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 4000
        assert len(set(mirrors)) == len(mirrors) >= 2
        for mirror in mirrors:
            assert re.match(r"https?://[\w.-]+/", mirror)
            assert ("{file}" in mirror) == (len(files) > 1)
    digests = [file.sha256 for files, _ in data.SOURCES.values() for file in files]
    assert len(set(digests)) == 9


# Value against an outside oracle


def folder_of_the_platform(**environment):
    """Return the cache folder that a new process names."""
    program = "from aelab import data; print(data.cache_folder())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="the convention of Linux")
def test_the_folder_of_the_platform(tmp_path):
    # The XDG base directory specification; rejects a folder of our own in $HOME.
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    assert folder_of_the_platform(**home) == str(tmp_path / ".cache" / "aelab")


def test_the_variable_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AELAB_DATA", str(tmp_path / "mine"))
    assert data.cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AELAB_DATA", "~/mine")
    assert data.cache_folder() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AELAB_DATA", "mine")
    assert data.cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("folder", [None, "mine"])
def test_what_is_fetched_is_read(
    folder, published, mirror, cache, tmp_path, monkeypatch
):
    # Rejects: another folder for fetch than for images, one mirror only, {file} left.
    if folder:
        cache = cache.with_name(folder)
        monkeypatch.setenv("AELAB_DATA", str(cache))
    paths = data.fetch("mnist")
    assert paths == [cache / "mnist" / name for name in PACKED]
    train, test = data.images("mnist")
    for part, x, y in ((train, *published[:2]), (test, *published[2:])):
        assert (255 * part.images()).round().tolist() == x.tolist()
        assert part.y.tolist() == y.tolist()
    asked = [
        f"/{place}/{name}" for name in PACKED for place in ("nowhere", "elsewhere")
    ]
    assert [path for path, _ in mirror.log] == asked


def test_the_mirror_of_the_environment_is_the_only_one(published, mirror, monkeypatch):
    monkeypatch.setenv("AELAB_MIRROR", mirror.address)
    data.fetch("mnist")
    assert [path for path, _ in mirror.log] == [f"/mnist/{name}" for name in PACKED]


def test_what_is_passed_on(published, monkeypatch):
    # Rejects: an argument that is taken and not used.
    calls = []
    monkeypatch.setattr(sources, "retrieve", lambda *a, **k: calls.append(k))
    given = {"rounds": 7, "pause": 0.5, "timeout": 3.0, "report": print}
    data.fetch("mnist", **given)
    assert len(calls) == 4
    assert all(call.items() >= given.items() for call in calls)


@pytest.mark.parametrize("environment", [False, True])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_where_the_folder_may_be(inside, environment, tmp_path, monkeypatch):
    arrays = write_set(tmp_path / inside)
    if environment:
        monkeypatch.setenv("AELAB_DATA", str(tmp_path))
    train, _ = data.images("mnist", root=None if environment else str(tmp_path))
    assert train.y.tolist() == arrays[1].tolist()


def test_root_comes_before_the_environment(tmp_path, monkeypatch):
    write_set(tmp_path / "here", n=(6, 4))
    write_set(tmp_path / "there", n=(5, 3))
    monkeypatch.setenv("AELAB_DATA", str(tmp_path / "there"))
    assert len(data.images("mnist", root=tmp_path / "here")[0]) == 6


def test_the_subfolder_comes_before_the_folder(tmp_path):
    # Rejects: Fashion-MNIST read where MNIST lies in a subfolder of its own.
    write_set(tmp_path, n=(6, 4))
    write_set(tmp_path / "mnist", n=(5, 3))
    assert len(data.images("mnist", root=tmp_path)[0]) == 5
    assert len(data.images("fashion_mnist", root=tmp_path)[0]) == 6


def test_raw_comes_before_gzip(tmp_path):
    write_set(tmp_path)
    (tmp_path / f"{FILES[0]}.gz").write_bytes(b"never opened")
    assert len(data.images("mnist", root=tmp_path)[0]) == 6


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "idx")
    assert len(data.images("mnist", root="~/idx")[0]) == 6


# Property


def test_twice_downloads_once(published, mirror):
    first = data.fetch("mnist")
    count = len(mirror.log)
    assert data.fetch("mnist") == first
    assert len(mirror.log) == count


def test_what_is_damaged_is_fetched_again(published):
    # The remedy of images() for a damaged file; rejects: looking at the name alone.
    path = data.fetch("mnist")[1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="whole gzip data"):
        data.images("mnist")
    data.fetch("mnist")
    assert len(data.images("mnist")[0]) == 6


def test_what_is_stored(published, cache):
    assert data.stored("mnist") == []
    paths = data.fetch("mnist")
    assert data.stored("mnist") == data.find("mnist") == paths
    paths[3].unlink()
    assert data.stored("mnist") == []


def test_nothing_is_downloaded_unasked(published, mirror):
    # Rejects: a download by importing, listing or loading.
    for load in (data.images, data.find):
        with pytest.raises(FileNotFoundError):
            load("mnist")
    assert data.stored("mnist") == []
    assert mirror.log == []


# Error


def test_an_unknown_set():
    known = "to be one of mnist, fashion_mnist, tinyshakespeare, but got 'digits'$"
    with pytest.raises(ValueError, match=f"^fetch: expected name {known}"):
        data.fetch("digits")


def test_a_failed_set_goes_on_with_the_next_file(published, mirror, cache):
    # Rejects: beginning anew with the first file.
    script = mirror.scripts[f"/elsewhere/{PACKED[2]}"]
    script[:] = ["404"]
    with pytest.raises(OSError, match=f"^fetch: expected {PACKED[2]} of"):
        data.fetch("mnist")
    with pytest.raises(FileNotFoundError, match=f"expected {FILES[2]} or"):
        data.images("mnist")
    script[:] = ["right"]
    mirror.log.clear()
    data.fetch("mnist")
    assert len(data.images("mnist")[0]) == 6
    assert {Path(path).name for path, _ in mirror.log} == set(PACKED[2:])


@pytest.mark.parametrize("file", FILES)
def test_missing_file(file, tmp_path):
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / file).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        data.images("mnist", root=tmp_path)
    assert str(caught.value) == (
        f"images: expected {file} or {file}.gz in {tmp_path / 'mnist'}, but got "
        "neither; run python -m aelab data fetch mnist, or name the folder that has "
        "the files of mnist by root= or by the environment variable AELAB_DATA"
    )


def test_missing_folder(tmp_path):
    nowhere = tmp_path / "nowhere"
    message = re.escape(f"{FILES[0]}.gz in {nowhere}, but got neither")
    with pytest.raises(FileNotFoundError, match=message):
        data.images("fashion_mnist", root=nowhere)


def test_a_relative_folder_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = re.escape(f"in {tmp_path / 'here'}, but got neither")
    with pytest.raises(FileNotFoundError, match=message):
        data.images("mnist", root="here")


@pytest.mark.parametrize("environment", [None, ""])
def test_nothing_downloaded_yet(environment, cache, monkeypatch):
    if environment is not None:
        monkeypatch.setenv("AELAB_DATA", environment)
    message = re.escape(
        f"images: expected {FILES[0]} or {FILES[0]}.gz in {cache}, but got neither; "
        "run python -m aelab data fetch mnist, or"
    )
    with pytest.raises(FileNotFoundError, match=f"^{message}"):
        data.images("mnist")
