from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.model import CLUSTER_IP, ClockKind, Metric, Mode, Point, Position, Sample, Scenario
from proxybench.testing.clock import FakeClock
from proxybench.testing.model import make_subject

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0, 1_795_422_600 * 10**9, may_sleep=False)  # 2026-11-23 08:30:00 UTC


def make_samples(count: int, start: int = 0, mode: Mode = Mode.IPTABLES) -> list[Sample]:
    point = Point(make_subject(mode), 1000, 2, Scenario.STEADY, CLUSTER_IP, position=Position.LAST)
    return [
        Sample(
            run="20261123T083000Z-abc123",
            point=point,
            repetition=number % 5,
            node="client",
            metric=Metric.FORWARDING_CONNECT,
            value=100_000 + number,
            unit="ns",
            clock=ClockKind.INSTRUCTIONS,
            censored=number % 7 == 3,
            at=1_795_422_600 * 10**9 + number,
        )
        for number in range(start, start + count)
    ]


@pytest.fixture
def samples() -> Callable[..., list[Sample]]:
    return make_samples


def make_manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 2,
        "run": "20261123T083000Z-abc123",
        "name": "quickstart",
        "created": "2026-11-23T08:30:00Z",
        "state": "complete",
        "lab": {"kind": "vm", "clock": "instructions", "accelerator": "tcg", "why": "no ip_vs here"},
        "subjects": [],
        **changes,
    }


@pytest.fixture
def manifest() -> Callable[..., dict[str, Any]]:
    return make_manifest
