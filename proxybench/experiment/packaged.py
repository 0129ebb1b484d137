"""The experiments that come with proxybench: in a checkout beside the package, in a wheel within it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import proxybench
from proxybench.errors import UsageError

_PACKAGE = Path(proxybench.__file__).parent
_FOLDERS = (_PACKAGE / "experiments", _PACKAGE.parent / "experiments")


def packaged() -> dict[str, Path]:
    """Return the files of the experiments that come with proxybench, by name."""
    folder = next((one for one in _FOLDERS if one.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def experiment_file(word: str) -> Path:
    """Return the file that is meant: the one at this path, or the one that comes with proxybench under this name.

    Raises UsageError, with the names, for a bare word that is neither. Whether a path leads anywhere is found out by
    reading it.
    """
    path = Path(word)
    if path.is_file() or path.suffix or "/" in word:
        return path
    known = packaged()
    if word in known:
        return known[word]
    meant = get_close_matches(word, known, n=1)
    hint = f"; did you mean {meant[0]}?" if meant else ""
    names = ", ".join(known) or "none"
    raise UsageError(f"{word}: no file, and none of the experiments that come with proxybench ({names}){hint}")
