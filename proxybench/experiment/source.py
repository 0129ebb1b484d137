"""Reads YAML so that every value can still say where it stood, with ``--set`` overrides laid on top.

ruamel.yaml was chosen because its nodes keep line and column of keys and values, and because it reads YAML 1.2,
in which ``on``, ``no`` and ``1:30`` are plain words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from proxybench.errors import Problem, decoded, place_after
from proxybench.experiment.limits import EXPERIMENT, MAX_DEPTH, Kind, LimitedComposer, LimitedScanner, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Loc = tuple[str | int, ...]
"""The way from the top of a document to a value: keys and indices."""


@dataclass
class Document:
    """Plain data (mappings have string keys only) that knows where each value stood."""

    file: str
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    node: Node | None = None
    _overrides: list[tuple[tuple[str, ...], str, Node | None]] = field(default_factory=list)

    def problem(self, loc: Loc, message: str, *, key: bool = False) -> Problem:
        """Return a problem at a value, or at its key; at the nearest thing around it when it is not there."""
        for path, label, node in reversed(self._overrides):
            if loc[: len(path)] == path:
                return _at(label, _find(node, loc[len(path) :], key=key and len(loc) > len(path)), message)
            if loc and path[: len(loc)] == loc and not _holds(self.node, loc):
                return _at(label, None, message)
        return _at(self.file, _find(self.node, loc, key=key), message)

    def overrides(self, path: tuple[str, ...]) -> bool:
        """Tell whether an override gave a value, or what it stands in."""
        return any(path[: len(laid)] == laid for laid, _, _ in self._overrides)

    def override(self, setting: str) -> None:
        """Lay ``a.b=value`` on top; the value is YAML. What is wrong with it is added to ``problems``."""
        name, equals, text = setting.partition("=")
        label = f"--set {name}"
        path = tuple(name.split("."))
        if not equals or not all(path) or len(path) > MAX_DEPTH:
            self.problems.append(Problem(f"--set {setting}", 1, 1, "is no setting; write a.b=value"))
            return
        parsed = parse(text, label)
        self.problems.extend(parsed.problems)
        if parsed.problems:
            return
        if not _put(self.data, path, parsed.data):
            self.problems.append(Problem(label, 1, 1, f"{name} cannot be set: what it belongs to is no mapping"))
            return
        self._overrides.append((path, label, parsed.node))


def read(path: Path, overrides: Sequence[str] = (), kind: Kind = EXPERIMENT) -> Document:
    """Read a file of a kind and lay overrides on top; all that is wrong as YAML is in ``problems``."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(kind.max_bytes + 1)
        if len(raw) > kind.max_bytes:  # before it is decoded, since it may be cut within a character
            large = f"is larger than {kind.max_bytes >> 10} KiB; name the file of {kind.one}"
            return Document(file, problems=[Problem(file, 1, 1, large)])
    except OSError as error:
        return Document(file, problems=[Problem(file, 1, 1, f"cannot be read: {error.strerror}")])
    text = decoded(raw)
    if not isinstance(text, str):
        return Document(file, problems=[Problem(file, *text, "is not UTF-8 text; save it as UTF-8")])
    document = parse(text, file, kind)
    if not document.problems and not isinstance(document.data, dict):
        what = "is empty" if document.data is None else "holds no mapping"
        document.problems.append(Problem(file, 1, 1, f"{what}; {kind.one} begins with {kind.begins}"))
    if isinstance(document.data, dict):
        for setting in overrides:
            document.override(setting)
    return document


def parse(text: str, file: str, kind: Kind = EXPERIMENT) -> Document:
    """Read YAML text. After a syntax error ``data`` is None; after duplicate keys the first one counts."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = partial(LimitedComposer, kind)  # type: ignore[assignment]  # a class in the stubs; only called
    yaml.Scanner = partial(LimitedScanner, kind)
    try:
        node = yaml.compose(text)
        problems = list(_duplicates(node, file, set()))
        # The constructor also resolves merge keys (<<) in the nodes themselves.
        data = None if node is None else yaml.constructor.construct_document(node)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Document(file, problems=[_problem(file, line, column, _syntax(error))])
    except ReaderError as error:
        line, column = place_after(text[: error.position])
        what = f"the character U+{error.character:04X} cannot stand in it; remove it, or save the file as UTF-8"
        return Document(file, problems=[Problem(file, line, column, f"not valid YAML: {what}")])
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        reason = str(error).splitlines()[0]
        return Document(file, problems=[Problem(file, 1, 1, f"is not valid YAML: {reason}")])
    return Document(file, data, problems, node)


def _syntax(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    if isinstance(error, RefusedError):
        return problem
    if "'\\t'" in problem:
        return "not valid YAML: a tab cannot indent; use spaces"
    hints = {
        "mapping values are not allowed here": "quote the text, or begin a new line before the key",
        "but found another document": "keep one document per file; remove the line ---",
    }
    hint = next((right for wrong, right in hints.items() if wrong in problem), "")
    context = f" {error.context}" if error.context and error.context.startswith("while") else ""
    return f"not valid YAML: {problem}{context}{'; ' + hint if hint else ''}"


def _duplicates(node: Node | None, file: str, seen: set[int]) -> Iterator[Problem]:
    """Yield a problem for each key that its mapping already has, and take it out of the mapping."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _duplicates(item, file, seen)
    if not isinstance(node, MappingNode):
        return
    first: dict[str, int] = {}
    kept = []
    for key, value in node.value:
        yield from _duplicates(value, file, seen)
        name = str(key.value)
        if name in first:
            message = f'"{name}" is written twice (first in line {first[name]}); keep one'
            yield _at(file, key, message)
            continue
        first[name] = key.start_mark.line + 1
        kept.append((key, value))
    node.value = kept


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:  # noqa: ANN401 - YAML holds anything
    """Set a value deep in mappings, making those that are missing; return False when something else is in the way.

    A true or false on the way gives way: to set one thing of a measurement is to switch it on.
    """
    here = data
    for key in path[:-1]:
        if not isinstance(here.get(key), dict):
            if here.get(key) is not None and not isinstance(here[key], bool):
                return False
            here[key] = {}
        # A copy, lest an alias of it elsewhere in the file is changed with it.
        here[key] = dict(here[key])
        here = here[key]
    here[path[-1]] = value
    return True


def _entry(node: Node | None, step: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, MappingNode):
        # Backwards: keys of the mapping itself come after those merged into it, and win.
        pairs = ((key, value) for key, value in reversed(node.value) if str(key.value) == step)
        return next(pairs, None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _find(node: Node | None, loc: Loc, *, key: bool) -> Node | None:
    for number, step in enumerate(loc, start=1):
        entry = _entry(node, step)
        if entry is None:
            return node
        # A value of which nothing is written begins at whatever comes next; its key is what a reader looks for.
        nothing = isinstance(entry[1], ScalarNode) and entry[1].start_mark.index == entry[1].end_mark.index
        at_key = number == len(loc) and (key or nothing)
        node = entry[0] if at_key else entry[1]
    return node


def _holds(node: Node | None, loc: Loc) -> bool:
    for step in loc:
        entry = _entry(node, step)
        if entry is None:
            return False
        node = entry[1]
    return True


def _at(file: str, node: Node | None, message: str) -> Problem:
    if node is None:
        return _problem(file, 1, 1, message)
    return _problem(file, node.start_mark.line + 1, node.start_mark.column + 1, message)


def _problem(file: str, line: int, column: int, message: str) -> Problem:
    """Return a problem of one line, whatever characters of the file are in its message."""
    return Problem(file, line, column, message if message.isprintable() else _printable(message))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
