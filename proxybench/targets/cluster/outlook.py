"""Which subjects of an experiment the user's own cluster can run, by what its hosts have said. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from proxybench.model import Mode
from proxybench.subjects.cluster import NO_USERSPACE
from proxybench.subjects.outlook import Row
from proxybench.targets.cluster.inventory import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.targets.cluster.checkup import Row as Host

CLUSTER: Final = "your cluster"
"""What it is called among kinds of node."""
Switch = tuple[Mode, str]
"""To a mode, and an image ("": its own)."""
_SWITCH: Final = "run --allow-switch"
_SHOWN: Final = 3


def switches(specs: Sequence[SubjectSpec], hosts: Sequence[Host]) -> tuple[Switch, ...]:
    """Return to what kube-proxy would be switched, by what its hosts have said."""
    wanted = [_wanted(spec) for spec in specs if _is_switched(spec, hosts) and not _lacks(spec, hosts)[0]]
    return tuple(dict.fromkeys(wanted))


def outlook(specs: Sequence[SubjectSpec], hosts: Sequence[Host], refused: Mapping[Switch, str]) -> tuple[Row, ...]:
    """Return a row for each subject; none is required, since a run goes on without a mode that is not there.

    ``refused`` says of each of ``switches`` why it cannot be, "" where it can.
    """
    return tuple(_row(spec, hosts, refused) for spec in specs)


def able(hosts: Sequence[Host], rows: Sequence[Row]) -> bool:
    """Tell whether a run can be: no host lacks anything but further ones, without which it goes on, and a mode runs."""
    return any(row.supported for row in rows) and not _lacking(hosts)


def _row(spec: SubjectSpec, hosts: Sequence[Host], refused: Mapping[Switch, str]) -> Row:
    fix = ""
    lacking, reason = _lacks(spec, hosts)
    if not lacking and _is_switched(spec, hosts):
        now, why = _now(hosts), refused[_wanted(spec)]
        so = f"kube-proxy runs in {now} mode now" if spec.mode != now else f"it would run from {spec.image}"
        lacking, reason, fix = (True, why, "") if why else (False, so, _SWITCH)
    return Row(
        subject=spec.subject.label,
        node=CLUSTER,
        supported=not lacking,
        required=False,
        binary=spec.image or "the cluster's",
        reason=reason,
        fix=fix,
    )


def _now(hosts: Sequence[Host]) -> str:
    """Return the mode in which the measured kube-proxy runs, "" where none answers."""
    return next((host.mode for host in hosts if Role.MEASURED in host.roles), "")


def _is_switched(spec: SubjectSpec, hosts: Sequence[Host]) -> bool:
    return spec.mode != _now(hosts) or bool(spec.image)


def _wanted(spec: SubjectSpec) -> Switch:
    return spec.mode, spec.image


def _lacks(spec: SubjectSpec, hosts: Sequence[Host]) -> tuple[bool, str]:
    if spec.mode is Mode.USERSPACE:
        return True, NO_USERSPACE
    return _why_not(spec.mode if _is_switched(spec, hosts) else None, hosts)


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
