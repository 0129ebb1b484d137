"""Strategic merge patches (pure).

A merge patch, but that some lists are merged by a key or as sets. Which ones is said by the "patch strategy" of a field
in the Kubernetes API reference; all other lists are replaced as a whole. The directives are those of the Kubernetes
documentation, "Update API Objects in Place Using kubectl patch", and the design "strategic merge patch". What is not
understood is refused, never stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxybench.kube.resources import NAMESPACES, NODES, SERVICES
from proxybench.targets.lab.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

Path = tuple[str, ...]
Lists = dict[Path, str]

_SET: Final = ""  # stands for "no key": a list of plain values, merged as a set
_EVERYWHERE: Final[Lists] = {("metadata", "finalizers"): _SET, ("metadata", "ownerReferences"): "uid"}
_LISTS: Final[Mapping[Resource, Lists]] = {
    SERVICES: {("spec", "ports"): "port", ("status", "conditions"): "type"},
    NODES: {
        ("spec", "podCIDRs"): _SET,
        ("status", "addresses"): "type",
        ("status", "conditions"): "type",
    },
    NAMESPACES: {("status", "conditions"): "type"},
}

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_REMOVE: Final = "$deleteFromPrimitiveList/"


def strategic_merge(resource: Resource, before: Object, patch: Object) -> Object:
    """Return the patched object. Raises StatusError (400)."""
    return _map(before, patch, (), _EVERYWHERE | _LISTS.get(resource, {}))


def _map(before: Any, patch: Object, path: Path, lists: Lists) -> Object:  # noqa: ANN401 - any JSON value
    directive = patch.get(_DIRECTIVE, "merge")
    plain = {key: value for key, value in patch.items() if not key.startswith("$")}
    known = before if isinstance(before, dict) else {}
    if directive == "delete":
        return {}
    if directive == "replace":
        _refuse_directives({key: value for key, value in patch.items() if key != _DIRECTIVE}, path)
        return plain
    if directive != "merge":
        raise bad_request(f"{_words(path)}: {_DIRECTIVE} must be merge, replace or delete")
    merged = _retained(known, patch, plain, path)
    for key, value in plain.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _value(merged.get(key), value, (*path, key), lists)
    _follow_list_directives(merged, known, patch, path, lists)
    return merged


def _follow_list_directives(merged: Object, known: Object, patch: Object, path: Path, lists: Lists) -> None:
    """Do, in place, what a map says of the lists in it: what to remove first, and then their order."""
    orders: list[tuple[str, list[Any]]] = []
    for key, value in patch.items():
        name, slash, field = key.partition("/")
        if name + slash == _REMOVE:
            _remove(merged, field, _named_list(path, key, value), (*path, field), lists)
        elif name + slash == _ORDER:
            orders.append((field, _named_list(path, key, value)))
        elif key.startswith("$") and key not in {_DIRECTIVE, _RETAIN}:
            raise bad_request(f"{_words(path)}: this server knows no directive {key}")
    for field, order in orders:
        _sort(merged, known.get(field), field, order, (*path, field), lists)


def _retained(known: Object, patch: Object, plain: Object, path: Path) -> Object:
    """Return what of the object is left to merge into."""
    if _RETAIN not in patch:
        return dict(known)
    keys = _named_list(path, _RETAIN, patch[_RETAIN])
    for key, value in plain.items():
        if value is not None and key not in keys:
            raise bad_request(f"{_words(path)}: {key} is set, but not in {_RETAIN}")
    return {key: value for key, value in known.items() if key in keys}


def _value(before: Any, value: Any, path: Path, lists: Lists) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return _map(before, value, path, lists)
    if not isinstance(value, list):
        return value
    key = lists.get(path)
    if key is None:
        _refuse_directives(value, path)
        return value
    known = before if isinstance(before, list) else []
    if key == _SET:
        _refuse_directives(value, path)
        return [*known, *(item for item in value if item not in known)]
    return _list(known, value, key, path, lists)


def _list(before: list[Object], patch: list[Any], key: str, path: Path, lists: Lists) -> list[Object]:
    """Merge a list of objects, which are the same when they have the same ``key``."""
    merged = list(before)
    changes: list[Object] = []
    replaced = False
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"{_words(path)}: every element must be an object")
        directive = item.get(_DIRECTIVE, "merge")
        if directive == "replace":
            if len(item) > 1:
                raise bad_request(f"{_words(path)}: an element with {_DIRECTIVE}: replace must hold nothing else")
            replaced = True
            continue
        if key not in item:
            raise bad_request(f"{_words(path)}: every element must hold the merge key {key}")
        if directive == "delete":
            merged = [known for known in merged if known.get(key) != item[key]]
        elif directive == "merge":
            changes.append(item)
        else:
            raise bad_request(f"{_words(path)}: {_DIRECTIVE} must be merge, replace or delete")
    if replaced:
        merged = []
    for item in changes:
        place = next((index for index, known in enumerate(merged) if known.get(key) == item[key]), len(merged))
        merged[place : place + 1] = [_map(merged[place] if place < len(merged) else {}, item, (*path, "[]"), lists)]
    return merged


def _remove(merged: Object, field: str, values: list[Any], path: Path, lists: Lists) -> None:
    if lists.get(path) != _SET:
        raise bad_request(f"{_words(path)}: is no list of plain values that can be merged")
    merged[field] = [item for item in merged.get(field) or () if item not in values]


def _sort(merged: Object, before: Any, field: str, order: list[Any], path: Path, lists: Lists) -> None:  # noqa: ANN401
    """Put the elements that ``order`` names into that order; others stay where they were among their neighbours."""
    key = lists.get(path)
    if key is None:
        raise bad_request(f"{_words(path)}: is no list that can be merged")
    if key and not all(isinstance(item, dict) and key in item for item in order):
        raise bad_request(f"{_words(path)}: every element of {_ORDER}{field} must hold the merge key {key}")
    wanted = [item[key] if key else item for item in order]
    known = _identities(before if isinstance(before, list) else [], key)
    items = merged.get(field) or []
    named = sorted(
        (item for item in items if _identity(item, key) in wanted), key=lambda i: wanted.index(_identity(i, key))
    )
    others = [item for item in items if _identity(item, key) not in wanted]
    result: list[Any] = []
    while named and others:
        ours, theirs = _identity(named[0], key), _identity(others[0], key)
        first = ours not in known or theirs not in known or known.index(ours) < known.index(theirs)
        result.append((named if first else others).pop(0))
    if field in merged:
        merged[field] = [*result, *named, *others]


def _identity(item: Any, key: str) -> Any:  # noqa: ANN401 - any JSON value
    return item.get(key) if key else item


def _identities(items: Sequence[Any], key: str) -> list[Any]:
    return [_identity(item, key) for item in items]


def _named_list(path: Path, key: str, value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        raise bad_request(f"{_words(path)}: {key} must be a list")
    return value


def _refuse_directives(value: Any, path: Path) -> None:  # noqa: ANN401 - any JSON value
    """Refuse directives where they would be stored as if they were fields."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("$"):
                raise bad_request(f"{_words(path)}: {key} has no meaning here: what is there is replaced as a whole")
            _refuse_directives(item, path)
    elif isinstance(value, list):
        for item in value:
            _refuse_directives(item, path)


def _words(path: Path) -> str:
    return f"error applying patch: {'.'.join(path).replace('.[]', '[]') or 'the object'}"
