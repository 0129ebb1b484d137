"""A dry run, against an API that was told what it will be asked, and answers nothing else."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.hosts.fleet import Fleet, Reached
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import SshConfig
from proxybench.model import Mode
from proxybench.targets.cluster.dry_run import touched
from proxybench.targets.cluster.inventory import Inventory
from proxybench.targets.cluster.switching import Switching
from proxybench.targets.cluster.target import ClusterTarget
from tests.unit.kube.scripted import kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget
    from tests.unit.kube.scripted import Answer

INVENTORY = Inventory.model_validate(
    {
        "version": 1,
        "defaults": {"workdir": "/var/tmp/pb"},  # noqa: S108 - a folder of nobody's
        "nodes": [
            {"name": "worker-1", "roles": ["client", "measured"]},
            {"name": "worker-2", "roles": ["other", "backend"], "workdir": "/opt/pb"},
        ],
    }
)
HOSTS = (
    "namespace proxybench: Services and EndpointSlices of the experiment, removed at the end",
    "worker-1: /var/tmp/pb (the agent's file), while the run lasts the agent",
    "worker-2: /opt/pb (the agent's file), while the run lasts the agent and our backend",
)
KUBE_SYSTEM = "namespaces/kube-system"
LOOKED = [
    f"GET /apis/apps/v1/{KUBE_SYSTEM}/daemonsets",
    f"GET /api/v1/{KUBE_SYSTEM}/configmaps",
    "GET /api/v1/nodes",
]
ASKED_FOR_A_PLAN = [*LOOKED, f"GET /api/v1/{KUBE_SYSTEM}/pods?labelSelector=k8s-app%3Dkube-proxy"]
MARKED = "daemonsets/kube-proxy spec.template.metadata.annotations.proxybench.io/switched: None becomes (new)"
OURS = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "proxybench"}}}
IMAGE = "registry.k8s.io/kube-proxy:v1.36.3"
CONTAINERS = [{"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.37.2"}]
TEMPLATE = {
    "metadata": {},
    "spec": {"containers": CONTAINERS, "volumes": [{"name": "v", "configMap": {"name": "kube-proxy"}}]},
}
SELECTOR = {"matchLabels": {"k8s-app": "kube-proxy"}}
DAEMON_SET = {"metadata": {"name": "kube-proxy"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}}
CONFIG_MAP = {"metadata": {"name": "kube-proxy"}, "data": {"config.conf": 'kind: K\nmode: ""\nipvs: {}\n'}}
K3S = {"metadata": {"name": "n"}, "status": {"nodeInfo": {"kubeletVersion": "v1.31.2+k3s1"}}}


def ok(body: object) -> Answer:
    return 200, {}, json.dumps(body).encode()


def items(*found: object) -> Answer:
    return ok({"items": list(found)})


def looked() -> list[Answer | None]:
    return [items(DAEMON_SET), items(CONFIG_MAP), items()]


def a_plan() -> list[Answer | None]:
    return [*looked(), items()]


def make_target(folder: Path, switch: Switching | None, **words: Any) -> ClusterTarget:
    spec = ClusterSpec(inventory="nodes.yaml", **words)
    return ClusterTarget(spec, INVENTORY, SshConfig(Secrets({}), home=folder), switch, hosts=nobody)


def nobody(targets: Mapping[str, SshTarget]) -> Reached:
    """Reach no host."""
    return Reached(Fleet({}), dict.fromkeys(targets, "no route to host"))


@contextmanager
def cluster(folder: Path, answers: list[Answer | None]) -> Iterator[tuple[ClusterTarget, list[str]]]:
    """Give a target that may switch, whose API gives these answers, and what that was asked."""
    with kubeconfig(folder, answers) as (file, asked):
        yield make_target(folder, Switching(), kubeconfig=str(file)), asked


def test_without_a_switch_the_hosts_are_told_and_nobody_is_asked(tmp_path: Path) -> None:
    target = make_target(tmp_path, None, kubeconfig="/none")
    assert touched(target, [(Mode.IPVS, "")]) == (*HOSTS, "kube-proxy: nothing; it is observed as it is")


def test_pods_that_lend_their_addresses_are_told(tmp_path: Path) -> None:
    target = make_target(tmp_path, None, kubeconfig="/none", pods={"selector": "app=web"})
    assert touched(target, [(Mode.IPVS, "")])[2:4] == (
        "worker-2: /opt/pb (the agent's file), while the run lasts the agent",
        (
            "while the run lasts our backend in the network of up to 32 pods of default with app=web, "
            "on hosts of the inventory"
        ),
    )


def test_each_switch_is_told_line_by_line_and_nothing_is_written(tmp_path: Path) -> None:
    with cluster(tmp_path, [ok(OURS), *looked(), *a_plan(), *a_plan()]) as (target, asked):
        lines = touched(target, [(Mode.NFTABLES, ""), (Mode.IPVS, IMAGE)])
    assert lines == (
        *HOSTS,
        'kube-proxy to nftables: configmaps/kube-proxy data.config.conf: -mode: "" +mode: nftables',
        f"kube-proxy to nftables: {MARKED}",
        'kube-proxy to ipvs: configmaps/kube-proxy data.config.conf: -mode: "" +mode: ipvs',
        (
            "kube-proxy to ipvs: daemonsets/kube-proxy spec.template.spec.containers.kube-proxy.image: "
            "-registry.k8s.io/kube-proxy:v1.37.2 +registry.k8s.io/kube-proxy:v1.36.3"
        ),
        f"kube-proxy to ipvs: {MARKED}",
        "worker-1 is left as it is: no route to host",
        "worker-2 is left as it is: no route to host",
        "kube-proxy: a rollout on every node for each switch, and one back; RUN/undo.jsonl before each",
    )
    assert asked == ["GET /api/v1/namespaces/proxybench", *LOOKED, *ASKED_FOR_A_PLAN, *ASKED_FOR_A_PLAN]


def test_a_configuration_that_has_the_mode_already_is_told_to_stay(tmp_path: Path) -> None:
    there = {**CONFIG_MAP, "data": {"config.conf": "mode: ipvs\n"}}
    answers = [ok(OURS), *looked(), items(DAEMON_SET), items(there), items(), items()]
    with cluster(tmp_path, [*answers]) as (target, _):
        lines = touched(target, [(Mode.IPVS, "")])
    assert lines[3] == "kube-proxy to ipvs: configmaps/kube-proxy data.config.conf: as it is"


def test_what_a_run_would_refuse_is_refused_before_it(tmp_path: Path) -> None:
    with cluster(tmp_path, [ok({"metadata": {}})]) as (target, asked), pytest.raises(UsageError) as caught:
        touched(target, [(Mode.IPVS, "")])
    assert str(caught.value) == (
        "the namespace proxybench is not marked as ours; if it is: "
        "kubectl label namespace proxybench app.kubernetes.io/managed-by=proxybench"
    )
    assert asked == ["GET /api/v1/namespaces/proxybench"]
    with (
        cluster(tmp_path, [ok(OURS), *[items(), items(), items(K3S)] * 2]) as (target, _),
        pytest.raises(UsageError, match=r"^kube-proxy cannot be switched: k3s runs kube-proxy inside its own process"),
    ):
        touched(target, [(Mode.IPVS, "")])
