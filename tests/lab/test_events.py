"""Events in a lab of namespaces: the reference proxier, whose rules go and come, watched by real connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.lab.binaries import FIRST_BUILD_S, kube_proxy
from tests.lab.test_run_ends import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

EXPERIMENT = """\
version: 1
name: ends
target: {lab: {kind: netns}}
modes: [iptables]
proxier: {min_sync_period: 500ms, sync_period: 6s}
scale: {services: [5]}
repetitions: 1
measure: {events: {timeout: 15s, scenarios: [repair-service, repair-table, restart, roll-service, change-udp]}}
limits: {cell: 140s}
"""


def test_rules_come_back_within_the_sync_period_and_a_restart_loses_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, EXPERIMENT)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "out/ends/latest/samples.parquet")

    def value(scenario: str, metric: str) -> int:
        found = frame[(frame["scenario"] == scenario) & (frame["metric"] == metric) & ~frame["censored"]]
        return int(found["value"].item())

    for scenario in ("repair-service", "repair-table"):  # within a period and a tenth of it, which a sync may take
        assert 0 < value(scenario, "sync.end_to_end") <= 1.1 * 6_000_000_000
        assert value(scenario, "event.lost") + value(scenario, "event.refused") > 0
    assert value("restart", "event.attempts") > 50
    assert value("roll-service", "event.attempts") > 100
    assert value("change-udp", "sync.end_to_end") < 4_000_000_000


KUBE_PROXY = """\
version: 1
name: ends
target: {lab: {kind: netns}}
subjects: [{kind: kube-proxy, version: v1.37.2, mode: iptables}]
proxier: {min_sync_period: 1s, sync_period: 10s}
scale: {services: [5]}
repetitions: 1
measure: {events: {timeout: 12s, scenarios: [repair-endpoints, repair-table]}}
limits: {cell: 150s}
"""


@pytest.mark.timeout(FIRST_BUILD_S)
def test_kube_proxy_repairs_within_a_sync_period_what_it_looks_for_and_nothing_else(tmp_path: Path) -> None:
    kube_proxy()
    done = run(tmp_path, KUBE_PROXY)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "out/ends/latest/samples.parquet")
    ends = frame[frame["metric"] == "sync.end_to_end"]
    found = {str(row.scenario): (int(row.value), bool(row.censored)) for row in ends.itertuples()}  # type: ignore[arg-type] # of int64
    # A flush takes its canary with it, at which it looks each syncPeriod; a chain's rules come with the hourly sync.
    repaired, censored = found["repair-table"]
    assert not censored
    assert 0 < repaired <= 1.1 * 10_000_000_000
    assert found["repair-endpoints"][1]


PATHS = """\
version: 1
name: ends
target: {lab: {kind: netns}}
modes: [iptables]
proxier: {min_sync_period: 1s, sync_period: 10m, nodes: all}
scale: {services: [6]}
repetitions: 1
measure:
  sync: {scenarios: [add-paths], timeout: 20s}
  forwarding:
    connections: 10
    established: 0
    positions: [last]
    paths:
      [cluster_ip, node_port, node_port_local, external_ip, node_port@far, node_port@other, cluster_ip@pod,
       cluster_ip/udp, node_port/udp]
  events: {timeout: 8s, scenarios: [add-endpoint, remove-endpoint]}
limits: {cell: 140s}
"""


def test_a_service_answers_over_each_path_after_one_sync_and_an_endpoint_more_or_less_loses_nothing(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, PATHS)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "out/ends/latest/samples.parquet")
    paths = {"cluster_ip", "node_port", "node_port_local", "external_ip", "node_port@far", "node_port@other"}
    for scenario in ("add-paths", "delete-paths"):
        found = frame[(frame["scenario"] == scenario) & (frame["metric"] == "sync.end_to_end") & ~frame["censored"]]
        assert set(found["path"]) == {*paths, "cluster_ip@pod", "cluster_ip/udp", "node_port/udp"}
        assert found["value"].max() < 5_000_000_000
        spent = frame[(frame["scenario"] == scenario) & (frame["metric"] == "cpu.control_loop")]
        assert set(spent["path"]) == {"none", "cluster_ip", "node_port", "node_port_local", "external_ip"}
        assert spent["value"].min() > 0
    for scenario in ("add-endpoint", "remove-endpoint"):
        of_event = frame[(frame["scenario"] == scenario) & ~frame["censored"]]
        figures = {str(metric): int(value) for metric, value in zip(of_event["metric"], of_event["value"], strict=True)}
        assert figures["sync.end_to_end"] < 5_000_000_000
        assert figures["event.lost"] == figures["event.refused"] == 0
        assert figures["event.attempts"] > 50
