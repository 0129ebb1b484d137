"""~/.ssh/config and the files that it includes, as ssh reads them: what is set first counts, block by block.

paramiko's own reader passes over Include, takes every Match that it does not know for one that holds, and some words of
ProxyCommand for its own. What is not understood here is refused with its file and line, for the hosts that it is about.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import paramiko

from proxybench.errors import UsageError
from proxybench.home import expanded
from proxybench.home import user as user_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SETTING: Final = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_SIGN: Final = re.compile("%(.?)")
_BACKSLASH: Final = re.compile(r"""\\([\\'" ]?)""")
_SHELL: Final = re.compile(r"""[\s'"`$\\;&<>|(){}*?!]""")
_FOREIGN: Final = "nhrk"
"""Signs of names that come from outside: from an inventory, say."""
_DEEPEST: Final = 16  # as ssh has it
_BARE: Final = frozenset({"all", "canonical", "final"})
_KNOWN: Final = _BARE | {"host", "originalhost", "user", "localuser", "exec"}
_USED: Final = frozenset({
    "hostname", "port", "user", "identityfile", "identitiesonly", "identityagent", "proxycommand", "proxyjump",
    "hostkeyalias", "userknownhostsfile", "canonicalizehostname", "canonicaldomains", "canonicalizemaxdots",
    "canonicalizefallbacklocal", "addressfamily",
})  # fmt: skip
"""Keywords that say how we reach a host."""


@dataclass(frozen=True)
class _Line:
    """One of a file. Match has as ``words`` each condition and its value, Include the ``lines`` of its files."""

    place: str
    key: str
    words: tuple[str, ...]
    lines: tuple[_Line, ...] = ()


@dataclass(frozen=True)
class Signs:
    """What %h and the like stand for; ``origin`` is what a host is asked for by."""

    origin: str
    values: Mapping[str, str]

    def put_into(self, text: str) -> str:
        """Return a text with what its signs stand for. Raises UsageError for one that is none."""

        def value(sign: re.Match[str]) -> str:
            if sign[1] not in self.values:
                raise UsageError(f"{self.origin}: ~/.ssh/config: {sign[0]} in {text} is not understood")
            return self.values[sign[1]]

        return _SIGN.sub(value, text)

    def put_into_command(self, key: str, text: str) -> str:
        """Return a shell's command with what its signs stand for; ``key`` is the keyword before it.

        Raises UsageError for a sign that is none, and where the shell would read more in a name that is put in.
        """
        used = set(_SIGN.findall(text))
        for name in (self.values[sign] for sign in _FOREIGN if sign in used):
            if found := _SHELL.search(name):
                raise UsageError(f"{self.origin}: {found[0]!r} in {name!r} would be read by {key}'s shell; rename it")
        return self.put_into(text)


def signs(origin: str, *, host: str, port: str, user: str, alias: str = "") -> Signs:
    """Return the signs of ssh that we know."""
    here = platform.node()
    return Signs(origin, {
        "%": "%", "d": str(expanded("~")), "h": host, "i": str(os.getuid()), "k": alias or origin, "l": here,
        "L": here.partition(".")[0], "n": origin, "p": port, "r": user,
    })  # fmt: skip


class ConfigFile:
    """Answers what is said of a host. ``folder`` is where paths of Include begin, ~/.ssh."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Read it; one that is not there says nothing.

        Raises UsageError for what cannot be read or is no configuration, with file and line.
        """
        self._lines = tuple(_read(path, folder, 0)) if path.is_file() else ()

    def lookup(self, origin: str) -> dict[str, tuple[str, ...]]:
        """Return the words after each keyword in the order in which they were set first; those of ProxyCommand in one.

        Raises UsageError where that hangs on what is not understood.
        """
        look = _Look(origin, origin)
        look.follow(self._lines)
        host = look.host
        canonical = look.first("canonicalizehostname") in {"yes", "always"}
        if canonical:
            host = look.canonical()
        if canonical or look.again:
            look.name, look.final, look.found["hostname"] = host, True, (host.replace("%", "%%"),)
            look.follow(self._lines)
        look.found["hostname"] = (look.host,)
        return look.found


@dataclass
class _Look:
    """One way through all lines: ``name`` is what Host is compared with; ``again`` asks for a second, ``final`` one."""

    origin: str
    name: str
    final: bool = False
    again: bool = False
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def first(self, key: str) -> str:
        return next(iter(self.found.get(key, ())), "")

    @property
    def host(self) -> str:
        return Signs(self.origin, {"%": "%", "h": self.name}).put_into(self.first("hostname")) or self.name

    def canonical(self) -> str:
        given = paramiko.SSHConfigDict({key: words[0] for key, words in self.found.items() if words})
        try:
            if self.host.count(".") > int(given.get("canonicalizemaxdots", "1")):
                return self.host
            return paramiko.SSHConfig().canonicalize(self.host, given, list(self.found.get("canonicaldomains", ())))
        except (paramiko.SSHException, ValueError) as error:
            raise UsageError(f"{self.origin}: ~/.ssh/config: it has no canonical name: {error}") from error

    def follow(self, lines: Iterable[_Line], refused: str = "") -> None:
        """Follow lines that count, or might, by a condition that is not understood: ``refused`` says which."""
        counts, why = True, refused
        for line in lines:
            if line.key == "host":
                counts, why = _one_of(self.name, line.words), refused
            elif line.key == "match":
                unknown = self._unknown(line)
                counts, why = unknown is not None, refused or unknown or ""
            elif counts and line.key == "include":
                self.follow(line.lines, why)
            elif counts:
                self._set(line, why)

    def _set(self, line: _Line, refused: str) -> None:
        known = self.found.get(line.key)
        if known is None and refused:
            raise UsageError(f"{self.origin}: {refused}")
        if known is None:
            self.found[line.key] = line.words
        elif line.key == "identityfile":
            self.found[line.key] = (*known, *(word for word in line.words if word not in known))

    def _unknown(self, line: _Line) -> str | None:
        """Return None where a condition does not hold, else why one is not understood, or "" where all are."""
        unknown, self.again = "", self.again or not {"final", "!final"}.isdisjoint(line.words[::2])
        for name, value in zip(line.words[::2], line.words[1::2], strict=True):
            bare = name.removeprefix("!")
            if bare not in _KNOWN:
                unknown = unknown or (
                    f"{line.place}: Match {name} is not understood; host, originalhost, user and exec are"
                )
            elif self._holds(bare, value) is name.startswith("!"):
                return None
        return unknown

    def _holds(self, name: str, value: str) -> bool:
        if name in _BARE:
            return self.final or name == "all"
        if name == "exec":
            port, user = self.first("port") or "22", self.first("user") or user_name()
            return _succeeds(
                signs(self.origin, host=self.host, port=port, user=user).put_into_command("Match exec", value)
            )
        if name in {"host", "originalhost"}:
            return _one_of((self.host if name == "host" else self.origin).lower(), value.lower().split(","))
        return _one_of((self.first("user") if name == "user" else "") or user_name(), value.split(","))


def _read(path: Path, folder: Path, depth: int) -> Iterator[_Line]:
    for number, raw in enumerate(_text(path).split("\n"), 1):
        place, line = f"{path}:{number}", raw.strip()
        if not line or line.startswith("#"):
            continue
        setting = _SETTING.fullmatch(line)
        if setting is None:
            raise UsageError(f"{place}: {line} is no keyword with a value")
        key = setting[1].lower()
        if key == "proxycommand":
            yield _Line(place, key, (setting[2],))
        elif key == "match":
            yield _Line(place, key, tuple(_conditions(place, _words(place, setting[2]))))
        elif key == "include":
            if depth == _DEEPEST:
                raise UsageError(f"{place}: files that include each other, or more than {_DEEPEST} deep")
            files = _included(folder, place, _words(place, setting[2]))
            yield _Line(place, key, (), tuple(line for file in files for line in _read(file, folder, depth + 1)))
        elif key == "host" or key in _USED:
            yield _Line(place, key, _words(place, setting[2]))


def _conditions(place: str, words: Sequence[str]) -> Iterator[str]:
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        name = name.lower()
        yield name
        value = "" if name.removeprefix("!") in _BARE else value if equals else next(left, "")
        if not value and name.removeprefix("!") not in _BARE:
            raise UsageError(f"{place}: Match {name} needs a value")
        yield value


def _included(folder: Path, place: str, words: Iterable[str]) -> Iterator[Path]:
    for word in words:
        if "%" in word or "${" in word:
            raise UsageError(f"{place}: Include {word} is not understood; write it without % and ${{}}")
        yield from map(Path, sorted(glob.glob(str(folder / expanded(word)))))  # noqa: PTH207 - may be absolute


def _words(place: str, value: str) -> tuple[str, ...]:
    r"""Split a value as ssh does; what follows a word that begins with # is a comment.

    A backslash is itself, as in DOMAIN\user, but for one before a quotation mark, a blank or another one.
    """
    kept = _BACKSLASH.sub(lambda found: found[0] if found[1] else r"\\", value)
    lexer = shlex.shlex(kept, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escapedquotes = True, "", "'\""
    try:
        return tuple(takewhile(lambda word: not word.startswith("#"), lexer))
    except ValueError:
        raise UsageError(f"{place}: a quotation without its end: {value}") from None


def _one_of(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of ssh's patterns is of a name, and none that begins with ! is."""
    fitting = [pattern for pattern in patterns if re.fullmatch(_expression(pattern.removeprefix("!")), name)]
    return bool(fitting) and not any(pattern.startswith("!") for pattern in fitting)


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def _succeeds(command: str) -> bool:
    argv = [os.environ.get("SHELL") or "/bin/sh", "-c", command]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
