from __future__ import annotations

from proxybench.kube.objects import node
from proxybench.targets.cluster.draft import inventory_of


def test_the_first_worker_is_measured_and_its_peers_are_backends() -> None:
    control = node("a-control", "192.0.2.1", "10.244.0.0/24")
    control["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = ""
    nodes = [control, node("worker-2", "192.0.2.3", "10.244.2.0/24"), node("worker-1", "192.0.2.2", "10.244.1.0/24")]
    assert inventory_of(nodes) == (
        "version: 1\n"
        "defaults: {user: root}  # key, port, jump, sudo, python: see docs/cluster.md\n"
        "nodes:\n"
        "  - {name: worker-1, roles: [client, measured], host: 192.0.2.2, address: 192.0.2.2}\n"
        "  - {name: worker-2, roles: [other, backend], host: 192.0.2.3, address: 192.0.2.3}\n"
        "  - {name: a-control, roles: [other, backend], host: 192.0.2.1, address: 192.0.2.1}\n"
    )
