"""One file from several mirrors: whole and right under its name, or not there at all.

What has come so far lies beside it with the ending ``.part``, and the next attempt goes
on from there. One process at a time downloads a file; others wait and find it.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from time import sleep
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

CHUNK = 2**16  # bytes
BUSY = (408, 425, 429)  # of the refusals (HTTP 4xx), those that may pass
CUT = "a connection that was cut"

# Called with the name of the file, the bytes that are here, and those of all of it.
Report = Callable[[str, int, int], None]


class _Failure(Exception):
    """What a mirror did wrong, and whether it is useless to ask it again."""

    def __init__(self, what: str, final: bool = False) -> None:
        super().__init__(what)
        self.final = final


def retrieve(
    urls: Sequence[str],
    path: Path,
    *,
    size: int,
    sha256: str,
    rounds: int = 3,
    pause: float = 1.0,
    timeout: float = 15.0,
    report: Report | None = None,
) -> bool:
    """Download a file, unless it is there already and right.

    Parameters
    ----------
    urls : sequence of str
        The same file on several mirrors, asked in this order.
    path : Path
        Where the file shall be.
    size : int
        Its length in bytes.
    sha256 : str
        The digest of its content, in hexadecimal.
    rounds : int
        How many times all mirrors are asked, if none of them delivers.
    pause : float
        Seconds before the second round; doubled before each one after it.
    timeout : float
        Seconds that a mirror may be silent.
    report : function, optional
        Called with the file's name, the bytes that are here, and ``size``.

    Returns
    -------
    bool
        Whether anything had to be downloaded.

    Raises
    ------
    OSError
        If no mirror delivers the file, or the folder cannot hold it.
    """
    report = report or (lambda name, here, size: None)
    part = path.with_name(f"{path.name}.part")
    left, failures = list(urls), dict[str, dict[str, None]]()
    try:
        if _is_right(path, sha256):  # even where nothing can be written
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if _is_right(path, sha256):  # another process was faster
                return False
            for i in range(rounds):
                if i > 0 and left:
                    sleep(pause * 2 ** (i - 1))
                for url in tuple(left):
                    try:
                        fresh = _append(url, part, size, timeout, report)
                        _inspect(part, size, sha256, fresh)
                    except _Failure as failure:
                        failures.setdefault(url, {})[str(failure)] = None
                        if failure.final:
                            left.remove(url)
                    else:
                        os.replace(part, path)
                        return True
    except OSError as error:
        raise OSError(
            f"fetch: expected to write {path.name} ({size} bytes) into {path.parent}, "
            f"but got: {error.strerror or error}; make room there, or name another "
            "folder by the environment variable AELAB_DATA"
        ) from error
    got = ", ".join(f"from {u}: {' / '.join(f)}" for u, f in failures.items())
    raise OSError(
        f"fetch: expected {path.name} of {size} bytes with SHA-256 {sha256}, but got "
        f"{got}; look to the connection, and run the command again (it goes on where "
        "it stopped), or name another mirror by the environment variable AELAB_MIRROR"
    )


def _append(url: str, part: Path, size: int, timeout: float, report: Report) -> bool:
    """Download what is missing; return whether all of it came from this mirror."""
    here = part.stat().st_size if part.is_file() else 0
    if here >= size:
        return False
    with _network(timeout):
        request = Request(url, headers={"User-Agent": "aelab"})
        if here:
            request.add_header("Range", f"bytes={here}-")
        answer = urlopen(request, timeout=timeout)
    with answer, part.open("ab") as file:
        if answer.status == 206:  # partial content, as asked for
            field, expected = "Content-Range", f"bytes {here}-{size - 1}/{size}"
        else:  # the whole file, asked for or from a mirror that cannot resume
            field, expected = "Content-Length", str(size)
        if answer.headers[field] != expected:  # such as the page of a hotel's network
            got = answer.headers[field]
            raise _Failure(f"{field} {got} instead of {expected}", final=True)
        if field == "Content-Length":
            file.truncate(0)
            here = 0
        fresh = here == 0
        while here < size:
            with _network(timeout):
                chunk = answer.read(min(CHUNK, size - here))
            if not chunk:
                break
            file.write(chunk)
            here += len(chunk)
            report(part.stem, here, size)
    return fresh


def _inspect(part: Path, size: int, sha256: str, fresh: bool) -> None:
    here = part.stat().st_size
    if here < size:
        raise _Failure(f"{CUT} after {here} bytes")
    if (digest := _digest(part)) != sha256:
        part.unlink()
        # If a beginning from elsewhere was at fault, this mirror gets another chance.
        raise _Failure(f"content with SHA-256 {digest}", final=fresh)


@contextmanager
def _network(timeout: float) -> Iterator[None]:
    """Turn whatever the network does into a failure of the mirror."""
    try:
        yield
    except HTTPError as error:
        error.close()
        final = 400 <= error.code < 500 and error.code not in BUSY
        raise _Failure(f"HTTP {error.code} {error.reason}", final) from None
    except TimeoutError:
        raise _Failure(f"silence for {timeout:g} s") from None
    except IncompleteRead:  # in some releases of Python; others just stop
        raise _Failure(CUT) from None
    except (OSError, HTTPException, ValueError) as error:
        what = str(getattr(error, "reason", error)).strip()
        raise _Failure(what or type(error).__name__) from None


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and _digest(path) == sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
