"""Label and field selectors, parsed once and then asked of every object (pure).

The grammar is that of the Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

_KEY: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_ABSENT: Final = re.compile(rf"!\s*({_KEY})")
_PRESENT: Final = re.compile(rf"({_KEY})")
_EQUAL: Final = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_AMONG: Final = re.compile(rf"({_KEY})\s+(in|notin)\s+\(([^()]*)\)")
_COMMA: Final = re.compile(r",(?![^(]*\))")  # not inside "in (a,b)"
_OF_ALL: Final = frozenset({"metadata.name", "metadata.namespace"})
_OF_SERVICES: Final = frozenset({"spec.clusterIP", "spec.type"})  # the former is asked for by kube-proxy from 1.34 on


@dataclass(frozen=True)
class Requirement:
    """One condition on a label.

    ``values`` None asks only whether the label is there. With values, ``wanted`` asks that the label is there and
    among them; not ``wanted`` asks that it is missing or another.
    """

    key: str
    values: frozenset[str] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels meet the condition."""
        if self.values is None:
            return (self.key in labels) is self.wanted
        return (labels.get(self.key) in self.values) is self.wanted


@dataclass(frozen=True)
class Selection:
    """Which objects of a collection are meant; all of them by default."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    everything: bool = True

    def matches(self, fields: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Tell whether the object with these ``selectable_fields`` is among those meant."""
        if self.everything:
            return True
        if not all(requirement.holds(fields) for requirement in self.fields):
            return False
        return all(requirement.holds(labels) for requirement in self.labels)


EVERYTHING: Final = Selection()


def selectable_fields(resource: Resource, obj: Object) -> dict[str, str]:
    """Return what a field selector may ask of this object."""
    metadata = obj["metadata"]
    found = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
    if resource == SERVICES:
        spec = obj.get("spec") or {}
        found |= {"spec.clusterIP": spec.get("clusterIP") or "", "spec.type": spec.get("type") or ""}
    return found


def parse_selection(label_selector: str, field_selector: str = "", resource: Resource | None = None) -> Selection:
    """Parse the two query parameters of a list or watch; a resource may have fields of its own to select by.

    Raises StatusError (400).
    """
    if not label_selector and not field_selector:
        return EVERYTHING
    labels = tuple(_label_requirement(part) for part in _parts(label_selector))
    fields = tuple(_field_requirement(part, resource) for part in _parts(field_selector))
    return Selection(labels, fields, everything=False)


def _parts(selector: str) -> list[str]:
    return [part.strip() for part in _COMMA.split(selector)] if selector.strip() else []


def _label_requirement(part: str) -> Requirement:
    if found := _ABSENT.fullmatch(part):
        return Requirement(found[1], None, wanted=False)
    if found := _PRESENT.fullmatch(part):
        return Requirement(found[1], None, wanted=True)
    if found := _EQUAL.fullmatch(part):
        return Requirement(found[1], frozenset({found[3]}), wanted=found[2] != "!=")
    if found := _AMONG.fullmatch(part):
        values = frozenset(value.strip() for value in found[3].split(","))
        return Requirement(found[1], values, wanted=found[2] == "in")
    raise bad_request(f'unable to parse requirement: "{part}"')


def _field_requirement(part: str, resource: Resource | None) -> Requirement:
    found = _EQUAL.fullmatch(part)
    if found is None:
        raise bad_request(f"invalid field selector: '{part}'; can't understand '{part}'")
    if found[1] not in _OF_ALL | (_OF_SERVICES if resource == SERVICES else set()):
        raise bad_request(f"field label not supported: {found[1]}")
    return Requirement(found[1], frozenset({found[3]}), wanted=found[2] != "!=")
