"""Whom endpoints see at the end of a path: conformance of what a point rests on, before it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.conformance.judge import Seen, seen_as
from proxybench.conformance.verdict import Outcome
from proxybench.model import Address, Mode, Origin, ServicePath
from proxybench.nodes.exchange import Exchange
from proxybench.scenarios.result import Checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.paths import Paths

_PROBES = 4


def expected(path: ServicePath, mode: Mode, client: str, nodes: Sequence[str]) -> tuple[str, str] | None:
    """Return the address that endpoints must see, and whose it is; None where every address is as good (pure).

    Over another node's NodePort that is its address, since answers must come back by way of it; with
    ``externalTrafficPolicy: Local`` the client's own. A userspace relay shows nobody's but its own.
    """
    if path.origin is Origin.OTHER:
        return nodes[1], "the other node's"
    local = path.address is Address.NODE_PORT_LOCAL and path.origin is Origin.CLIENT
    return (client, "the client's") if local and mode is not Mode.USERSPACE else None


def misled(step: StepContext, asked: Paths) -> dict[str, str]:
    """Return what is wrong with the addresses that endpoints see, by target. Raises HostError."""
    client, nodes = step.cluster.client.address, [node.address for node in step.cluster.proxy_nodes]
    found: dict[str, str] = {}
    for where, target in asked.last:
        right = expected(ServicePath.parse(where.path), step.cell.mode, client, nodes)
        if right is None:
            continue
        asking = Exchange(target.host, target.port, _PROBES, target.protocol or "tcp", timeout_ms=2000, limit=60)
        verdict = seen_as(Seen(step.client.agent.call(asking), target.expect or ()), *right)
        passed = verdict.outcome is Outcome.PASS
        step.result.checks.append(Checked(f"{where.path}: endpoints see {right[1]} address", passed, verdict.evidence))
        if not passed:
            labels = [one.label for place, one in asked.vips if place.path == where.path]
            found |= {label: f"{label}: {verdict.evidence}" for label in labels}
    return found
