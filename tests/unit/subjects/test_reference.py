from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import refproxy
from proxybench.errors import ProxierError, UsageError
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.nodes.answers import Spawned, Stopped
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import Capability
from proxybench.subjects.node_checks import ABLE
from proxybench.subjects.reference import ReferenceDriver
from proxybench.testing.clock import FakeClock
from refproxy.config import LoopConfig, dump
from tests.unit.subjects.rig import CLUSTER, FOLDER, STOP, ending, handle, make_spec, spawn, together, unpack

if TYPE_CHECKING:
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.subjects.driver import ProxyDriver

CONFIG = LoopConfig(
    mode="iptables",
    node_name="node-a",
    node_ips=("198.18.1.11",),
    api_url="https://198.18.0.1:6443",
    token_file=f"{FOLDER}/token",
    cluster_cidr="10.244.0.0/16",
    min_sync_period=1.0,
    sync_period=600.0,
    iptables="/x/nft",
    ca_file=f"{FOLDER}/ca.pem",
)
BUNDLE = Bundle({"token": "secret\n", "ca.pem": "the CA\n", "config.json": dump(CONFIG).decode()})
SPAWN = spawn(["/venv/python", "-m", "refproxy", "--config", f"{FOLDER}/config.json"], {"PYTHONHASHSEED": "0"})


def spec(mode: Mode = Mode.IPTABLES) -> SubjectSpec:
    return make_spec("0.1.0", mode, "reference", Backend.NFT)


def driver() -> ReferenceDriver:
    return ReferenceDriver(FakeClock())


def as_driver(one: ReferenceDriver) -> ProxyDriver:
    return one  # mypy's word that it is one


def test_the_version_is_refproxys_own() -> None:
    resolved = as_driver(driver()).resolve(make_spec("", Mode.IPVS, "reference"))
    assert resolved == make_spec(refproxy.__version__, Mode.IPVS, "reference")
    assert refproxy.__version__ == "0.1.0"


def test_nftables_is_refused() -> None:
    message = "the reference proxier has no nftables mode"
    with pytest.raises(UsageError) as caught:
        driver().resolve(spec(Mode.NFTABLES))
    assert str(caught.value) == f"{message}; measure it with `kind: kube-proxy`"
    node, _, _ = handle()
    fix = "measure it with `kind: kube-proxy`"
    assert driver().check(spec(Mode.NFTABLES), node) == Capability(supported=False, reason=message, fix=fix)


def test_the_node_is_asked() -> None:
    argv = ["/x/nft", "iptables", "-w", "10", "-t", "nat", "-S", "OUTPUT"]
    node, _, _ = handle([together([argv], ("", 0))])
    assert driver().check(spec(), node) == ABLE


def test_it_runs_refproxy_and_the_configuration_is_kept() -> None:
    node, executor, agent = handle(
        [unpack(BUNDLE), ending("bye\n")],
        [(SPAWN, Spawned(7, 123)), (STOP, Stopped(0, killed=False, cgroup_removed=True))],
    )
    running = driver().start(spec(), node, CLUSTER)
    assert json.loads(running.files()["refproxy.json"])["ca_file"] == f"{FOLDER}/ca.pem"
    assert "secret" not in "".join(running.files().values())
    assert running.syncs() == ()
    running.stop(20)
    assert running.log() == "bye\n"
    driver().cleanup(spec(), node)
    executor.assert_done()
    agent.verify()


def test_a_failed_sync_is_told_in_its_own_words() -> None:
    event = '{"event": "sync-failed", "elapsed_ns": 7, "error": "line 7 failed"}'
    node, _, _ = handle(
        [unpack(BUNDLE), ending(f"plain\n{{not json\n[1]\n{event}\n")],
        [(SPAWN, Spawned(7, 123)), (STOP, Stopped(3, killed=False, cgroup_removed=True))],
    )
    running = driver().start(spec(), node, CLUSTER)
    with pytest.raises(ProxierError) as caught:
        running.stop(20)
    assert str(caught.value) == (
        "node-a: the reference proxier ended with code 3: plain | {not json | [1] | line 7 failed"
    )
