"""Texts: Python's own topics, and Shakespeare from a file."""

import hashlib
import pydoc_data.topics
import re

import pytest

from aelab import data
from aelab.data.sources import File, Source

PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak.\n"


@pytest.fixture
def play(cache, monkeypatch):
    """Put a short play into the cache in the place of the long one; return its path."""
    content = PLAY.encode()
    file = File(
        "tinyshakespeare.txt", len(content), hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setitem(data.SOURCES, "tinyshakespeare", Source((file,), ()))
    path = cache / "tinyshakespeare" / file.name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


# Shape and dtype


@pytest.mark.parametrize("name", data.TEXTS)
def test_one_interface(name, play):
    train, test = data.text(name)
    assert isinstance(train, str)
    assert isinstance(test, str)
    assert len(train) == 9 * len(train + test) // 10


def test_default_is_the_corpus():
    assert data.text() == data.text("corpus")


# Value against an outside oracle


def test_the_corpus_is_in_the_topics():
    # Rejects: grammar and code lost or kept by a wrong split, words glued together.
    words = {
        word for topic in pydoc_data.topics.topics.values() for word in topic.split()
    }
    corpus = "".join(data.text("corpus"))
    assert set(corpus.split()) <= words
    assert len(corpus) > 100_000


def test_the_corpus_is_prose():
    # Rejects: headings, tables and listings; half of the words of English prose are
    # short and common.
    corpus = "".join(data.text("corpus"))
    lines = corpus.splitlines()
    assert corpus.isascii()
    assert len(set(corpus)) < 100
    assert not re.search(r"\*\*\*\*|====|::=|>>>|  ", corpus)
    for line in lines:
        assert re.fullmatch(r"[A-Z].*[.:]", line)
    common = sum(word in {"the", "a", "of", "is", "to"} for word in corpus.split())
    assert common > 0.14 * len(corpus.split())


def test_the_play(play):
    # Rejects: the beginning as test part, line ends or blank lines changed.
    train, test = data.text("tinyshakespeare")
    assert train + test == PLAY
    assert PLAY.startswith(train)


@pytest.mark.parametrize("inside", ["", "tinyshakespeare"])
def test_a_folder_of_ones_own(inside, play, tmp_path):
    (tmp_path / "mine" / inside).mkdir(parents=True)
    play.rename(tmp_path / "mine" / inside / play.name)
    assert "".join(data.text("tinyshakespeare", root=tmp_path / "mine")) == PLAY


# Property


def test_no_paragraph_twice():
    # Rejects: the topics as they are, where a quarter of the paragraphs comes twice,
    # and the held-out part is known from the train part.
    lines = "".join(data.text("corpus")).splitlines()
    assert len(set(lines)) == len(lines)


def test_the_same_each_time():
    # Rejects: an order that hangs on a set, or on the topics' own.
    first = data.text("corpus")
    topics = pydoc_data.topics.topics
    for name in sorted(topics, reverse=True):
        topics[name] = topics.pop(name)
    assert data.text("corpus") == first


# Error


def test_an_unknown_text():
    known = "to be one of corpus, tinyshakespeare, but got 'corpse'$"
    with pytest.raises(ValueError, match=f"^text: expected name {known}"):
        data.text("corpse")


def test_not_downloaded(cache):
    with pytest.raises(FileNotFoundError) as caught:
        data.text("tinyshakespeare")
    assert str(caught.value) == (
        f"text: expected tinyshakespeare.txt in {cache}, but got no such file; run "
        "python -m aelab data fetch tinyshakespeare, or name the folder that has the "
        "files of tinyshakespeare by root= or by the environment variable AELAB_DATA"
    )


@pytest.mark.parametrize("content", [b"", PLAY.encode()[:-1], b"\xff" * 80])
def test_a_damaged_play(content, play):
    # Rejects: a shorter text that passes as the whole.
    play.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    message = f"of {play}, but got {digest}; run python -m aelab data fetch tiny"
    with pytest.raises(ValueError, match=f"^text: expected SHA-256 .*{message}"):
        data.text("tinyshakespeare")
