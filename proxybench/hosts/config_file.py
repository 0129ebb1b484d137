"""~/.ssh/config as one text that paramiko understands: with what it includes, and no word that paramiko passes over.

Where a setting depends on something that nobody here can tell, the text has in its place why it is refused: who asks
for a host that gets it is told so, and nobody else.
"""

from __future__ import annotations

import glob
import re
import shlex
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxybench.errors import UsageError
from proxybench.home import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED: Final = "\0"
"""What a value begins with that is refused; the rest says why."""

_SETTING: Final = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_DEEPEST: Final = 16  # as ssh has it
_BARE: Final = frozenset({"all", "canonical", "final"})
_KNOWN: Final = _BARE | {"host", "originalhost", "user", "localuser", "exec"}
_USED: Final = frozenset({
    "hostname", "port", "user", "identityfile", "identitiesonly", "identityagent", "proxycommand", "proxyjump",
    "hostkeyalias", "userknownhostsfile", "canonicalizehostname", "canonicaldomains", "canonicalizemaxdots",
    "canonicalizefallbacklocal",
})  # fmt: skip
"""Keywords that say how we reach a host."""


@dataclass(frozen=True)
class _Block:
    """For which hosts lines count: words of Match that must all hold; ``refused`` says which of them are not known."""

    words: tuple[str, ...] = ()
    refused: str = ""

    @property
    def header(self) -> str:
        return f"Match {shlex.join(self.words) or 'all'}"


def read(path: Path, folder: Path) -> str:
    """Return the text of a file and of all that it includes, seen from ``folder``, where the Include stands.

    Raises UsageError for what cannot be read or is no configuration, with file and line.
    """
    return "\n".join(_lines(path, folder, _Block(), 0))


def _lines(path: Path, folder: Path, outer: _Block, depth: int) -> Iterator[str]:
    """Yield what counts; each block also asks for what ``outer`` asks for, in which the file is included."""
    block = outer
    for number, raw in enumerate(_text(path).split("\n"), 1):
        place, line = f"{path}:{number}", raw.strip()
        if not line or line.startswith("#"):
            continue
        setting = _SETTING.fullmatch(line)
        if setting is None:
            raise UsageError(f"{place}: {line} is no keyword with a value")
        key, value = setting[1].lower(), setting[2]
        if key == "host":
            block = replace(outer, words=(*outer.words, "originalhost", ",".join(_words(place, value))))
            yield block.header
        elif key == "match":
            block = _match(outer, place, _words(place, value))
            yield block.header
        elif key == "include":
            if depth == _DEEPEST:
                raise UsageError(f"{place}: files that include each other, or more than {_DEEPEST} deep")
            for file in _included(folder, place, _words(place, value)):
                yield from _lines(file, folder, block, depth + 1)
            yield block.header
        elif key in _USED:
            yield _setting(key, value, block)


def _setting(key: str, value: str, block: _Block) -> str:
    if block.refused:
        return f"{key} {REFUSED}{block.refused}"
    if key == "proxycommand" and value.lower() != "none":
        return f"{key} exec {value}"  # as ssh runs it; and paramiko takes no quotation marks from it then
    return f"{key} {value}"


def _match(outer: _Block, place: str, words: list[str]) -> _Block:
    found, left = list(outer.words), iter(words)
    refused = outer.refused
    for word in left:
        name, equals, value = word.partition("=")
        name, bare = name.lower(), name.removeprefix("!").lower()
        parameter = [] if bare in _BARE else [value if equals else next(left, None)]
        if None in parameter:
            raise UsageError(f"{place}: Match {name} needs a value")
        if bare not in _KNOWN or name == "!all":
            refused = refused or f"{place}: Match {name} is not understood; host, originalhost, user and exec are"
        elif bare != "all":
            found += [name, *(word for word in parameter if word is not None)]
    return _Block(tuple(found), refused)


def _included(folder: Path, place: str, words: list[str]) -> Iterator[Path]:
    for word in words:
        if "%" in word or "${" in word:
            raise UsageError(f"{place}: Include {word} is not understood; write it without % and ${{}}")
        yield from map(Path, sorted(glob.glob(str(folder / expanded(word)))))  # noqa: PTH207 - may be absolute


def _words(place: str, value: str) -> list[str]:
    """Split a value as ssh does; what follows a word that begins with # is a comment."""
    try:
        return list(takewhile(lambda word: not word.startswith("#"), shlex.split(value)))
    except ValueError:
        raise UsageError(f"{place}: a quotation without its end: {value}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
