"""Texts: one string to learn from, and one held out."""

import hashlib
from pathlib import Path

from aelab.data.checks import require_known
from aelab.data.sources import SOURCES, find

TEXTS = ("corpus", "tinyshakespeare")


def text(name: str = "corpus", *, root: str | Path | None = None) -> tuple[str, str]:
    """Return the train and the test part of a text.

    Parameters
    ----------
    name : str
        - ``"corpus"``: English prose, the reference topics of Python itself: about
          150,000 characters, a paragraph on each line. It grows a little with each
          release of Python.
        - ``"tinyshakespeare"``: 1,115,394 characters of Shakespeare's plays, to be
          downloaded once.
    root : path, optional
        The folder with tinyshakespeare.txt, or a folder with a subfolder ``name`` that
        has it. Default: the folder of the downloads.

    Returns
    -------
    train, test : str
        The first nine tenths of the characters, and the rest.

    Raises
    ------
    FileNotFoundError
        If the text has not been downloaded.
    ValueError
        If the name is unknown, or the file is damaged.
    """
    require_known("text", "name", name, TEXTS)
    whole = _corpus() if name == "corpus" else _tinyshakespeare(root)
    cut = len(whole) * 9 // 10
    return whole[:cut], whole[cut:]


def _corpus() -> str:
    from pydoc_data.topics import topics  # here, since only this text needs it

    paragraphs = [
        " ".join(paragraph.split())
        for topic in sorted(topics)
        for paragraph in topics[topic].split("\n\n")
    ]
    # Sentences only: no headings, grammar or code, and no paragraph twice, since the
    # test part would hold what was learnt by heart.
    prose = [p for p in paragraphs if p.isascii() and p[:1].isupper() and p[-1] in ".:"]
    return "\n".join(dict.fromkeys(prose)) + "\n"


def _tinyshakespeare(root: str | Path | None) -> str:
    (path,) = find("tinyshakespeare", root=root, who="text")
    content = path.read_bytes()
    (file,) = SOURCES["tinyshakespeare"].files
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ValueError(
            f"text: expected SHA-256 {file.sha256} of {path}, but got {digest}; "
            "run python -m aelab data fetch tinyshakespeare"
        )
    return content.decode()
