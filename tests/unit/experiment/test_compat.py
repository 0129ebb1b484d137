from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.compat import KubeVersion, Verdict, feature_gates, mode_in, reads_endpoints
from proxybench.model import Mode

YES = Verdict(able=True)


@pytest.mark.parametrize(
    ("mode", "version", "verdict"),
    [
        (Mode.USERSPACE, "1.20", YES),
        (Mode.USERSPACE, "1.25.16", YES),
        (Mode.USERSPACE, "1.26", Verdict(able=False, note="userspace was removed in 1.26; use 1.25 or older")),
        (Mode.IPTABLES, "1.8", YES),
        (Mode.IPTABLES, "1.35", YES),
        (
            Mode.IPVS,
            "1.10",
            Verdict(able=False, note="ipvs became generally available in 1.11; use 1.11 or newer"),
        ),
        (Mode.IPVS, "1.11", YES),
        (Mode.IPVS, "1.34.9", YES),
        (Mode.IPVS, "1.35", Verdict(able=True, note="ipvs is deprecated from 1.35")),
        (Mode.IPVS, "1.39.9", Verdict(able=True, note="ipvs is deprecated from 1.35")),
        (Mode.IPVS, "1.40", Verdict(able=True, note="ipvs is off by default from 1.40", gate="KubeProxyIPVS=true")),
        (Mode.IPVS, "1.43", Verdict(able=False, note="ipvs was removed in 1.43; use 1.42 or older")),
        (Mode.NFTABLES, "1.28.99", Verdict(able=False, note="nftables came in 1.29; use 1.29 or newer")),
        (
            Mode.NFTABLES,
            "1.29.1",
            Verdict(able=True, note="nftables is alpha until 1.31", gate="NFTablesProxyMode=true"),
        ),
        (Mode.NFTABLES, "1.32", Verdict(able=True, note="nftables is beta until 1.33")),
        (Mode.NFTABLES, "1.33", YES),
    ],
)
def test_modes_of_versions(mode: Mode, version: str, verdict: Verdict) -> None:
    assert mode_in(mode, KubeVersion.parse(version)) == verdict


@pytest.mark.parametrize(
    ("mode", "version", "gates"),
    [
        (Mode.USERSPACE, "1.18", {}),
        (Mode.USERSPACE, "1.19", {"EndpointSliceProxying": False}),
        (Mode.USERSPACE, "1.20.2", {"EndpointSliceProxying": False}),
        (Mode.USERSPACE, "1.21", {}),
        (Mode.IPTABLES, "1.20.2", {}),
        (Mode.NFTABLES, "1.30.14", {"NFTablesProxyMode": True}),
        (Mode.NFTABLES, "1.31", {}),
        (Mode.IPVS, "1.37.2", {}),
        (Mode.IPVS, "1.42", {"KubeProxyIPVS": True}),
    ],
)
def test_gates_of_versions(mode: Mode, version: str, gates: dict[str, bool]) -> None:
    assert feature_gates(mode, KubeVersion.parse(version)) == gates


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.37.2", KubeVersion(1, 37, 2)),
        ("v1.38.0-alpha.0.12+0123456789abcd", KubeVersion(1, 38)),
        ("v1.27.3-gke.100", KubeVersion(1, 27, 3)),
        ("v1.27.3+k3s1", KubeVersion(1, 27, 3)),
    ],
)
def test_what_binaries_tell_of_themselves(text: str, version: KubeVersion) -> None:
    assert KubeVersion.of_release(text) == version
    assert version.release == KubeVersion(version.major, version.minor)


@pytest.mark.parametrize(
    ("mode", "version", "read"),
    [
        (Mode.IPTABLES, "1.16", True),
        (Mode.IPTABLES, "1.18", True),
        (Mode.IPTABLES, "1.19", False),
        (Mode.IPVS, "1.20.2", False),
        (Mode.USERSPACE, "1.20.2", True),
        (Mode.USERSPACE, "1.25.16", True),
        (Mode.IPVS, "1.21", False),
        (Mode.NFTABLES, "1.33", False),
    ],
)
def test_which_objects_a_version_reads(mode: Mode, version: str, read: bool) -> None:
    assert reads_endpoints(mode, KubeVersion.parse(version)) is read


@pytest.mark.parametrize("text", ["", "1", "latest", "1.x", "1.29.", "1.29-rc1", " 1.29"])
def test_what_is_no_version_is_refused(text: str) -> None:
    message = f'"{text}" is not a version of Kubernetes; write it in quotes, such as "1.29"'
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        KubeVersion.parse(text)


@given(st.builds(KubeVersion, st.integers(0, 999), st.integers(0, 999), st.integers(0, 999)))
def test_a_version_survives_writing_and_reading(version: KubeVersion) -> None:
    assert KubeVersion.parse(str(version)) == version
    assert KubeVersion.parse(f"v{version}") == version
