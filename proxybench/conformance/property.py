"""What a property is: what it writes beforehand, what it does, and how it judges what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.conformance.ground import Ground
    from proxybench.conformance.verdict import Verdict
    from proxybench.kube.base import Object
    from proxybench.kube.objects import AddressPlan
    from proxybench.model import Subject

E = TypeVar("E")


class Need(StrEnum):
    """What not every cluster has; the value says what is lacking."""

    SECOND_NODE = "no second node with a proxy"
    POD = "no pod to connect from"
    OUTSIDE = "no range for load balancers' addresses"


def always(_: Subject) -> str:
    """Return that a property applies to every subject, or that every subject supports it."""
    return ""


def refused(why: str, *modes: Mode) -> Callable[[Subject], str]:
    """Return what answers with ``why`` for the reference proxier in these modes, or in all where none is named."""
    return lambda subject: why if subject.kind == "reference" and subject.mode in (modes or Mode) else ""


def nothing(_: AddressPlan) -> tuple[Object, ...]:
    """Return that a property needs no objects beforehand."""
    return ()


@dataclass(frozen=True)
class Property(Generic[E]):
    """Something that a Service proxy must do.

    ``objects`` are in the API when the proxy starts; ``act`` acts and returns what it saw, ``judge`` says what that
    means (pure). ``exempt`` returns why it does not apply to a subject, ``unsupported`` why a subject refuses it by
    name; "" where it is to be tried. ``act`` raises HostError, ApiError and MeasurementError when nothing can be said.
    """

    name: str
    claim: str
    act: Callable[[Ground], E]
    judge: Callable[[E, Subject], Verdict]
    objects: Callable[[AddressPlan], tuple[Object, ...]] = nothing
    needs: frozenset[Need] = field(default_factory=frozenset)
    exempt: Callable[[Subject], str] = always
    unsupported: Callable[[Subject], str] = always
