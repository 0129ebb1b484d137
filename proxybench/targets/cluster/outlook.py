"""Which subjects of an experiment the user's own cluster can run, by what its hosts have said. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from proxybench.model import Mode
from proxybench.subjects.cluster import NO_USERSPACE
from proxybench.subjects.outlook import Row
from proxybench.targets.cluster.inventory import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.targets.cluster.checkup import Row as Host

CLUSTER: Final = "your cluster"
"""What it is called among kinds of node."""
_SWITCH: Final = "run --allow-switch"
_SHOWN: Final = 3


def outlook(specs: Sequence[SubjectSpec], hosts: Sequence[Host]) -> tuple[Row, ...]:
    """Return a row for each subject; none is required, since a run goes on without a mode that is not there."""
    return tuple(_row(spec, hosts) for spec in specs)


def able(hosts: Sequence[Host], rows: Sequence[Row]) -> bool:
    """Tell whether a run can be: no host lacks anything but further ones, without which it goes on, and a mode runs."""
    return any(row.supported for row in rows) and not _lacking(hosts)


def _row(spec: SubjectSpec, hosts: Sequence[Host]) -> Row:
    now = next((host.mode for host in hosts if Role.MEASURED in host.roles), "")
    fix = ""
    lacking, reason = True, NO_USERSPACE
    if spec.mode is not Mode.USERSPACE:
        switched = spec.mode != now or spec.image
        lacking, reason = _why_not(spec.mode if switched else None, hosts)
        if switched and not lacking:
            reason = f"kube-proxy runs in {now} mode now" if spec.mode != now else f"it would run from {spec.image}"
            fix = _SWITCH
    return Row(
        subject=spec.subject.label,
        node=CLUSTER,
        supported=not lacking,
        required=False,
        binary=spec.image or "the cluster's",
        reason=reason,
        fix=fix,
    )


def _why_not(to: Mode | None, hosts: Sequence[Host]) -> tuple[bool, str]:
    """Tell whether something is lacking, and what: of hosts, and of the mode to which they would be switched."""
    if lacking := _lacking(hosts):
        return True, f"{_names(lacking)} must be mended first"
    by_text: defaultdict[str, list[str]] = defaultdict(list)
    for host in hosts if to else ():
        if text := host.modes.get(str(to)):
            by_text[text].append(host.node)
    return bool(by_text), "; ".join(f"{_names(names)}: {text}" for text, names in by_text.items())


def _lacking(hosts: Sequence[Host]) -> list[str]:
    """Return the hosts that lack something, and without which there is no run."""
    return list(dict.fromkeys(host.node for host in hosts if host.lacks and host.roles != (Role.OTHER,)))


def _names(hosts: Sequence[str]) -> str:
    more = len(hosts) - _SHOWN
    return ", ".join(hosts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
