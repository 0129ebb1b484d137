"""Which dumps of a real kube-proxy lie here: releases, cases, and what each file is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode

FOLDER = Path(__file__).parent
OBJECTS = FOLDER / "kube-proxy-1.20.2" / "objects.yaml"
RELEASES = ("v1.30.14", "v1.33.13", "v1.36.3", "v1.37.2")
OLD = "v1.20.2"
"""The oldest release that can be configured, and one of those with userspace mode; no Go of today builds it."""
TABLES = ("nat", "filter", "mangle")
READINGS = ("iptables", "ip6tables", "nft", "sets", "links", "servers", "sysctls")
"""The names of the commands of ``proxybench.nodes.kernel.capture``, in their order."""


@dataclass(frozen=True)
class Case:
    """A mode and a backend of iptables (None: the mode has none); ``name`` begins the names of its files."""

    name: str
    mode: Mode
    backend: Backend | None


CASES = (
    Case("iptables", Mode.IPTABLES, Backend.LEGACY),
    Case("iptables-nft", Mode.IPTABLES, Backend.NFT),
    Case("ipvs", Mode.IPVS, Backend.LEGACY),
    Case("nftables", Mode.NFTABLES, None),
)
USERSPACE = Case("userspace", Mode.USERSPACE, Backend.LEGACY)


def cases_of(release: str) -> tuple[Case, ...]:
    """Return the cases of a release, the modes that it has."""
    version = KubeVersion.of_release(release)
    return tuple(case for case in (*CASES, USERSPACE) if mode_in(case.mode, version).able)


EVERY = tuple((release, case) for release in (OLD, *RELEASES) for case in cases_of(release))
"""Each case of each release."""


def folder(release: str) -> Path:
    """Return where the dumps of a release are. Those of 1.20.2 that were made by hand have its plain name."""
    return FOLDER / f"kube-proxy-{release.removeprefix('v')}{'-lab' if release == OLD else ''}"


def golden(release: str, case: str, what: str) -> str:
    """Return a dump, "" for one that is not there: an empty one is not kept."""
    file = folder(release) / f"{case}.{what}"
    return file.read_text() if file.exists() else ""
