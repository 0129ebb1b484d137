"""Whether a cluster's kube-proxy could be switched, asked of its API and, where it runs as a unit, of its hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ProxybenchError, UsageError
from proxybench.targets.cluster.switch.daemon_set import look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.targets.cluster.outlook import Switch
    from proxybench.targets.cluster.switch.way import Way
    from proxybench.targets.cluster.target import ClusterTarget


def refusals(target: ClusterTarget, wanted: Iterable[Switch]) -> dict[Switch, str]:
    """Return why kube-proxy cannot be switched to each of ``wanted``, "" where it can; nothing is changed.

    Where that is not known, as without a kubeconfig, it says why not.
    """
    found: dict[Switch, str] = {}
    if not (left := tuple(wanted)):
        return found
    try:
        with target.api() as api:
            by_unit = look(api).by_unit
        with target.way(by_unit=by_unit) as way:
            found |= {one: _why_not(way, one) for one in left}
    except ProxybenchError as error:
        why = "; ".join(str(error).splitlines())
        found |= dict.fromkeys(left, f"whether kube-proxy can be switched is not known: {why}")
    return found


def _why_not(way: Way, wanted: Switch) -> str:
    try:
        way.plan(*wanted, mark="")
    except UsageError as error:
        return str(error)
    return ""
