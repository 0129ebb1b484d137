"""What a run would touch in a cluster, in lines for people; nothing is changed to find out."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from proxybench.kube.objects import NAMESPACE
from proxybench.targets.cluster import access
from proxybench.targets.cluster.inventory import Role
from proxybench.targets.cluster.switch.switcher import plan
from proxybench.targets.cluster.target import open_api

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.target import ClusterTarget


def touched(target: ClusterTarget, modes: Sequence[Mode]) -> tuple[str, ...]:
    """Return every object, file and program that a run would touch; asks the API only. Raises ApiError, UsageError."""
    lines = [f"namespace {NAMESPACE}: Services and EndpointSlices of the experiment, removed at the end"]
    for node in target.inventory.nodes:
        programs = ["the agent", *(["our backend"] if Role.BACKEND in node.roles else ())]
        lines.append(
            f"{node.name}: {target.workdir(node)} (the agent's file), while the run lasts {' and '.join(programs)}"
        )
    if target.switch is None:
        return (*lines, "kube-proxy: nothing; it is observed as it is")
    with ExitStack() as stack:
        api = open_api(target.first_access, stack)
        access.has_namespace(api)
        for mode in modes:
            lines += [f"kube-proxy to {mode}: {_shown(change)}" for change in plan(api, mode, "(new)")]
    return (*lines, "kube-proxy: a rollout on every node for each switch, and one back; RUN/undo.jsonl before each")


def _shown(change: Change) -> str:
    if isinstance(change.before, str) and isinstance(change.after, str):
        old, new = change.before.splitlines(), change.after.splitlines()
        lines = [f"-{line}" for line in old if line not in new] + [f"+{line}" for line in new if line not in old]
        return f"{change.what}: {' '.join(lines) or 'as it is'}"
    return f"{change.what}: {change.before} becomes {change.after}"
