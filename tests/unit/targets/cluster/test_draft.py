from __future__ import annotations

from typing import Any

from proxybench.experiment.limits import INVENTORY
from proxybench.experiment.source import parse
from proxybench.kube.objects import node
from proxybench.targets.cluster.draft import inventory_of
from proxybench.targets.cluster.inventory import check


def made(name: str, labels: dict[str, str] | None = None, ready: str = "True") -> dict[str, Any]:
    found = node(name, "", "")
    found["metadata"]["labels"] |= labels or {}
    found["status"]["addresses"] = []
    found["status"]["conditions"][0]["status"] = ready
    return found


def roles(*nodes: dict[str, Any]) -> dict[str, str]:
    """Return the roles of the inventory that is drafted, which can be read."""
    found = check(parse(inventory_of(nodes), "nodes.yaml", INVENTORY))
    return {one.name: " ".join(one.roles) for one in found.nodes}


def test_what_may_be_dead_is_neither_measured_nor_a_backend() -> None:
    cordoned = {**made("b"), "spec": {"unschedulable": True}}
    assert roles(made("a", ready="Unknown"), cordoned, made("c"), made("d")) == {
        "c": "client measured",
        "d": "other backend",
        "b": "other backend",
        "a": "other",
    }


def test_a_control_plane_s_node_lends_its_address_only_where_others_are_too_few() -> None:
    control = made("m", {"node-role.kubernetes.io/master": ""})
    workers = [made("a"), made("b"), made("c")]
    assert roles(control, *workers)["m"] == "other"
    assert roles(control, *workers[:2])["m"] == "other backend"


def test_nodes_without_a_shell_are_left_out_and_said_to_be() -> None:
    nodes = [
        made("w", {"kubernetes.io/os": "windows"}),
        made("v", {"type": "virtual-kubelet"}),
        made("f", {"eks.amazonaws.com/compute-type": "fargate"}),
        made("n"),
    ]
    assert roles(*nodes) == {"n": "client measured"}
    told = "  # left out: w: runs Windows\n  # left out: v: is no host\n  # left out: f: is no host\n"
    assert inventory_of(nodes).endswith(f"measured]}}\n{told}")


def test_a_name_that_yaml_would_read_as_something_else_is_quoted() -> None:
    assert list(roles(*(made(name) for name in ("1234", "1e3", "null", "true", "010", "10.0.0.7")))) == [
        "010",
        "10.0.0.7",
        "1234",
        "1e3",
        "null",
        "true",
    ]


def test_too_many_hosts_are_told() -> None:
    drafted = inventory_of([made(f"n{number}") for number in range(501)])
    assert drafted.startswith("# 501 hosts; 500 are the most: remove some\nversion: 1\n")


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
