from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.columns import build
from proxybench.report.data import ReportData, gather
from proxybench.results.manifest import manifest_from_dict
from proxybench.stats.summary import SummaryRecord
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.results.folder import RunFolder


def make_record(**changes: Any) -> SummaryRecord:
    values: dict[str, Any] = {
        "mode": "iptables",
        "kind": "kube-proxy",
        "version": "v1.37.2",
        "services": 1000,
        "endpoints_per_service": 2,
        "scenario": "add-one",
        "path": "cluster_ip",
        "position": "last",
        "metric": "sync.end_to_end",
        "unit": "ns",
        "clock": "wall",
        "n": 5,
        "repetitions": 5,
        "censored": 0,
        "median": 100e6,
        "ci_low": 95e6,
        "ci_high": 105e6,
        "p90": 110e6,
        "p99": 120e6,
        **changes,
    }
    return build(SummaryRecord, {"settings": "", "family": "ipv4", **values})


@pytest.fixture(scope="session")
def data() -> ReportData:
    return gather(synthetic_frame(connects=20), manifest_from_dict(synthetic_manifest(), "synthetic"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A small run whose words try to break out of the page."""
    frame = synthetic_frame(connects=5, sizes=(10, 100), repetitions=3)
    base: Path = tmp_path_factory.mktemp("results")
    return synthetic_run(base, frame)
