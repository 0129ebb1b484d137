"""What a run would touch in a cluster, in lines for people; nothing is changed to find out."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from proxybench.kube.objects import NAMESPACE
from proxybench.targets.cluster import access
from proxybench.targets.cluster.inventory import Role
from proxybench.targets.cluster.switch.daemon_set import look
from proxybench.targets.cluster.switch.way import hosts_of
from proxybench.targets.cluster.target import MOST_PODS, open_api

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.target import ClusterTarget


def touched(target: ClusterTarget, wanted: Sequence[tuple[Mode, str]]) -> tuple[str, ...]:
    """Return every object, file and program that a run would touch; ``wanted`` are modes and images ("": its own).

    Asks the API, and the hosts where kube-proxy is a unit of theirs. Raises ApiError, HostError, UsageError.
    """
    lines = [f"namespace {NAMESPACE}: Services and EndpointSlices of the experiment, removed at the end"]
    for node in target.inventory.nodes:
        programs = ["the agent", *(["our backend"] if Role.BACKEND in node.roles and not target.spec.pods else ())]
        lines.append(
            f"{node.name}: {target.workdir(node)} (the agent's file), while the run lasts {' and '.join(programs)}"
        )
    if pods := target.spec.pods:
        where = f"of up to {MOST_PODS} pods of {pods.namespace} with {pods.selector}"
        lines.append(f"while the run lasts our backend in the network {where}, on hosts of the inventory")
    if target.switch is None:
        return (*lines, "kube-proxy: nothing; it is observed as it is")
    with ExitStack() as stack:
        api = open_api(target.first_access, stack)
        access.has_namespace(api)
        by_unit = look(api).by_unit
        way = stack.enter_context(target.way(by_unit=by_unit))
        hosts: tuple[str, ...] = ()
        for mode, image in wanted:
            changes = way.plan(mode, image, "(new)")
            hosts = hosts_of(changes)
            lines += [f"kube-proxy to {mode}: {_shown(change)}" for change in changes]
        seen = [target.tidying.foreseen(mode) for mode in dict.fromkeys(mode for mode, _ in wanted)]
    lines += dict.fromkeys(line for one in seen for line in (*one.lines, *one.faults))
    how = f"systemctl restart kube-proxy on {', '.join(hosts)}" if by_unit else "a rollout on every node"
    return (*lines, f"kube-proxy: {how} for each switch, and one back; RUN/undo.jsonl before each")


def _shown(change: Change) -> str:
    if isinstance(change.before, str) and isinstance(change.after, str):
        old, new = change.before.splitlines(), change.after.splitlines()
        lines = [f"-{line}" for line in old if line not in new] + [f"+{line}" for line in new if line not in old]
        return f"{change.what}: {' '.join(lines) or 'as it is'}"
    return f"{change.what}: {change.before} becomes {change.after}"
