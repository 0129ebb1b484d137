"""The way back for a run that was killed: against a real HTTPS API, reached by a kubeconfig."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, ResultsError, RunError, UsageError
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import Pod, endpoint_slices, namespace, service
from proxybench.targets.claim import claimed
from proxybench.targets.cluster.switch.changes import TEXT, Change
from proxybench.targets.cluster.switch.recovery import recover
from proxybench.targets.cluster.switch.undo import FILE, Header, UndoLog, read_undo
from tests.unit.targets.cluster.own_cluster import admins_namespace, kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess


@pytest.fixture
def api(server: ApiServerProcess) -> Iterator[KubernetesServiceApi]:
    with KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api:
        yield api
        api.delete_many([Ref(Kind.NAMESPACE, "", "proxybench")])


@pytest.fixture
def run(tmp_path: Path, server: ApiServerProcess) -> Path:
    """A run that had begun, and changed nothing yet."""
    (tmp_path / "kubeconfig").write_text(kubeconfig(server.url, server.token, server.ca_pem))
    UndoLog(tmp_path / FILE, Header(server.url, str(tmp_path / "kubeconfig"), "one"))
    return tmp_path


def test_the_namespace_goes_if_a_run_has_made_it(run: Path, api: KubernetesServiceApi) -> None:
    api.ensure_namespace("proxybench")
    assert list(recover(run)) == [
        "nothing had been changed",
        "removed: Services and EndpointSlices of ours, and our namespace",
    ]
    assert "proxybench" not in {one["metadata"]["name"] for one in api.list(Kind.NAMESPACE)}


def test_services_of_ours_are_removed_and_the_namespace_stays(run: Path, api: KubernetesServiceApi) -> None:
    admins_namespace(api)
    theirs = service("web", "10.96.0.7", 80)
    theirs["metadata"]["labels"] = {}
    api.create_many([service("svc-00001", "10.96.1.1", 8080), theirs])
    api.create_many(endpoint_slices("svc-00001", [Pod("192.0.2.13", "b1")], 18080, 0))
    assert list(recover(run)) == ["nothing had been changed", "removed: Services and EndpointSlices of ours"]
    assert [one["metadata"]["name"] for one in api.list(Kind.SERVICE, "proxybench")] == ["web"]
    assert api.list(Kind.ENDPOINT_SLICE, "proxybench") == []
    assert "proxybench" in {one["metadata"]["name"] for one in api.list(Kind.NAMESPACE)}
    again = [f"{run / FILE}: all is back already", "removed: Services and EndpointSlices of ours"]
    assert list(recover(run)) == again


def test_without_a_namespace_of_ours_there_is_nothing_to_remove(run: Path, api: KubernetesServiceApi) -> None:
    del api
    assert list(recover(run)) == ["nothing had been changed"]


def test_the_log_of_another_cluster_is_not_played_back_here(run: Path, server: ApiServerProcess) -> None:
    header = Header("https://192.0.2.1:6443", str(run / "kubeconfig"), "one")
    (run / FILE).write_text(json.dumps(asdict(header)) + "\n")
    with pytest.raises(UsageError) as caught:
        list(recover(run))
    assert str(caught.value) == (
        f"{run / FILE}: is of https://192.0.2.1:6443, and the kubeconfig leads to {server.url} now"
    )


def test_what_another_run_has_written_meanwhile_is_not_removed(run: Path, server: ApiServerProcess) -> None:
    with claimed(f"cluster {server.url}"), pytest.raises(RunError) as caught:
        list(recover(run))
    assert str(caught.value) == (
        f"another proxybench of this machine measures the cluster at {server.url}; wait until it has ended"
    )


def test_a_token_that_has_expired_is_told(run: Path, server: ApiServerProcess) -> None:
    (run / "kubeconfig").write_text(kubeconfig(server.url, "expired", server.ca_pem))
    with pytest.raises(ApiError) as caught:
        list(recover(run))
    assert caught.value.status == 401


def test_a_run_that_had_not_begun_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"server": "https')
    assert list(recover(tmp_path)) == ["nothing had been changed"]
    (tmp_path / FILE).unlink()
    with pytest.raises(ResultsError) as caught:
        list(recover(tmp_path))
    assert str(caught.value) == f"{tmp_path}: has no undo.jsonl; that run has written nothing to a cluster"


def lost(run: Path) -> str:
    """Have switched a host that is not reached; return what is told of that."""
    inventory = run / "nodes.yaml"
    host = "{name: n1, roles: [client, measured], host: 127.0.0.1, port: 1}"
    inventory.write_text(f"version: 1\nnodes:\n  - {host}\n")
    words = json.loads((run / FILE).read_text())
    (run / FILE).write_text(json.dumps({**words, "inventory": str(inventory)}) + "\n")
    header = read_undo((run / FILE).read_text(), "f").header
    UndoLog(run / FILE, header).add(Change("n1:/etc/kube-proxy.yaml", TEXT, "mode: iptables\n", "mode: nftables\n"))
    what = "n1:/etc/kube-proxy.yaml (n1 was not reached)"
    return f"not reached: {what}; run proxybench restore again when it can be; see {run / FILE}"


def test_files_of_hosts_are_put_back_by_the_inventory_that_the_run_had(run: Path, api: KubernetesServiceApi) -> None:
    """What is left alone is told, and our Services are removed nevertheless."""
    told = lost(run)
    api.ensure_namespace("proxybench")
    api.create_many([service("svc-00001", "10.96.1.1", 8080)])
    with pytest.raises(RunError) as caught:
        list(recover(run))
    assert str(caught.value) == told
    assert api.list(Kind.SERVICE, "proxybench") == []


def test_what_could_not_be_removed_hides_nothing_that_could_not_be_put_back(
    run: Path, api: KubernetesServiceApi
) -> None:
    told, theirs = lost(run), namespace("proxybench")
    theirs["metadata"]["labels"] = {}
    api.create_many([theirs])
    with pytest.raises(RunError) as caught:
        list(recover(run))
    label = "kubectl label namespace proxybench app.kubernetes.io/managed-by=proxybench"
    assert str(caught.value) == f"{told}; the namespace proxybench is not marked as ours; if it is: {label}"
