"""A dry run, against an API that was told what it will be asked, and answers nothing else."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ApiError
from proxybench.experiment.places import ClusterSpec
from proxybench.hosts.fleet import Fleet, Reached
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import SshConfig
from proxybench.model import Mode
from proxybench.targets.cluster.dry_run import DryRun, dry_run
from proxybench.targets.cluster.inventory import Inventory
from proxybench.targets.cluster.switch.changes import CONFIG, MARK, written
from proxybench.targets.cluster.switch.changes import IMAGE as OF_KUBE_PROXY
from proxybench.targets.cluster.switching import Switching
from proxybench.targets.cluster.target import ClusterTarget
from proxybench.targets.lab.apiserver.certificate import make_certificate
from tests.unit.kube.scripted import kubeconfig
from tests.unit.targets.cluster.kubeadm_api import proxy_pod

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget
    from tests.unit.kube.scripted import Answer

LENT = ["192.0.2.13", "192.0.2.14"]
INVENTORY = Inventory.model_validate(
    {
        "version": 1,
        "defaults": {"workdir": "/var/tmp/pb"},  # noqa: S108 - a folder of nobody's
        "nodes": [
            {"name": "worker-1", "roles": ["client", "measured"]},
            {"name": "worker-2", "roles": ["other", "backend"], "workdir": "/opt/pb", "addresses": LENT},
        ],
    }
)
HOSTS = (
    "namespace proxybench: Services and EndpointSlices of the experiment, removed at the end",
    (
        "a token of the ServiceAccount proxybench, for the client's agent: "
        "POST /api/v1/namespaces/proxybench/serviceaccounts/proxybench/token"
    ),
    "worker-1: /var/tmp/pb (the agent's file), while the run lasts the agent",
    "worker-2: /opt/pb (the agent's file), while the run lasts the agent and our backend",
)
KUBE_SYSTEM = "namespaces/kube-system"
LOOKED = [
    f"GET /apis/apps/v1/{KUBE_SYSTEM}/daemonsets",
    f"GET /api/v1/{KUBE_SYSTEM}/configmaps",
    "GET /api/v1/nodes",
]
ASKED_FOR_A_PLAN = [
    *LOOKED,
    f"GET /api/v1/{KUBE_SYSTEM}/pods?labelSelector=k8s-app%3Dkube-proxy",
    f"PUT /api/v1/{KUBE_SYSTEM}/configmaps/kube-proxy?dryRun=All",
    f"PUT /apis/apps/v1/{KUBE_SYSTEM}/daemonsets/kube-proxy?dryRun=All",
]
OBJECTS = [
    f"GET /api/v1/{KUBE_SYSTEM}/configmaps/kube-proxy",
    f"GET /apis/apps/v1/{KUBE_SYSTEM}/daemonsets/kube-proxy",
]
SERVICES, SPACE = "GET /api/v1/services?limit=500", "GET /api/v1/namespaces/proxybench"
RANGE = "GET /apis/networking.k8s.io/v1/servicecidrs/kubernetes"
NODES, TOKEN = "GET /api/v1/nodes?limit=500", "POST /api/v1/namespaces/proxybench/serviceaccounts/proxybench/token"
REVIEW = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ALWAYS = [SPACE, RANGE, NODES, TOKEN, REVIEW, REVIEW]
NO_RANGE = (
    "the API does not say which range ClusterIPs are of; write target.cluster.service_cidr "
    "(--service-cluster-ip-range of kube-apiserver)"
)
OBSERVED = "kube-proxy: nothing; it is observed as it is"
WEB = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.96.0.7"}}
FELT = "1 Services of others would feel a switch (shop/web); if that is right: --i-understand-this-interrupts-traffic"
NOT_OURS = (
    "the namespace proxybench is not marked as ours; if it is: "
    "kubectl label namespace proxybench app.kubernetes.io/managed-by=proxybench"
)
MARKED = "daemonsets/kube-proxy spec.template.metadata.annotations.proxybench.io/switched: None becomes (new)"
OURS = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "proxybench"}}}
IMAGE = "registry.k8s.io/kube-proxy:v1.36.3"
COMMAND = ["kube-proxy", "--config=/var/lib/kube-proxy/config.conf"]
CONTAINERS = [{"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.37.2", "command": COMMAND}]
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


NOT_FOUND: Answer = (404, {}, b"{}")
CIDRS = ok({"spec": {"cidrs": ["10.96.0.0/12"]}})


TOKEN_GIVEN = ok({"status": {"token": "small"}})


def review(*, allowed: bool = True) -> Answer:
    return ok({"status": {"allowed": allowed}})


def always() -> list[Answer | None]:
    """Answer what is asked for any run."""
    return [ok(OURS), CIDRS, nodes(), TOKEN_GIVEN, review(), review()]


def nodes(*found: object) -> Answer:
    return ok({"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": list(found)})


def services(*found: object) -> Answer:
    return ok({"apiVersion": "v1", "kind": "ServiceList", "metadata": {}, "items": list(found)})


def looked() -> list[Answer | None]:
    return [items(DAEMON_SET), items(CONFIG_MAP), items()]


def stored(mode: str, mark: str = "(new)", image: str = "") -> list[Answer | None]:
    """Return what both dry runs of a plan are answered."""
    other = written(DAEMON_SET, MARK, mark)
    return [
        ok(written(CONFIG_MAP, CONFIG, f"kind: K\nmode: {mode}\nipvs: {{}}\n")),
        ok(written(other, OF_KUBE_PROXY, image) if image else other),
    ]


def a_plan(mode: str, mark: str = "(new)", image: str = "") -> list[Answer | None]:
    return [*looked(), items(), *stored(mode, mark, image)]


def make_target(folder: Path, switch: Switching | None, **words: Any) -> ClusterTarget:
    spec = ClusterSpec(inventory="nodes.yaml", **words)
    return ClusterTarget(spec, INVENTORY, SshConfig(Secrets({}), home=folder), switch, hosts=nobody)


def nobody(targets: Mapping[str, SshTarget]) -> Reached:
    """Reach no host."""
    return Reached(Fleet({}), dict.fromkeys(targets, "no route to host"))


@contextmanager
def cluster(
    folder: Path, answers: list[Answer | None], switch: Switching | None = None
) -> Iterator[tuple[ClusterTarget, list[str]]]:
    """Give a target that may switch, whose API gives these answers, and what that was asked."""
    with kubeconfig(folder, answers) as (file, asked):
        yield make_target(folder, switch or Switching(), kubeconfig=str(file)), asked


@contextmanager
def observed(folder: Path, *answers: Answer | None, **words: Any) -> Iterator[tuple[ClusterTarget, list[str]]]:
    """Give a target that is only observed, as ``cluster`` does."""
    with kubeconfig(folder, list(answers)) as (file, asked):
        yield make_target(folder, None, kubeconfig=str(file), **words), asked


def test_without_a_switch_the_hosts_are_told_and_no_host_is_asked(tmp_path: Path) -> None:
    with observed(tmp_path, *always()) as (target, asked):
        assert dry_run(target, []) == DryRun([*HOSTS, OBSERVED])
    assert asked == ALWAYS


@pytest.mark.parametrize(
    ("space", "cidrs", "why"),
    [
        (ok({"metadata": {}}), None, NOT_OURS),
        (
            ok(OURS),
            ok({"spec": {"cidrs": ["fd00::/112"]}}),
            "ClusterIPs are of IPv6 alone (fd00::/112); IPv4 is needed: a dual-stack cluster has both",
        ),
        (
            (404, {}, b"{}"),
            (404, {}, b"{}"),
            NO_RANGE,
        ),
    ],
)
@pytest.mark.parametrize("switched", [False, True])
def test_what_any_run_would_be_refused_for_is_told(
    tmp_path: Path, space: Answer, cidrs: Answer | None, why: str, *, switched: bool
) -> None:
    answers = [*([services()] if switched else []), space, cidrs]
    with cluster(tmp_path, answers) if switched else observed(tmp_path, *answers) as (target, _):
        found = dry_run(target, [(Mode.IPVS, "")])
    assert (found.refused, found.notes) == ([why], [])


def test_a_namespace_that_is_being_deleted_is_noted(tmp_path: Path) -> None:
    leaving = {"metadata": {**OURS["metadata"], "deletionTimestamp": "2026-11-27T07:00:00Z"}}
    with observed(tmp_path, ok(leaving), nodes(), TOKEN_GIVEN, NOT_FOUND, service_cidr="10.96.0.0/12") as (
        target,
        asked,
    ):
        assert dry_run(target, []) == DryRun(
            [*HOSTS, OBSERVED],
            ["the namespace proxybench is being deleted; a run waits for two minutes, and fails then"],
        )
    assert asked == [SPACE, NODES, TOKEN, REVIEW]


def test_of_a_cluster_that_is_only_observed_an_api_that_is_not_reached_is_noted(tmp_path: Path) -> None:
    unknown = "what a run would be refused for was not asked of the API: "
    found = dry_run(make_target(tmp_path, None, kubeconfig="/none"), [])
    said = f"{unknown}/none:1:1: cannot be read: No such file or directory"
    assert found == DryRun([*HOSTS, OBSERVED], [said])
    with observed(tmp_path, *[(503, {}, b"{}")] * 6) as (target, _):
        found = dry_run(target, [])
    assert (found.refused, [note.startswith(unknown) for note in found.notes]) == ([], [True])
    with observed(tmp_path, *[(401, {}, b"{}")] * 2) as (target, _), pytest.raises(ApiError, match=r"401"):
        dry_run(target, [])


TWO_NEEDED = "two addresses are needed as endpoints, since one is changed for another"
NO_ACCOUNT = (
    "the API knows you by a certificate, which no node is given, and the agent that writes there needs a token: "
    "make our ServiceAccount with kubectl apply -f docs/cluster-rbac.yaml"
)
FORBIDDEN: Answer = (403, {}, b'{"kind": "Status", "reason": "Forbidden", "message": "you may not"}')
APP = "GET /api/v1/namespaces/default/pods?labelSelector=app%3Dweb"


@pytest.mark.parametrize("token", [True, False])
def test_that_no_node_could_be_given_a_token_is_told(tmp_path: Path, *, token: bool) -> None:
    with observed(tmp_path, *always()[:3], NOT_FOUND, NOT_FOUND) as (target, _):
        if not token:
            made, file = make_certificate([]), tmp_path / "kubeconfig"
            words, pem = json.loads(file.read_text()), {"certificate": made.certificate, "key": made.key}
            words["users"][0]["user"] = {
                f"client-{name}-data": base64.b64encode(text).decode() for name, text in pem.items()
            }
            file.write_text(json.dumps(words))
        found = dry_run(target, [])
    assert (found.refused, found.notes) == ([] if token else [NO_ACCOUNT], [])


@pytest.mark.parametrize("number", range(4))
def test_what_the_user_may_not_ask_is_told(tmp_path: Path, number: int) -> None:
    """It is forbidden to read the namespace or list Nodes, or to have a token; of the range one may say it oneself."""
    with observed(tmp_path, *always()[:number], FORBIDDEN) as (target, asked):
        found = dry_run(target, [])
    assert (found.touches[:4], found.notes, asked) == ([*HOSTS], [], ALWAYS[: number + 1])
    what = ALWAYS[number].partition("?")[0]
    assert found.refused == [NO_RANGE if what == RANGE else f"{what}: 403 Forbidden: you may not"]


def test_what_the_user_may_not_ask_for_a_switch_is_told(tmp_path: Path) -> None:
    whole = [(SERVICES, services()), *zip(ALWAYS, always(), strict=True), *zip(LOOKED, looked(), strict=True)]
    whole += zip(ASKED_FOR_A_PLAN, a_plan("ipvs"), strict=True)
    for number in (0, 7, 13):
        answers = [answer for _, answer in whole[:number]]
        with cluster(tmp_path, [*answers, FORBIDDEN]) as (target, asked):
            found = dry_run(target, [(Mode.IPVS, "")])
        assert asked == [what for what, _ in whole[: number + 1]]
        what = whole[number][0].partition("?limit")[0]
        assert found.refused == [f"{what}: 403 Forbidden: you may not"]


def lacking(what: str) -> str:
    return f"the API forbids you to {what}; docs/cluster-rbac.yaml has the roles"


def test_what_the_user_may_not_write_is_told_before_it_is_to_be_written(tmp_path: Path) -> None:
    no = review(allowed=False)
    answers = [services(), *always()[:4], review(), no, *looked(), *a_plan("ipvs"), ok(CONFIG_MAP), ok(DAEMON_SET)]
    with cluster(tmp_path, answers) as (target, asked):
        found = dry_run(target, [(Mode.IPVS, "")])
    assert asked.count(REVIEW) == 2
    assert found.refused == [
        lacking("deletecollection endpointslices in the namespace proxybench"),
    ]


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        (FORBIDDEN, f"{APP}: 403 Forbidden: you may not"),
        (
            items(
                {"metadata": {}, "spec": {"nodeName": "worker-2"}, "status": {"podIP": "10.1.0.1", "phase": "Running"}}
            ),
            (
                "one pod of default with app=web runs in a network of its own on a host of the inventory that was "
                f"reached; {TWO_NEEDED}"
            ),
        ),
    ],
)
def test_pods_that_cannot_be_listed_or_are_too_few_are_told(tmp_path: Path, pods: Answer, why: str) -> None:
    with observed(tmp_path, *always()[:3], pods, pods={"selector": "app=web"}) as (target, asked):
        found = dry_run(target, [])
    assert (found.refused, asked) == ([why], [*ALWAYS[:3], APP])


def test_a_backend_without_an_address_is_told(tmp_path: Path) -> None:
    inventory = INVENTORY.model_copy(
        update={"nodes": (INVENTORY.nodes[0], INVENTORY.nodes[1].model_copy(update={"addresses": ()}))}
    )
    node = {"metadata": {"name": "worker-2"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.2"}]}}
    for there, why in (
        ([], "worker-2: it is no Node of the cluster that tells an IPv4 address; write address: there"),
        (
            [node],
            (
                f"the inventory's backends have one address; {TWO_NEEDED}: give the role backend to another host, "
                "or this one's addresses: of its own"
            ),
        ),
    ):
        with observed(tmp_path, *always()[:2], nodes(*there)) as (target, _):
            assert dry_run(replace(target, inventory=inventory), []).refused == [why]


def test_pods_that_lend_their_addresses_are_told(tmp_path: Path) -> None:
    target = make_target(tmp_path, None, kubeconfig="/none", pods={"selector": "app=web"})
    assert dry_run(target, [(Mode.IPVS, "")]).touches[3:5] == [
        "worker-2: /opt/pb (the agent's file), while the run lasts the agent",
        (
            "while the run lasts our backend in the network of up to 32 pods of default with app=web, "
            "on hosts of the inventory"
        ),
    ]


def test_each_switch_is_told_line_by_line_and_nothing_is_written(tmp_path: Path) -> None:
    answers = [services(), *always(), *looked(), *a_plan("nftables"), *a_plan("ipvs", image=IMAGE)]
    answers += [ok(CONFIG_MAP), ok(DAEMON_SET)]
    with cluster(tmp_path, answers) as (target, asked):
        found = dry_run(target, [(Mode.NFTABLES, ""), (Mode.IPVS, IMAGE)])
    assert found == DryRun(
        [
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
        ]
    )
    assert asked == [SERVICES, *ALWAYS, *LOOKED, *ASKED_FOR_A_PLAN, *ASKED_FOR_A_PLAN, *OBJECTS]


def test_a_configuration_that_has_the_mode_already_is_told_to_stay(tmp_path: Path) -> None:
    there = {**CONFIG_MAP, "data": {"config.conf": "mode: ipvs\n"}}
    a_look = [items(DAEMON_SET), items(there), items(), items(), ok(there), stored("")[1]]
    answers = [services(), *always(), *looked(), *a_look, ok(there), ok(DAEMON_SET)]
    with cluster(tmp_path, answers) as (target, _):
        found = dry_run(target, [(Mode.IPVS, "")])
    assert found.touches[4] == "kube-proxy to ipvs: configmaps/kube-proxy data.config.conf: as it is"


def test_what_a_run_would_be_refused_for_is_told_beside_what_is_touched(tmp_path: Path) -> None:
    with cluster(tmp_path, [services(WEB), ok({"metadata": {}})]) as (target, asked):
        assert dry_run(target, [(Mode.IPVS, "")]) == DryRun([*HOSTS], [], [FELT, NOT_OURS])
    assert asked == [SERVICES, SPACE]
    with cluster(tmp_path, [services(), *always(), *[items(), items(), items(K3S)] * 2]) as (target, _):
        (why,) = dry_run(target, [(Mode.IPVS, "")]).refused
    assert why.startswith("kube-proxy cannot be switched: k3s runs kube-proxy inside its own process")


@pytest.mark.parametrize("interrupts", [False, True])
def test_services_of_others_are_told_unless_that_is_understood(tmp_path: Path, *, interrupts: bool) -> None:
    kept = {**CONFIG_MAP, "metadata": {"labels": {"addonmanager.kubernetes.io/mode": "Reconcile"}}}
    answers = [services(WEB), *always(), *looked(), *a_plan("ipvs"), ok(kept), ok(DAEMON_SET)]
    with cluster(tmp_path, answers, Switching(interrupts=interrupts)) as (target, _):
        found = dry_run(target, [(Mode.IPVS, "")])
    assert found.refused == ([] if interrupts else [FELT])
    assert found.touches[-1].startswith("kube-proxy: a rollout on every node")
    assert found.notes == [
        (
            "configmaps/kube-proxy has an owner who may take a switch back at once "
            "(addonmanager.kubernetes.io/mode: Reconcile); have that pause while the run lasts"
        )
    ]


def test_a_node_that_the_inventory_lacks_is_told(tmp_path: Path) -> None:
    pods = items(proxy_pod("worker-1"), proxy_pod("worker-3"))
    with cluster(tmp_path, [services(), *always(), *looked(), *looked(), pods]) as (target, _):
        (why,) = dry_run(target, [(Mode.IPVS, "")]).refused
    assert "neither asked nor cleaned: worker-3; give each the role other" in why
