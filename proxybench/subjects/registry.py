"""The only list of the kinds of subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.subjects.cluster import ClusterDriver
from proxybench.subjects.command import CommandDriver
from proxybench.subjects.kube_proxy import KubeProxyDriver
from proxybench.subjects.reference import ReferenceDriver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.subjects.driver import ProxyDriver
    from proxybench.subjects.kube_proxy_binary import Binaries
    from proxybench.units import Clock


def drivers(binaries: Binaries, clock: Clock, own: ClusterDriver | None = None) -> Mapping[str, ProxyDriver]:
    """Return the driver of each kind (``Subject.kind``); ``own`` is that of a cluster's own kube-proxy."""
    return {
        "kube-proxy": KubeProxyDriver(binaries, clock),
        "reference": ReferenceDriver(clock),
        "command": CommandDriver(clock),
        "cluster": own or ClusterDriver(clock),
    }
