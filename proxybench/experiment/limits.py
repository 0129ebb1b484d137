"""How much YAML a file of a kind may hold, held while it is read: nothing is built that is over a limit.

A few lines of aliases of aliases stand for more values than any memory holds, and merge keys multiply in the same way;
what is read later (pydantic, messages that show a value) walks all of them. So values are counted with what their
aliases repeat, before anything else sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scanner import Scanner

MAX_DEPTH = 20
"""Of lists and mappings within each other."""
_MAX_KEY = 200  # characters
_MAX_NUMBER = 40  # characters
_TEXT = 50  # characters that count as one value more
_TEXT_TAG = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name for messages, one and many of them, how it ``begins``, and how much of it is read.

    ``max_bytes`` are those of the file: a larger one was named by mistake, though much of one may be comments.
    ``max_values`` are keys and values, with what aliases and merge keys repeat, and one more for each 50 characters of
    text; it ``holds`` so many in words. ``max_entries`` are those of one list or mapping, with merged ones.
    """

    one: str
    many: str
    begins: str
    holds: str
    max_bytes: int
    max_values: int
    max_entries: int


EXPERIMENT = Kind("an experiment", "experiments", "version: 1", "some dozens", 1 << 18, 5_000, 600)
INVENTORY = Kind("an inventory", "inventories", "version: 1", "some hundreds", 1 << 18, 5_000, 600)
KUBECONFIG = Kind("a kubeconfig", "kubeconfigs", "apiVersion: v1", "some hundreds", 1 << 20, 25_000, 2_000)
"""Certificates of hundreds of clusters may stand in one."""
KUBE_PROXY = Kind(
    "a kube-proxy configuration", "kube-proxy configurations", "apiVersion: …", "some dozens", 1 << 20, 25_000, 2_000
)


class RefusedError(MarkedYAMLError):
    """Something in a file is right YAML, but not for its kind; ``problem`` says what, in a whole sentence."""


class LimitedScanner(Scanner):
    """Scans as ruamel.yaml does. Raises RefusedError for a document that says it is of another YAML than 1.2.

    In older ones "on" and "no" are no words.
    """

    def __init__(self, kind: Kind, loader: Any = None) -> None:  # noqa: ANN401 - ruamel.yaml's loader has no type
        super().__init__(loader)
        self._kind = kind

    def scan_yaml_directive_value(self, start_mark: Any) -> Any:  # noqa: ANN401 - as in ruamel.yaml
        """Refuse it where it is written: the event that has the version is that of the line ``---``."""
        version = super().scan_yaml_directive_value(start_mark)
        if version != (1, 2):
            number = ".".join(map(str, version))
            problem = f"%YAML {number} is not supported; remove the line, {self._kind.many} are YAML 1.2"
            raise RefusedError(None, None, problem, start_mark)
        return version


class LimitedComposer(Composer):
    """Composes nodes as ruamel.yaml does, within the limits of this module; keys are words as they are written.

    Raises RefusedError for what is over them, and for what no file needs here: tags, keys that are no words, aliases
    of what they stand in.
    """

    def __init__(self, kind: Kind, loader: Any = None) -> None:  # noqa: ANN401 - ruamel.yaml's loader has no type
        super().__init__(loader)
        self._kind = kind
        self.warn_double_anchors = False  # YAML allows them: the later one counts
        self._nesting = 0
        self._count = 0
        self._weights: dict[int, int] = {}  # values that a node stands for, by its id
        self._widths: dict[int, int] = {}  # its entries, with merged ones

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - as in ruamel.yaml
        """Compose one node, and count what it stands for."""
        event = self.parser.peek_event()
        before = self._count
        self._add(1 + (len(event.value) // _TEXT if isinstance(event, ScalarEvent) else 0), event)
        if getattr(event, "ctag", None) is not None:
            raise _refusal(f"the tag {event.tag} means nothing here; remove it", event)
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise _refusal(f"lists and mappings are more than {MAX_DEPTH} deep in each other", event)
        node = super().compose_node(parent, index)
        self._nesting -= 1
        if not isinstance(event, AliasEvent):
            self._check(node)
            self._weights[id(node)] = self._count - before
        elif id(node) in self._weights:
            self._add(self._weights[id(node)], event)
        else:
            raise _refusal(f"*{event.anchor} stands within what it repeats", event)
        is_key = isinstance(parent, MappingNode) and index is None
        return _as_word(node) if is_key and isinstance(node, ScalarNode) and str(node.tag) != _MERGE else node

    def _add(self, count: int, event: Any) -> None:  # noqa: ANN401 - an event of ruamel.yaml
        self._count += count
        if self._count > self._kind.max_values:
            what = f"more than {self._kind.max_values:,} values, with what aliases repeat"
            raise _refusal(f"{what}; {self._kind.one} holds {self._kind.holds}", event)

    def _check(self, node: Node) -> None:
        if isinstance(node, ScalarNode):
            if str(node.tag) in _NUMBERS and len(node.value) > _MAX_NUMBER:
                raise _refusal(f"a number of {len(node.value)} characters is none that can be meant", node)
            return
        width = sum(self._width(*pair) for pair in node.value) if isinstance(node, MappingNode) else len(node.value)
        if width > self._kind.max_entries:
            raise _refusal(f"a list or mapping of {width} entries; at most {self._kind.max_entries} are read", node)
        self._widths[id(node)] = width

    def _width(self, key: Node, value: Node) -> int:
        """Return how many keys a pair brings into its mapping; refuse a key that is no word."""
        if not isinstance(key, ScalarNode):
            raise _refusal("a list or mapping cannot be a key here; write a word", key)
        if len(key.value) > _MAX_KEY:
            raise _refusal(f"a key of {len(key.value)} characters is none of {self._kind.one}", key)
        if str(key.tag) != _MERGE:
            return 1
        parts = value.value if isinstance(value, SequenceNode) else [value]
        return sum(self._widths.get(id(part), 0) for part in parts)


def _as_word(key: ScalarNode) -> ScalarNode:
    """Return a key such as 10000 or true as text: as numbers, 1 and true would be one. A copy: aliases are none."""
    return ScalarNode(_TEXT_TAG, key.value, key.start_mark, key.end_mark)


def _refusal(problem: str, at: Any) -> RefusedError:  # noqa: ANN401 - a node or an event
    return RefusedError(None, None, problem, at.start_mark)
