from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxybench.model import ClockKind, Family, Metric, Mode, Point, Position, Sample, Scenario, Subject
from proxybench.results.frame import COLUMNS, frame_to_table, read_frame, samples_to_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_one_row_holds_every_field(samples: Callable[..., list[Sample]]) -> None:
    frame = samples_to_frame(samples(4)[3:])
    assert tuple(frame.columns) == COLUMNS
    assert frame.iloc[0].to_dict() == {
        "run": "20261123T083000Z-abc123",
        "kind": "reference",
        "version": "0.1.0",
        "mode": "iptables",
        "settings": "",
        "services": 1000,
        "endpoints_per_service": 2,
        "scenario": "steady",
        "path": "cluster_ip",
        "family": "ipv4",
        "position": "last",
        "profile": "",
        "repetition": 3,
        "node": "client",
        "metric": "forwarding.connect",
        "value": 100_003,
        "unit": "ns",
        "clock": "instructions",
        "censored": True,
        "at": 1_795_422_600_000_000_003,
        "uncertainty": 0,
        "rank": -1,
    }
    assert frame.dtypes["value"] == "int64"
    assert frame.dtypes["at"] == "int64"
    assert frame.dtypes["censored"] == "bool"
    assert isinstance(frame.dtypes["mode"], pd.CategoricalDtype)


def test_no_samples_make_an_empty_frame_with_all_columns() -> None:
    frame = samples_to_frame([])
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 0
    assert frame.dtypes["value"] == "int64"


def test_a_row_costs_under_sixty_bytes(samples: Callable[..., list[Sample]]) -> None:
    frame = samples_to_frame(samples(10_000))
    assert frame.memory_usage(deep=True, index=False).sum() < 10_000 * 60


def test_categories_are_sorted_whatever_the_order_of_samples(samples: Callable[..., list[Sample]]) -> None:
    frame = samples_to_frame([*samples(1, mode=Mode.USERSPACE), *samples(1), *samples(1, mode=Mode.IPVS)])
    assert list(frame["mode"].cat.categories) == ["iptables", "ipvs", "userspace"]
    assert list(frame["mode"]) == ["userspace", "iptables", "ipvs"]


POINTS = st.builds(
    Point,
    subject=st.builds(
        Subject,
        kind=st.text(max_size=8),
        version=st.text(max_size=8),
        mode=st.sampled_from(Mode),
        settings=st.sampled_from([(), (("iptables", "nft"), ("note", "a 'b' c=d"))]),
    ),
    services=st.integers(0, 10_000),
    endpoints_per_service=st.integers(0, 10_000),
    scenario=st.sampled_from(Scenario),
    path=st.sampled_from(["cluster_ip", "node_port"]),
    family=st.sampled_from(Family),
    position=st.sampled_from(Position),
    profile=st.sampled_from(["", "e5ff12106824"]),
)
SAMPLES = st.builds(
    Sample,
    run=st.just("r"),
    point=POINTS,
    repetition=st.integers(0, 100),
    node=st.sampled_from(["client", "node-1"]),
    metric=st.sampled_from(Metric),
    value=st.integers(-(2**63), 2**63 - 1),
    unit=st.sampled_from(["ns", "bytes"]),
    clock=st.sampled_from(ClockKind),
    censored=st.booleans(),
    at=st.integers(0, 2**63 - 1),
    uncertainty=st.integers(0, 2**63 - 1),
    rank=st.none() | st.integers(0, 2**31 - 1),
)


@settings(deadline=None, max_examples=30)  # a shared machine may stand still for a moment
@given(st.lists(st.lists(SAMPLES, max_size=6), max_size=3))
def test_files_give_back_what_was_written(parts: list[list[Sample]]) -> None:
    files = [io.BytesIO() for _ in parts]
    for file, part in zip(files, parts, strict=True):
        pq.write_table(frame_to_table(samples_to_frame(part)), file)
    expected = samples_to_frame([sample for part in parts for sample in part])
    pd.testing.assert_frame_equal(read_frame(files), expected)


def test_more_than_127_words_survive(tmp_path: Path, samples: Callable[..., list[Sample]]) -> None:
    many = [replace(sample, node=f"node-{number:03d}") for number, sample in enumerate(samples(300))]
    pq.write_table(frame_to_table(samples_to_frame(many)), tmp_path / "a.parquet", row_group_size=50)
    assert list(read_frame([tmp_path / "a.parquet"])["node"]) == [f"node-{number:03d}" for number in range(300)]


def test_reading_some_columns_reads_only_those(tmp_path: Path, samples: Callable[..., list[Sample]]) -> None:
    pq.write_table(frame_to_table(samples_to_frame(samples(3))), tmp_path / "a.parquet")
    frame = read_frame([tmp_path / "a.parquet"], ["metric", "value"])
    assert list(frame.columns) == ["metric", "value"]
    assert list(frame["value"]) == [100_000, 100_001, 100_002]


def test_samples_from_before_there_were_profiles_are_of_none(
    tmp_path: Path, samples: Callable[..., list[Sample]]
) -> None:
    many = [replace(one, point=replace(one.point, profile="e5ff12106824")) for one in samples(2)]
    pq.write_table(frame_to_table(samples_to_frame(many)), tmp_path / "a.parquet")
    pq.write_table(frame_to_table(samples_to_frame(samples(3))).drop_columns(["profile"]), tmp_path / "b.parquet")
    frame = read_frame([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert list(frame["profile"]) == ["e5ff12106824"] * 2 + [""] * 3
    assert tuple(frame.columns) == COLUMNS


def test_a_missing_column_is_named(tmp_path: Path, samples: Callable[..., list[Sample]]) -> None:
    table = frame_to_table(samples_to_frame(samples(3))).drop_columns(["clock"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(KeyError, match="clock"):
        read_frame([tmp_path / "a.parquet"])
