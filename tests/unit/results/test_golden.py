"""Runs of every schema version so far must stay readable."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxybench.model import ClockKind, Metric, Point, Sample, Scenario
from proxybench.results.folder import RunFolder, open_run
from proxybench.results.frame import COLUMNS
from proxybench.results.schema import SCHEMA_VERSION
from proxybench.testing.model import make_cell, make_subject

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def run() -> RunFolder:
    return open_run(GOLDEN / "run-v1")


def test_each_older_schema_version_has_a_golden_run() -> None:
    versions = sorted(path.name for path in GOLDEN.glob("run-v*"))
    assert versions == [f"run-v{number}" for number in range(1, SCHEMA_VERSION)]


def test_the_manifest_is_read(run: RunFolder) -> None:
    manifest = run.manifest
    assert (manifest.run, manifest.state, manifest.schema) == ("20261123T083000Z-synth1", "complete", SCHEMA_VERSION)
    assert [step.cell.mode for step in manifest.matrix[:3]] == ["iptables", "ipvs", "iptables"]
    assert manifest.matrix[0].cell == make_cell(iptables="legacy")
    assert [facts.subject for facts in manifest.subjects] == [
        make_subject(mode, iptables="legacy") for mode in ("iptables", "ipvs")
    ]
    assert {(facts.min_sync_period, facts.sync_period) for facts in manifest.subjects} == {(0.0, 30.0)}
    assert manifest.proxy_nodes == ("node-1", "node-2")
    assert manifest.fingerprint.nodes["node-1"].sysctls["net.ipv4.ip_forward"] == "1"


def test_the_samples_are_read(run: RunFolder) -> None:
    frame = run.samples()
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 12 * 76  # cells, and samples of each
    assert sorted(frame["mode"].unique()) == ["iptables", "ipvs"]
    assert {name: list(frame[name].unique()) for name in ("kind", "version", "settings", "path", "family")} == {
        "kind": ["reference"],
        "version": ["0.1.0"],
        "settings": ["iptables=legacy"],
        "path": ["cluster_ip"],
        "family": ["ipv4"],
    }
    assert (list(frame["uncertainty"].unique()), list(frame["rank"].unique())) == ([0], [-1])
    direct = frame[frame["metric"] == "forwarding.direct"]
    assert direct["value"].between(100_000, 107_000).all()


def test_the_summary_is_read(run: RunFolder) -> None:
    records = run.summary()
    assert len(records) == 216
    assert [*records[0].values()][:4] == ["reference", "0.1.0", "iptables", "iptables=legacy"]
    assert {(record["path"], record["family"]) for record in records} == {("cluster_ip", "ipv4")}
    assert list(records[0]) == [
        "kind",
        "version",
        "mode",
        "settings",
        "services",
        "endpoints_per_service",
        "scenario",
        "path",
        "family",
        "position",
        "metric",
        "unit",
        "clock",
        "n",
        "repetitions",
        "censored",
        "median",
        "ci_low",
        "ci_high",
        "p90",
        "p99",
    ]


def test_a_column_that_an_older_version_named_otherwise_is_read_alone(run: RunFolder) -> None:
    frame = run.samples(["value", "path"])
    assert list(frame.columns) == ["value", "path"]
    assert list(frame["path"].cat.categories) == ["cluster_ip"]


def test_a_run_that_an_older_version_began_is_ended_by_this_one(run: RunFolder, tmp_path: Path) -> None:
    """Its parts are of both versions, and its manifest is of this one from the first step on."""
    old = run.samples()
    folder = tmp_path / "scale" / run.run
    (folder / "parts").mkdir(parents=True)
    shutil.copy(GOLDEN / "run-v1" / "samples.parquet", folder / "parts" / "part-000001.parquet")
    shutil.copy(GOLDEN / "run-v1" / "manifest.json", folder)
    again = RunFolder(folder)
    again.write_manifest(again.manifest)
    point = Point(make_subject(), 10, 2, Scenario.IDLE)
    sample = Sample("r", point, 1, "n", Metric.CPU_NODE, 5, "ns", ClockKind.WALL, censored=False, at=0, rank=3)
    again.add([sample])
    for _ in range(2):  # from its parts, then from the merged file
        frame = again.samples()
        assert len(frame) == len(old) + 1
        assert list(frame["value"][:-1]) == list(old["value"])
        assert frame.iloc[-1][["path", "rank", "version"]].to_list() == ["none", 3, "0.1.0"]
        again.finish([])
