"""What a run would touch in a cluster, and what it would be refused for; nothing is changed to find out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxybench.errors import ApiError, UsageError
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE
from proxybench.targets.cluster import access
from proxybench.targets.cluster.inventory import Role
from proxybench.targets.cluster.switch.daemon_set import look
from proxybench.targets.cluster.switch.way import hosts_of
from proxybench.targets.cluster.target import MOST_PODS, open_api

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.kube.base import ClusterApi
    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.switching import Switching
    from proxybench.targets.cluster.target import ClusterTarget

_TOKEN_SECONDS: Final = 600
"""Of the token that is asked for to find out whether one is to be had: the shortest that an API gives."""

_TO_CLEAN: Final = (
    access.Right("deletecollection", "", "services"),
    access.Right("deletecollection", "discovery.k8s.io", "endpointslices"),
)


@dataclass
class DryRun:
    """Lines for people: every object, file and program that a run ``touches``, what to ``note``, why it is ``refused``.

    Where it is refused, ``touches`` may not be all.
    """

    touches: list[str]
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def dry_run(target: ClusterTarget, wanted: Sequence[tuple[Mode, str]]) -> DryRun:
    """Return what a run would do; ``wanted`` are modes and images ("": its own).

    The API is asked, and where kube-proxy may be switched the hosts that run it as well. Where it is only observed, an
    API that cannot be reached is noted. Raises ApiError, HostError.
    """
    found = DryRun(list(_always(target)))
    try:
        if target.switch is None:
            _observed(target, found)
        else:
            _switches(target, target.switch, wanted, found)
    except UsageError as error:
        found.refused.extend(str(error).splitlines())
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        found.refused.append(str(error))
    return found


def _always(target: ClusterTarget) -> Iterator[str]:
    yield f"namespace {NAMESPACE}: Services and EndpointSlices of the experiment, removed at the end"
    yield f"a token of the ServiceAccount {access.SERVICE_ACCOUNT}, for the client's agent: POST {access.TOKEN_PATH}"
    for node in target.inventory.nodes:
        programs = ["the agent", *(["our backend"] if Role.BACKEND in node.roles and not target.spec.pods else ())]
        yield f"{node.name}: {target.workdir(node)} (the agent's file), while the run lasts {' and '.join(programs)}"
    if pods := target.spec.pods:
        where = f"of up to {MOST_PODS} pods of {pods.namespace} with {pods.selector}"
        yield f"while the run lasts our backend in the network {where}, on hosts of the inventory"


def _observed(target: ClusterTarget, found: DryRun) -> None:
    """Add what a run that switches nothing would do. Raises UsageError where it is refused; ApiError."""
    found.touches.append("kube-proxy: nothing; it is observed as it is")
    unknown = "what a run would be refused for was not asked of the API"
    with ExitStack() as stack:
        try:
            api = stack.enter_context(target.api())
        except UsageError as error:
            found.notes.append(f"{unknown}: {'; '.join(str(error).splitlines())}")
            return
        try:
            _always_asked(target, api, found)
        except ApiError as error:
            if not error.away or error.status == HTTPStatus.FORBIDDEN:
                raise
            found.notes.append(f"{unknown}: {error}")


def _always_asked(target: ClusterTarget, api: ClusterApi, found: DryRun) -> None:
    """Ask for what any run is refused, all hosts taken for reached. Raises UsageError with that; ApiError."""
    if access.is_being_deleted(api):
        found.notes.append(f"the namespace {NAMESPACE} is being deleted; a run waits for two minutes, and fails then")
    access.service_cidr(api, target.spec)
    known = access.node_addresses(api)
    target.addresses(api, {node.name: node.address or known.get(node.name, "") for node in target.inventory.nodes})
    access.own_token(api, target.first_access, _TOKEN_SECONDS)
    found.refused.extend(access.forbidden(api, _TO_CLEAN))


def _switches(target: ClusterTarget, switch: Switching, wanted: Sequence[tuple[Mode, str]], found: DryRun) -> None:
    """Add what switches would do. Raises UsageError where the cluster cannot be switched; ApiError, HostError."""
    with ExitStack() as stack:
        api = open_api(target.first_access, stack)
        if felt := switch.refusal(api.list(Kind.SERVICE)):
            found.refused.append(felt)
        _always_asked(target, api, found)
        by_unit = look(api).by_unit
        way = stack.enter_context(target.way(by_unit=by_unit))
        hosts: tuple[str, ...] = ()
        for mode, image in wanted:
            changes = way.plan(mode, image, "(new)")
            hosts = hosts_of(changes)
            found.touches.extend(f"kube-proxy to {mode}: {_shown(change)}" for change in changes)
        found.notes.extend(way.warnings())
        seen = [target.tidying.foreseen(mode) for mode in dict.fromkeys(mode for mode, _ in wanted)]
    found.touches.extend(dict.fromkeys(line for one in seen for line in (*one.lines, *one.faults)))
    how = f"systemctl restart kube-proxy on {', '.join(hosts)}" if by_unit else "a rollout on every node"
    found.touches.append(f"kube-proxy: {how} for each switch, and one back; RUN/undo.jsonl before each")


def _shown(change: Change) -> str:
    if isinstance(change.before, str) and isinstance(change.after, str):
        old, new = change.before.splitlines(), change.after.splitlines()
        lines = [f"-{line}" for line in old if line not in new] + [f"+{line}" for line in new if line not in old]
        return f"{change.what}: {' '.join(lines) or 'as it is'}"
    return f"{change.what}: {change.before} becomes {change.after}"
