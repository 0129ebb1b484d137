from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ApiError, ExperimentError, UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.kube.kubeconfig import Credentials
from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.cluster import access
from proxybench.targets.cluster.backends import endpoints
from proxybench.targets.cluster.host_facts import _ASK, HostFacts, parse_host, read_host
from proxybench.targets.cluster.tokens import MARGIN_S, Token, Tokens
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.targets.cluster.own_cluster import kubeconfig

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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


def never() -> AbstractContextManager[Answers]:
    pytest.fail("it was connected to once more")


PLUGIN = '"exec": {"command": "./plugin"}'
TOKEN = "POST /api/v1/namespaces/proxybench/serviceaccounts/proxybench/token"
OURS = "GET /api/v1/namespaces/proxybench"
CIDRS = "GET /apis/networking.k8s.io/v1/servicecidrs/kubernetes"


def test_the_api_as_the_kubeconfig_reaches_it() -> None:
    found = Credentials("one", "https://192.0.2.1/", "the CA", "admin")
    assert access.first_access(found, SPEC) == FIRST


def test_a_plugin_is_run_anew_before_its_token_ends_and_when_one_is_refused(tmp_path: Path) -> None:
    """The plugin gives another token each time, the first ones for a quarter of an hour that is over soon."""
    soon = datetime.now(UTC) + timedelta(seconds=MARGIN_S / 2)
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"""#!/bin/sh
echo >> {tmp_path}/times
token=token-$(wc -l < {tmp_path}/times)
[ $token = token-5 ] && exit 1
[ $token = token-1 ] || [ $token = token-4 ] && end='"expirationTimestamp": "{soon:%Y-%m-%dT%H:%M:%SZ}",'
echo '{{"status": {{'$end' "token": "'$token'"}}}}'
"""
    )
    plugin.chmod(0o755)
    file = tmp_path / "config"
    file.write_text(kubeconfig("https://192.0.2.1", "unused", "the CA").replace('"token": "unused"', PLUGIN))
    spec = SPEC.model_copy(update={"kubeconfig": str(file)})
    said: list[str] = []
    found = access.first_access(access.credentials(spec), spec, said.append)
    assert found.renew is not None
    assert (found.token, found.good_token, found.good_token) == ("token-1", "token-2", "token-2")
    assert found.renew("token-1") == "token-2"  # somebody else has asked meanwhile
    assert found.renew("token-2") == "token-3"
    assert found.renew("token-3") == "token-4"
    assert said == []
    assert found.good_token == "token-4"  # there is none anew now, and this one is good for some minutes
    assert len(said) == 1
    assert found.good_token == "token-6"
    assert len(said) == 1


def test_that_a_token_which_ends_soon_cannot_be_had_anew_is_told_once_until_there_is_one() -> None:
    now = [0.0]
    said: list[str] = []
    made: list[Token | str] = []

    def anew() -> Token:
        found = made.pop(0)
        if isinstance(found, str):
            raise UsageError(found)
        return found

    tokens = Tokens(Token("one", 1000), anew, said.append, lambda: now[0])
    assert (tokens(), said) == ("one", [])
    now[0] = 700.0
    made += ["no plugin\nand no file", "still no plugin", Token("two", 1400), "no plugin"]
    assert [tokens() for _ in range(2)] == ["one", "one"]
    assert said == ["the API's token ends in 300 s, and there is none anew: no plugin; and no file"]
    assert tokens() == "two"
    now[0] = 1500.0
    assert tokens() == "two"  # the API says whether it is
    assert said[1:] == ["the API's token has ended, and there is none anew: no plugin"]


