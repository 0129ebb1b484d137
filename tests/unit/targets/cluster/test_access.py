from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxybench.errors import ApiError, UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.kube.kubeconfig import Credentials
from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.cluster import access
from proxybench.targets.cluster.backends import endpoints
from proxybench.targets.cluster.host_facts import _ASK, HostFacts, parse_host, read_host
from proxybench.testing.hosts import FakeExecutor, Run, done

SPEC = ClusterSpec(inventory="n.yaml", node_url="https://10.0.0.1:6443")
FIRST = ApiAccess("https://192.0.2.1", "https://10.0.0.1:6443", "the CA", "admin", "", 50)


class Answers:
    """Answers each request by its method and path; raises what is an error."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.known.get(f"{method} {path}", ApiError("not found", 404))
        if isinstance(answer, ApiError):
            raise answer
        return dict(answer)


TOKEN = "POST /api/v1/namespaces/proxybench/serviceaccounts/proxybench/token"
OURS = "GET /api/v1/namespaces/proxybench"
CIDRS = "GET /apis/networking.k8s.io/v1/servicecidrs/kubernetes"


def test_the_api_as_the_kubeconfig_reaches_it() -> None:
    found = Credentials("one", "https://192.0.2.1/", "the CA", "admin")
    assert access.first_access(found, SPEC) == FIRST


def test_nodes_are_given_a_token_of_our_own_account() -> None:
    api = Answers({TOKEN: {"status": {"token": "small"}}})
    assert access.own_access(api, FIRST) == ApiAccess(FIRST.url, FIRST.node_url, FIRST.ca_pem, "small", "", 50)


def test_without_an_account_a_token_is_handed_on_and_a_certificate_is_not() -> None:
    assert access.own_access(Answers({}), FIRST) is FIRST
    certificate = ApiAccess(FIRST.url, FIRST.node_url, FIRST.ca_pem, "", "PEM", 50)
    with pytest.raises(UsageError, match=r"make our ServiceAccount with kubectl apply -f docs/cluster-rbac\.yaml$"):
        access.own_access(Answers({}), certificate)
    with pytest.raises(ApiError, match="forbidden"):
        access.own_access(Answers({TOKEN: ApiError("forbidden", 403)}), FIRST)


def test_the_range_of_cluster_ips() -> None:
    said = Answers({CIDRS: {"spec": {"cidrs": ["fd00::/112", "10.96.0.0/12"]}}})
    assert access.service_cidr(said, SPEC) == "10.96.0.0/12"
    assert access.service_cidr(Answers({}), SPEC.model_copy(update={"service_cidr": "10.0.0.0/16"})) == "10.0.0.0/16"
    with pytest.raises(UsageError, match=r"write target\.cluster\.service_cidr"):
        access.service_cidr(Answers({}), SPEC)


@pytest.mark.parametrize("written", [None, "fd00::/112"])
def test_without_cluster_ips_of_ipv4_it_is_said(written: str | None) -> None:
    spec = SPEC.model_copy(update={"service_cidr": written})
    with pytest.raises(UsageError) as caught:
        access.service_cidr(Answers({CIDRS: {"spec": {"cidrs": ["fd00::/112"]}}}), spec)
    assert str(caught.value) == (
        "ClusterIPs are of IPv6 alone (fd00::/112); IPv4 is needed: a dual-stack cluster has both"
    )


def their(name: str, **spec: object) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": spec}


def test_addresses_that_others_have_are_those_of_both_families_and_of_services_that_have_one() -> None:
    services = [
        their("outside", type="ExternalName", externalName="example.org"),
        their("outside-once-inside", type="ExternalName", externalName="example.org", clusterIP=""),
        their("headless", clusterIP="None", clusterIPs=["None"]),
        their("both", clusterIP="fd00::7", clusterIPs=["fd00::7", "10.96.0.7"]),
        their("of-1.19", clusterIP="10.96.0.8"),
        {"metadata": {"namespace": "proxybench", "name": "ours"}, "spec": {"clusterIP": "10.96.1.0"}},
    ]
    assert access.taken(services) == ("fd00::7", "10.96.0.7", "10.96.0.8")


def test_a_list_of_nothing_may_be_null() -> None:
    path = "GET /api/v1/namespaces/shop/pods?labelSelector=app%3Dweb"
    assert access.list_pods(Answers({path: {"items": None}}), "shop", "app=web") == []


def test_a_namespace_of_our_name_must_be_ours() -> None:
    assert not access.has_namespace(Answers({}))
    labels = {"app.kubernetes.io/managed-by": "proxybench"}
    assert access.has_namespace(Answers({OURS: {"metadata": {"labels": labels}}}))
    with pytest.raises(UsageError, match=r"^the namespace proxybench is not marked as ours; if it is: kubectl label "):
        access.has_namespace(Answers({OURS: {"metadata": {}}}))
    with pytest.raises(ApiError, match=r"^forbidden$"):
        access.has_namespace(Answers({OURS: ApiError("forbidden", 403)}))


def test_a_node_s_address() -> None:
    addresses = [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "fd00::1"}]
    assert access.internal_ip({"status": {"addresses": addresses}}) == ""
    assert [access.internal_ip(one) for one in ({}, {"status": None}, {"status": {"addresses": None}})] == [""] * 3
    addresses.append({"type": "InternalIP", "address": "192.0.2.7"})
    assert access.internal_ip({"status": {"addresses": addresses}}) == "192.0.2.7"


def test_endpoints_are_of_the_hosts_by_turns() -> None:
    assert endpoints({"a": ["1", "2", "3"], "b": ["4"]}) == (("a", "1"), ("b", "4"), ("a", "2"), ("a", "3"))


def test_what_a_host_says_of_itself() -> None:
    assert parse_host("boot 1-2\nlegacy /usr/sbin/x\nnft \n") == HostFacts("1-2", {"legacy": "/usr/sbin/x"})


def test_a_host_is_asked_once() -> None:
    host = FakeExecutor("n1", [Run(["sh", "-c", _ASK], done("boot 1-2\nlegacy \nnft /x\n"))])
    assert read_host(host) == HostFacts("1-2", {"nft": "/x"})
    host.assert_done()
    here = subprocess.run(["sh", "-c", _ASK], capture_output=True, text=True, check=True)
    assert parse_host(here.stdout).boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert here.stderr == ""
