"""The command line: ``python -m aelab doctor``, ``data list``, ``data fetch NAME``."""

import argparse
import sys

from aelab.doctor import doctor

WITH_LIBRARY = {"digits": "scikit-learn", "faces": "scikit-image", "corpus": "Python"}


def list_sets() -> int:
    """Print what data are here, where, and how large.

    Returns
    -------
    int
        0, the exit status.
    """
    from aelab import data

    for name in (*data.IMAGE_SETS, *data.TEXTS):
        if name in WITH_LIBRARY:
            print(f"{name:16} comes with {WITH_LIBRARY[name]}")
        elif paths := data.stored(name):
            size = sum(path.stat().st_size for path in paths)
            print(f"{name:16} {_megabytes(size)} in {paths[0].parent}")
        else:
            size = sum(file.size for file in data.SOURCES[name].files)
            print(f"{name:16} not here; {_megabytes(size)} to download")
    print(f"\nDownloads go to {data.cache_folder()}: python -m aelab data fetch NAME")
    return 0


def fetch(name: str) -> int:
    """Download a set, with one line for each file.

    Parameters
    ----------
    name : str
        One of ``data.SOURCES``.

    Returns
    -------
    int
        The exit status: 1 if it cannot be had, 130 if it was interrupted.
    """
    from aelab import data

    try:
        paths = data.fetch(name, report=show if sys.stderr.isatty() else None)
    except OSError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    for path in paths:
        print(f"{path} ({_megabytes(path.stat().st_size)})")
    return 0


def show(name: str, here: int, size: int) -> None:
    """Draw the progress of a file over the same line of the terminal.

    Parameters
    ----------
    name : str
        The file.
    here, size : int
        The bytes that are here, and those of all of it.
    """
    line = f"\r{name}: {here / size:4.0%} of {_megabytes(size)}"
    print(line, end="\n" if here == size else "", file=sys.stderr, flush=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        In place of those of the process.

    Returns
    -------
    int
        The exit status.
    """
    from aelab import data

    parser = argparse.ArgumentParser(prog="python -m aelab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="say what works on this machine, and what not")
    sets = commands.add_parser("data", help="list the data sets, or download one")
    actions = sets.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="say what is here, where, and how large")
    fetching = actions.add_parser("fetch", help="download a set, once")
    fetching.add_argument("name", choices=tuple(data.SOURCES))
    chosen = parser.parse_args(arguments)
    if chosen.command == "doctor":
        return doctor()
    return list_sets() if chosen.action == "list" else fetch(chosen.name)


if __name__ == "__main__":
    sys.exit(main())