def test_several_kubeconfigs_are_read_as_kubectl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(kubeconfig("https://192.0.2.1", "t", "the CA"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(json.dumps({"current-context": "one", "users": whole.pop("users"), "clusters": None}))
    two.write_text(json.dumps({**whole, "current-context": "none"}))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{tmp_path}/none::{two}:{one}")
    assert access.credentials(SPEC) == Credentials("one", "https://192.0.2.1", "the CA", "t")
    assert access.origin(SPEC) == f"{one}:{two}"
    named = SPEC.model_copy(update={"kubeconfig": f"{one}:{two}"})  # as an undo log keeps it
    monkeypatch.delenv("KUBECONFIG")
    assert access.origin(named) == f"{one}:{two}"
    odd = tmp_path / "a:b"
    odd.write_text("{}")
    assert access.origin(SPEC.model_copy(update={"kubeconfig": str(odd)})) == str(odd)
    monkeypatch.setenv("KUBECONFIG", f":{tmp_path}/none:{tmp_path}/neither")
    with pytest.raises(ExperimentError) as caught:
        access.credentials(SPEC)
    assert str(caught.value) == f"{tmp_path}/none:1:1: cannot be read: No such file or directory"


def test_a_certificate_is_not_renewed() -> None:
    assert access.first_access(Credentials("one", "https://192.0.2.1", "", client_pem="PEM"), SPEC).renew is None


def test_nodes_are_given_a_token_of_our_own_account() -> None:
    api = Answers({TOKEN: {"status": {"token": "small", "expirationTimestamp": "2026-11-26T08:00:00Z"}}})
    said: list[str] = []
    own = access.own_access(api, FIRST, lambda: nullcontext(api), said.append)
    assert own == ApiAccess(FIRST.url, FIRST.node_url, FIRST.ca_pem, "small", "", 50)
    api.known[TOKEN] = ApiError("forbidden", 403)
    assert (own.good_token, said) == ("small", ["the API's token has ended, and there is none anew: forbidden"])
    api.known[TOKEN] = {"status": {"token": "another"}}
    assert own.good_token == "another"


def test_without_an_account_a_token_is_handed_on_and_a_certificate_is_not() -> None:
    assert access.own_access(Answers({}), FIRST, never) is FIRST
    certificate = ApiAccess(FIRST.url, FIRST.node_url, FIRST.ca_pem, "", "PEM", 50)
    with pytest.raises(UsageError, match=r"make our ServiceAccount with kubectl apply -f docs/cluster-rbac\.yaml$"):
        access.own_access(Answers({}), certificate, never)
    with pytest.raises(ApiError, match="forbidden"):
        access.own_access(Answers({TOKEN: ApiError("forbidden", 403)}), FIRST, never)


def test_the_range_of_cluster_ips() -> None:
    said = Answers({CIDRS: {"spec": {"cidrs": ["fd00::/112", "10.96.0.0/12"]}}})
    assert access.service_cidr(said, SPEC) == "10.96.0.0/12"
    assert access.service_cidr(Answers({}), SPEC.model_copy(update={"service_cidr": "10.0.0.0/16"})) == "10.0.0.0/16"
    for status in (403, 404):
        with pytest.raises(UsageError, match=r"write target\.cluster\.service_cidr"):
            access.service_cidr(Answers({CIDRS: ApiError("refused", status)}), SPEC)


@pytest.mark.parametrize("status", [None, 401, 429, 500, 503])
def test_an_api_that_cannot_answer_is_not_taken_for_one_that_has_no_range_to_tell(status: int | None) -> None:
    with pytest.raises(ApiError, match=r"^no answer$"):
        access.service_cidr(Answers({CIDRS: ApiError("no answer", status)}), SPEC)


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


class Reviewer:
    """Allows what it was told; a wrong question fails the test."""

    def __init__(self, *allowed: dict[str, str]) -> None:
        self.allowed = allowed

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        assert body is not None
        assert (body["apiVersion"], body["kind"]) == ("authorization.k8s.io/v1", "SelfSubjectAccessReview")
        return {"status": {"allowed": body["spec"]["resourceAttributes"] in self.allowed}}


def test_rights_that_are_lacking_are_told_by_the_api_itself() -> None:
    update = access.Right("update", "discovery.k8s.io", "endpointslices")
    clean = access.Right("deletecollection", "", "services")
    words = {"verb": "update", "group": "discovery.k8s.io", "resource": "endpointslices", "namespace": "proxybench"}
    (line,) = access.forbidden(Reviewer(words), [update, clean])
    what = "the API forbids you to deletecollection services in the namespace proxybench"
    assert line == f"{what}; docs/cluster-rbac.yaml has the roles"
    assert access.forbidden(Answers({}), [update, clean]) == []  # one that cannot tell
    with pytest.raises(ApiError, match=r"^away$"):
        access.forbidden(Answers({f"POST {access.REVIEWS}": ApiError("away", 503)}), [update])


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
