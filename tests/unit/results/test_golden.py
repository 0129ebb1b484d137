"""Runs of every schema version so far must stay readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxybench.results.folder import RunFolder, open_run
from proxybench.results.frame import COLUMNS
from proxybench.results.schema import SCHEMA_VERSION

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def run() -> RunFolder:
    return open_run(GOLDEN / "run-v1")


def test_each_schema_version_has_a_golden_run() -> None:
    versions = sorted(path.name for path in GOLDEN.glob("run-v*"))
    assert versions == [f"run-v{number}" for number in range(1, SCHEMA_VERSION + 1)]


def test_the_manifest_is_read(run: RunFolder) -> None:
    manifest = run.manifest
    assert (manifest.run, manifest.state, manifest.schema) == ("20261123T083000Z-synth1", "complete", SCHEMA_VERSION)
    assert [step.cell.mode for step in manifest.matrix[:3]] == ["iptables", "ipvs", "iptables"]
    assert manifest.fingerprint.nodes["node-1"].sysctls["net.ipv4.ip_forward"] == "1"


def test_the_samples_are_read(run: RunFolder) -> None:
    frame = run.samples()
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 12 * 76  # cells, and samples of each
    assert sorted(frame["mode"].unique()) == ["iptables", "ipvs"]
    direct = frame[frame["metric"] == "forwarding.direct"]
    assert direct["value"].between(100_000, 107_000).all()


def test_the_summary_is_read(run: RunFolder) -> None:
    records = run.summary()
    assert len(records) == 216
    assert list(records[0]) == [
        "mode",
        "proxier",
        "services",
        "endpoints_per_service",
        "scenario",
        "traffic",
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
