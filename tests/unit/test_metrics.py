from __future__ import annotations

from pathlib import Path

import pytest

from proxybench.metric_facts import find, may_judge, methods, table
from proxybench.metrics import Metric

DOCS = Path(__file__).parents[2] / "docs" / "measurements.md"


def test_the_docs_hold_the_registry_s_table() -> None:
    assert table() in DOCS.read_text(), "docs/measurements.md: put the text of proxybench.metric_facts.table() there"


def test_a_metric_is_its_name_and_is_found_by_it() -> None:
    assert (str(Metric.SYNC_BUILD), Metric.SYNC_BUILD.value) == ("sync.build", "sync.build")
    assert find("sync.build") is Metric.SYNC_BUILD.about
    assert find("sync.knitting") is None


@pytest.mark.parametrize(
    ("name", "wall", "instructions"),
    [
        ("cpu.control_loop", True, True),
        ("sync.build", True, True),
        ("forwarding.connect", True, True),
        ("forwarding.load", True, True),
        ("sync.end_to_end", True, False),  # waits pass as real time there
        ("sync.wait", True, False),
        ("memory.control_loop", True, False),
        ("cpu.node", False, False),
        ("cpu.window", False, False),
        ("sync.full.count", False, False),
        ("load.failure_rate", True, True),
        ("load.failed", False, False),
        ("load.lag", False, False),
        ("sync.knitting", False, False),
    ],
)
def test_what_may_be_judged_under_which_clock(name: str, wall: bool, instructions: bool) -> None:
    assert (may_judge(name, "wall"), may_judge(name, "instructions")) == (wall, instructions)


def test_every_forwarding_metric_is_work() -> None:
    assert all(metric.about.busy for metric in Metric if metric.startswith("forwarding."))


def test_each_method_has_a_version_and_each_metric_words() -> None:
    assert set(methods()) == set(Metric)
    assert all(version >= 1 for version in methods().values())
    assert all(metric.about.title and metric.about.quantity for metric in Metric)
    assert {metric.about.unit for metric in Metric} == {
        *("ns", "bytes", "syncs", "connections", "connections/s", "ppm"),
        *("things", "chains", "addresses", "changes", "KiB/h"),
    }
    assert {metric.about.resolution for metric in Metric} == {0.0, 1000.0}
