from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxybench.model import CLUSTER_IP, ClockKind, LabKind, Metric, Point, Position, Sample, Scenario
from proxybench.results.folder import RunFolder
from proxybench.results.manifest import Fingerprint, LabFacts, Manifest, NodeFacts, Step, SubjectFacts
from proxybench.testing.clock import FakeClock
from proxybench.testing.model import make_cell, make_subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METRICS = (
    Metric.FORWARDING_CONNECT,
    Metric.CPU_CONTROL_LOOP,
    Metric.SYNC_BUILD,
    Metric.SYNC_END_TO_END,
)
SIZES = (10, 100, 1000)
Level = dict[tuple[Metric, int], float]


def samples(  # noqa: PLR0913 -- each is one thing in which a run may differ
    run: str,
    seed: int,
    *,
    clock: ClockKind,
    slower: Level,
    noise: float,
    repetitions: int,
    timeouts: int,
    version: str,
    unsure: int,
) -> list[Sample]:
    rng = np.random.default_rng(seed)
    found = []
    for metric in METRICS:
        for size in SIZES:
            point = Point(make_subject(version=version), size, 2, Scenario.STEADY, CLUSTER_IP, position=Position.LAST)
            for repetition in range(repetitions):
                level = (100_000 + 10 * size) * slower.get((metric, size), 1.0) * np.exp(noise * rng.normal())
                for place in range(5):
                    late = metric is Metric.FORWARDING_CONNECT and size == SIZES[0] and place < timeouts
                    found.append(
                        Sample(
                            run,
                            point,
                            repetition,
                            "node-1",
                            metric,
                            10**9 if late else round(level * (1 + 0.001 * (place - 2))),
                            "ns",
                            clock,
                            late,
                            0,
                            unsure,
                        )
                    )
    return found


def failures(run: str, clock: ClockKind, rates: tuple[int, ...]) -> list[Sample]:
    """Return the failure rate of a load, in ppm, repetition by repetition."""
    point = Point(make_subject(), 100, 2, Scenario.LOAD, CLUSTER_IP)
    return [
        Sample(run, point, number, "client", Metric.LOAD_FAILURE_RATE, rate, "ppm", clock, censored=False, at=0)
        for number, rate in enumerate(rates)
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder of three metrics that may be judged, and one that may not, at three sizes."""
    count = 0

    def make(  # noqa: PLR0913 -- each is one thing in which a run may differ
        seed: int = 1,
        *,
        clock: ClockKind = ClockKind.INSTRUCTIONS,
        slower: Level | None = None,
        noise: float = 0.0005,
        repetitions: int = 5,
        timeouts: int = 0,
        kernel: str = "6.1.0",
        version: str = "0.1.0",
        name: str = "gate",
        experiment: dict[str, Any] | None = None,
        lacks: Metric | None = None,
        methods: dict[str, int] | None = None,
        failed: int = 0,
        unsure: int = 0,
        failing: tuple[int, ...] = (),
    ) -> Path:
        nonlocal count
        count += 1
        folder = RunFolder.create(tmp_path / "results", name, FakeClock(count * 86_400 * 10**9, may_sleep=False))
        found = samples(
            folder.run,
            seed,
            clock=clock,
            slower=slower or {},
            noise=noise,
            repetitions=repetitions,
            timeouts=timeouts,
            version=version,
            unsure=unsure,
        )
        found += failures(folder.run, clock, failing)
        folder.add([sample for sample in found if sample.metric is not lacks])
        folder.write_manifest(
            Manifest(
                run=folder.run,
                name=name,
                experiment=experiment or {},
                created=f"2026-01-{count:02d}T00:00:00Z",
                lab=LabFacts(LabKind.VM, clock, "tcg"),
                subjects=(SubjectFacts(make_subject(version=version), 1.0, 30.0),),
                methods=methods or {},
                state="incomplete" if failed else "complete",
                matrix=tuple(
                    Step(number, 1, make_cell(), "failed" if number <= failed else "done") for number in range(1, 13)
                ),
                fingerprint=Fingerprint(nodes={"node-1": NodeFacts(kernel=kernel, cpu="x")}),
            )
        )
        folder.finish([])
        return folder.path

    return make
