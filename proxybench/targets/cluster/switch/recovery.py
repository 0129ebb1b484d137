"""The way back for a run that was killed: its undo log says which cluster, and what had been begun.

A run that only observes has one, too, with no change in it: what it wrote to the API is removed.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.errors import ExperimentError, ProxybenchError, ResultsError, RunError, UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.targets.claim import claimed
from proxybench.targets.cluster import access
from proxybench.targets.cluster.cleaning import clean, hiding_nothing
from proxybench.targets.cluster.inventory import Inventory, read_inventory
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.tidying import Tidied
from proxybench.targets.cluster.switch.undo import FILE, read_undo
from proxybench.targets.cluster.target import ClusterTarget, open_api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.kube.base import ClusterApi
    from proxybench.targets.cluster.switch.tidying import Tidy


def recover(run: Path) -> Iterator[str]:
    """Put back what is in a run's undo log, and remove our Services; yield what was done, in lines for people.

    Raises ResultsError for a folder without a log, UsageError for another cluster, RunError for what was left alone.
    """
    file = run / FILE
    if not file.exists():
        raise ResultsError(f"{run}: has no {FILE}; that run has written nothing to a cluster")
    known = read_undo(file.read_text(), str(file))
    if not known.header.server:
        yield "nothing had been changed"
        return
    header, by_unit = known.header, any(change.host for change in known.changes)
    spec = ClusterSpec(inventory=header.inventory or "-", kubeconfig=header.kubeconfig, context=header.context)
    hosts, why = _inventory(header.inventory)
    if by_unit and why:
        raise UsageError(f"the hosts that run kube-proxy are not known any more: {why}")
    target = ClusterTarget(spec, hosts)
    first = target.first_access
    if first.url != header.server:
        raise UsageError(f"{file}: is of {header.server}, and the kubeconfig leads to {first.url} now")
    with ExitStack() as stack:
        if not stack.enter_context(claimed(f"cluster {first.url}")):  # what is removed would be that one's, too
            raise RunError(
                f"another proxybench of this machine measures the cluster at {first.url}; wait until it has ended"
            )
        api = open_api(first, stack)
        try:
            with target.way(by_unit=by_unit) as way:
                yield from restore(way, file, tidy=_unknown(why) if why else target.tidying)
        except ProxybenchError as error:
            hiding_nothing(partial(_clean, api))(type(error), error, None)
            raise
        if done := _clean(api):
            yield done


def _inventory(file: str) -> tuple[Inventory, str]:
    """Return a run's inventory; an empty one and the reason where it cannot be read any more."""
    try:
        return read_inventory(Path(file)), ""
    except ExperimentError as error:
        return Inventory.model_construct(version=1, nodes=()), str(error)


def _unknown(why: str) -> Tidy:
    """Return what cleans nothing, since the hosts are not known any more, and says so."""

    def say(*_: object) -> Tidied:
        return Tidied(faults=(f"no node was cleaned: {why}",))

    return say


def _clean(api: ClusterApi) -> str:
    """Remove what we wrote to the API; say so, "" where our namespace was not there."""
    if not access.has_namespace(api):
        return ""
    return f"removed: Services and EndpointSlices of ours{', and our namespace' if clean(api) else ''}"


def still_switched(run: Path) -> str:
    """Return what to do about a run's cluster that is not as the run found it; "" when it is. Raises ResultsError."""
    file = run / FILE
    known = read_undo(file.read_text(), str(file)) if file.exists() else None
    if known is None or known.done or not known.changes:
        return ""
    return f"{run}: the cluster's kube-proxy is still switched; run proxybench restore {run}"
