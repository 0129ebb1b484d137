"""What an experiment that replays a profile must agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.experiment.spec import MAX_ENDPOINTS, MAX_SERVICES, ScaleSpec
from proxybench.model import Family, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.experiment.spec import Experiment
    from proxybench.experiment.subject_checks import Finding

MAX_NODE_PORTS: Final = 15_000
"""A node of the lab has 21,512; the rest is for Services of proxybench's own, and those that a batch adds."""

_LOC: Final = ("scale", "profile")


def alone(scale: ScaleSpec) -> Iterator[Finding]:
    """Yield what a profile cannot stand beside, and what the lab has no room for."""
    profile = scale.profile
    if profile is None:
        return
    for name in ("services", "endpoints_per_service", "one_service_endpoints"):
        if getattr(scale, name) != ScaleSpec.model_fields[name].default:
            yield ("scale", name), f"{name}: the profile says how many there are; remove it, or profile"
    for number, most, what in (
        (profile.size, MAX_SERVICES, f"Services ({profile.probed:,} of them proxybench's own)"),
        (profile.endpoints + profile.probed * profile.endpoints_each, MAX_ENDPOINTS, "endpoints"),
        (profile.node_ports, MAX_NODE_PORTS, "ports of the node"),
    ):
        if number > most:
            yield _LOC, f"profile: {number:,} {what} are more than the lab has room for; at most {most:,} are replayed"


def place(experiment: Experiment) -> Iterator[Finding]:
    """Yield where a profile cannot be replayed."""
    if experiment.scale.profile is None:
        return
    if experiment.target.cluster is not None:
        yield _LOC, "profile: is replayed in a lab; leave out target.cluster"
    if Family.IPV6 in experiment.families:
        yield ("families",), "families: a profile is replayed over IPv4 only; write families: [ipv4]"


def measured(experiment: Experiment) -> Iterator[Finding]:
    """Yield what cannot be measured: our own Services, which are probed, have all their pods in one place."""
    if experiment.scale.profile is None:
        return
    for index, path in enumerate(experiment.measure.paths):
        if path.origin is Origin.FAR:
            loc = ("measure", "forwarding", "paths", index)
            yield loc, f"paths: {path} is not measured in the replay of a profile; leave it out"
