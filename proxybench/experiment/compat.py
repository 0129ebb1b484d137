"""Which mode a kube-proxy of a given version has, and which API it watches. Pure.

Sources: the change logs of Kubernetes. The userspace mode was removed in 1.26; IPVS became generally available in
1.11 and is deprecated from 1.35; nftables is alpha in 1.29, beta in 1.31 and generally available in 1.33.
EndpointSlice v1beta1 is served from 1.17 and v1 from 1.21; kube-proxy on Linux reads slices by default from 1.19,
except in userspace mode, which only ever read Endpoints. What comes for IPVS is what kube-proxy 1.37 logs itself:
off by default in 1.40, removed in 1.43.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAGE = re.compile(r"[-+].*", re.DOTALL)
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?")


@dataclass(frozen=True, order=True)
class KubeVersion:
    """A version of Kubernetes; a patch that is not named is 0."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "1.29", "1.29.3" or "v1.29.3"; raise ValueError saying what would be right."""
        match = _VERSION.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is not a version of Kubernetes; write it in quotes, such as "1.29"')
        return cls(int(match[1]), int(match[2]), int(match[3] or 0))

    @classmethod
    def of_release(cls, text: str) -> Self:
        """Read what a binary tells of itself: "v1.37.2", or "v1.38.0-alpha.0.12+0123456789abcd" of a checkout.

        Raises ValueError saying what would be right.
        """
        return cls.parse(_STAGE.sub("", text))

    @property
    def release(self) -> KubeVersion:
        """The version without its patch."""
        return KubeVersion(self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")


@dataclass(frozen=True)
class Verdict:
    """Whether a version has a mode. ``note`` says why not, or what to know; ``gate`` is the feature gate to set."""

    able: bool
    note: str = ""
    gate: str = ""


_USERSPACE_GONE = KubeVersion(1, 26)
_IPVS_BORN, _IPVS_DEPRECATED = KubeVersion(1, 11), KubeVersion(1, 35)
_IPVS_OFF, _IPVS_GONE = KubeVersion(1, 40), KubeVersion(1, 43)
_NFT_ALPHA, _NFT_BETA, _NFT_GA = KubeVersion(1, 29), KubeVersion(1, 31), KubeVersion(1, 33)
_SLICES_GATED = KubeVersion(1, 20)  # the last whose userspace mode must be told to read Endpoints
_SLICES_READ = KubeVersion(1, 19)


def mode_in(mode: Mode, version: KubeVersion) -> Verdict:
    """Return whether kube-proxy of this version can run in this mode."""
    release = version.release
    if mode is Mode.USERSPACE and release >= _USERSPACE_GONE:
        return Verdict(able=False, note="userspace was removed in 1.26; use 1.25 or older")
    if mode is Mode.IPVS:
        return _ipvs(release)
    if mode is Mode.NFTABLES:
        return _nftables(release)
    return Verdict(able=True)


def feature_gates(mode: Mode, version: KubeVersion) -> Mapping[str, bool]:
    """Return the feature gates that kube-proxy of this version needs for the mode; an unknown one would end it."""
    gate, _, value = mode_in(mode, version).gate.partition("=")
    gates = {gate: value == "true"} if gate else {}
    if mode is Mode.USERSPACE and _SLICES_READ <= version.release <= _SLICES_GATED:
        gates["EndpointSliceProxying"] = False
    return gates


def _ipvs(release: KubeVersion) -> Verdict:
    if release < _IPVS_BORN:
        return Verdict(able=False, note="ipvs became generally available in 1.11; use 1.11 or newer")
    if release >= _IPVS_GONE:
        return Verdict(able=False, note="ipvs was removed in 1.43; use 1.42 or older")
    if release >= _IPVS_OFF:
        return Verdict(able=True, note="ipvs is off by default from 1.40", gate="KubeProxyIPVS=true")
    if release >= _IPVS_DEPRECATED:
        return Verdict(able=True, note="ipvs is deprecated from 1.35")
    return Verdict(able=True)


def _nftables(release: KubeVersion) -> Verdict:
    if release < _NFT_ALPHA:
        return Verdict(able=False, note="nftables came in 1.29; use 1.29 or newer")
    if release < _NFT_BETA:
        return Verdict(able=True, note="nftables is alpha until 1.31", gate="NFTablesProxyMode=true")
    if release < _NFT_GA:
        return Verdict(able=True, note="nftables is beta until 1.33")
    return Verdict(able=True)


def reads_endpoints(mode: Mode, version: KubeVersion) -> bool:
    """Tell whether kube-proxy reads Endpoints objects, and not EndpointSlices (v1beta1 up to 1.20, then v1).

    From 1.19 on, userspace needs the feature gate ``EndpointSliceProxying=false`` to read them.
    """
    return mode is Mode.USERSPACE or version.release < _SLICES_READ
