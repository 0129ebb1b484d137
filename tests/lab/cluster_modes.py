"""In which mode the clusters of lab tests run kube-proxy, and to which one it is switched: by what their release has.

Userspace mode, which 1.25 was the last to have, is one to come from: a cluster's is not measured (see its driver).
"""

from __future__ import annotations

import pytest

from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.model import Mode
from tests.lab.binaries import CLUSTER


def _pair() -> tuple[Mode, Mode] | None:
    pairs = ((Mode.IPTABLES, Mode.NFTABLES), (Mode.USERSPACE, Mode.IPTABLES))
    version = KubeVersion.of_release(CLUSTER)
    return next((pair for pair in pairs if all(mode_in(mode, version).able for mode in pair)), None)


_FOUND = _pair()
FIRST, OTHER = _FOUND or (Mode.IPTABLES, Mode.IPVS)
MEASURED = tuple(mode for mode in (FIRST, OTHER) if mode is not Mode.USERSPACE)
SUBJECT = f"{{kind: cluster, modes: [{', '.join(MEASURED)}]}}"

needs_two_modes = pytest.mark.skipif(
    _FOUND is None, reason=f"kube-proxy {CLUSTER} has iptables and IPVS mode only, and many kernels lack IPVS"
)
