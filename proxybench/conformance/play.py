"""Looks at properties one after the other: writes what they need, acts, judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxybench.conformance.property import Need
from proxybench.conformance.verdict import Outcome, Verdict, not_applicable, not_supported
from proxybench.errors import ConnectionLostError, ProxybenchError
from proxybench.kube.base import Ref
from proxybench.kube.objects import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxybench.conformance.ground import Ground
    from proxybench.conformance.property import Property
    from proxybench.kube.base import Object


@dataclass(frozen=True)
class Finding:
    """What was found of one property."""

    property: str
    claim: str
    verdict: Verdict


def why_not(one: Property[Any], ground: Ground) -> Verdict | None:
    """Return why a property is not looked at here, None where it is."""
    there = {Need.SECOND_NODE: ground.other, Need.POD: ground.pod, Need.OUTSIDE: ground.plan.external_cidr}
    lacking = [need for need in one.needs if not there[need]]
    if why := f"the cluster has {lacking[0]}" if lacking else one.exempt(ground.subject):
        return not_applicable(why)
    why = one.unsupported(ground.subject)
    return not_supported(why) if why else None


def prepare(ground: Ground, properties: Sequence[Property[Any]]) -> None:
    """Write what they need beforehand: before the proxies start, so that their first sync has it. Raises ApiError."""
    ground.api.ensure_namespace(NAMESPACE)
    made: dict[Ref, Object] = {}
    for one in properties:
        if not why_not(one, ground):
            made |= {Ref.of(obj): obj for obj in one.objects(ground.plan)}
    ground.create(*made.values())


def examine(
    ground: Ground, properties: Sequence[Property[Any]], report: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Look at each, on proxies that are ready, and yield what was found. What cannot be tried has failed, and says why.

    Raises ConnectionLostError when a node is lost, or its agent cannot be asked any more: nothing more can be said.
    """
    for one in properties:
        report(one.claim)
        yield Finding(one.name, one.claim, _verdict(one, ground))
        if ground.broken:
            raise ConnectionLostError(ground.broken)


def _verdict(one: Property[Any], ground: Ground) -> Verdict:
    if verdict := why_not(one, ground):
        return verdict
    try:
        return one.judge(one.act(ground), ground.subject)
    except ConnectionLostError:
        raise
    except ProxybenchError as error:
        if ground.broken:
            raise ConnectionLostError(f"{one.name}: {error}") from error
        return Verdict(Outcome.FAIL, f"could not be tried: {' '.join(str(error).split())}")
