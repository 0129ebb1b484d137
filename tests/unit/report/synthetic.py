"""A made-up run in the shape of a real one. None of its numbers was measured; never commit what it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from proxybench.results.folder import RunFolder
from proxybench.results.frame import COLUMNS, frame_to_table
from proxybench.stats.summary import summarise
from proxybench.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "20261123T083000Z-synth1"
SIZES = (10, 100, 1_000, 10_000)
MODES = ("iptables", "ipvs", "userspace")
SYNC = {  # ns for (fixed, per Service) of a change, and per Service of a cold start
    "iptables": (28e6, 95e3, 180e3),
    "ipvs": (41e6, 12e3, 900e3),
    "userspace": (35e6, 160e3, 2_600e3),
}
CPU_SHARE = {"iptables": 0.7, "ipvs": 0.5, "userspace": 0.6}
CONNECT = {"iptables": (13_000, 26.4), "ipvs": (9_500, 0.03), "userspace": (-41_000, 9.0)}
FIRST_BYTE = {"iptables": (14_000, 26.4), "ipvs": (10_200, 0.03), "userspace": (310_000, 11.0)}
DIRECT = 103_000
WHERE = {"first": 0.0, "middle": 0.5, "last": 1.0}


CONSTANT = {
    "run": RUN,
    "kind": "kube-proxy",
    "version": "v1.37.2",
    "settings": "",
    "path": "cluster_ip",
    "family": "ipv4",
    "node": "client",
    "profile": "",
}


class Row(NamedTuple):
    """Samples of one metric at one point in one repetition; above ``limit`` they are censored."""

    mode: str
    services: int
    scenario: str
    position: str
    repetition: int
    metric: str
    unit: str
    measured: np.ndarray[Any, np.dtype[np.int64]]
    limit: float


def synthetic_frame(
    connects: int = 60,
    repetitions: int = 5,
    clock: str = "instructions",
    modes: tuple[str, ...] = MODES,
    sizes: tuple[int, ...] = SIZES,
) -> pd.DataFrame:
    """Return the samples of a whole run; ``connects`` per point, mode and repetition."""
    random = np.random.default_rng(7)
    rows = [
        row
        for mode in modes
        for services in sizes
        for repetition in range(repetitions)
        for row in _cell(random, mode, services, repetition, connects, clock)
    ]
    lengths = [len(row.measured) for row in rows]
    values = np.concatenate([row.measured for row in rows])
    limits = np.repeat([int(row.limit) for row in rows], lengths)
    words = {name: [getattr(row, name) for row in rows] for name in ("mode", "scenario", "position", "metric", "unit")}
    columns: dict[str, Any] = {name: pd.Categorical(each).repeat(lengths) for name, each in words.items()}
    for name, word in CONSTANT.items():
        columns[name] = pd.Categorical([word]).repeat(len(values))
    columns["clock"] = pd.Categorical([clock]).repeat(len(values))
    columns["services"] = np.repeat(np.array([row.services for row in rows], np.int32), lengths)
    columns["endpoints_per_service"] = np.full(len(values), 2, np.int32)
    columns["repetition"] = np.repeat(np.array([row.repetition for row in rows], np.int32), lengths)
    columns["censored"] = values > limits
    columns["value"] = np.minimum(values, limits)
    columns["uncertainty"] = np.zeros(len(values), np.int64)
    columns["rank"] = np.full(len(values), -1, np.int32)
    columns["at"] = np.full(len(values), 1_795_422_600 * 10**9)
    return pd.DataFrame(columns)[list(COLUMNS)]


def _cell(
    random: np.random.Generator, mode: str, services: int, repetition: int, connects: int, clock: str
) -> Iterator[Row]:
    def row(
        scenario: str,
        metric: str,
        value: float,
        count: int = 1,
        spread: float = 0.012,
        position: str = "none",
        limit: float = 120e9,
    ) -> Row:
        noisy = value * np.exp(random.normal(0, spread) + np.abs(random.normal(0, spread, count)))
        unit = "bytes" if metric.startswith("memory") else "ns"
        samples = noisy.astype(np.int64)
        return Row(mode, services, scenario, position, repetition, metric, unit, samples, limit)

    fixed, each, cold = SYNC[mode]
    for scenario, value in (
        ("cold-start", fixed * 8 + cold * services),
        ("add-one", fixed + each * services),
        ("change-endpoint", fixed * 0.8 + each * services * 0.9),
        ("delete-one", fixed * 0.7 + each * services * 0.85),
    ):
        yield row(scenario, "sync.end_to_end", value, position="last", limit=20e9)
        yield row(scenario, "sync.control_loop", value * 0.82)
        for stage, portion in (("build", 0.3), ("tool", 0.5), ("kernel", 0.02)):
            yield row(scenario, f"sync.{stage}", value * portion)
        cpu = value * CPU_SHARE[mode]
        yield row(scenario, "cpu.control_loop", cpu)
        yield row(scenario, "cpu.control_loop.user", cpu * 0.37)
        yield row(scenario, "cpu.control_loop.system", cpu * 0.63)
        yield row(scenario, "cpu.softirq", 2e6 + 4e2 * services)
        yield row(scenario, "cpu.agent", value * 0.006, spread=0.1)
        yield row(scenario, "cpu.window", value * 1.1)
        yield row(scenario, "memory.control_loop", 21e6 + (9e3 if mode != "ipvs" else 14e3) * services)
    yield row("idle", "cpu.control_loop", 4e6 + 900.0 * services, spread=0.05)
    yield row("idle", "cpu.agent", 1.2e6, spread=0.1)
    yield row("idle", "cpu.window", 1e9, spread=0)
    yield row("load", "cpu.control_loop", 18e6, spread=0.05)
    yield row("load", "cpu.softirq", 60e6 + (20e3 * services if mode == "iptables" else 0), spread=0.05)
    yield row("load", "cpu.agent", 24e6, spread=0.1)
    yield row("load", "cpu.window", 1e9, spread=0)
    base, slope = CONNECT[mode]
    first, first_slope = FIRST_BYTE[mode]
    for position, share in WHERE.items():
        part = share * services
        yield row("steady", "forwarding.connect", DIRECT + base + slope * part, connects, 0.003, position)
        yield row("steady", "forwarding.first_byte", 160e3 + first + first_slope * part, connects, 0.003, position)
    # Beside the rules, a connection to an endpoint walks all of iptables'; before there are any, it is the zero point.
    beside = DIRECT + (slope * services if mode != "ipvs" else 0)
    yield row("steady", "forwarding.direct", beside, connects, 0.003)
    yield row("steady", "forwarding.bare", DIRECT, connects, 0.003)
    yield row("steady", "forwarding.established", 61e3, connects, 0.003)
    tail = DIRECT + base + slope * services / 2
    yield row("load", "forwarding.load", tail * 2.2, connects, 0.35)
    # Draws of their own, so that the numbers above stay what they were.
    random = np.random.default_rng((services, repetition))
    yield row("add-batch", "sync.wait", 4e8, spread=0.05)
    if mode == "userspace":
        yield row("load", "cpu.relay", 900e6, spread=0.05)
    if clock == "wall":  # by the instruction clock nothing is counted from the intended start
        yield row("load", "forwarding.load.intended", tail * 2.9, connects, 0.35)


def synthetic_manifest(clock: str = "instructions", **changes: Any) -> dict[str, Any]:
    """Return a manifest that fits the frame."""
    order = [
        {
            "subject": {"kind": "kube-proxy", "version": "v1.37.2", "mode": mode},
            "services": size,
            "endpoints_per_service": 2,
        }
        for size in SIZES
        for mode in MODES
    ]
    node = {
        "kernel": "6.1.192-amd64",
        "cpu": "QEMU Virtual CPU version 2.5+",
        "cpus": 1,
        "memory": 2 * 2**30,
        "iptables_version": "1.8.9",
        "iptables_backend": "legacy",
        "python": "3.11.2",
        "sysctls": {"net.ipv4.ip_forward": "1", "net.ipv4.vs.conn_reuse_mode": "0"},
    }
    return {
        "schema": 2,
        "run": RUN,
        "name": "scale",
        "created": "2026-11-23T08:30:00Z",
        "finished": "2026-11-23T08:41:07Z",
        "state": "incomplete",
        "command": ["proxybench", "run", "experiments/scale.yaml"],
        "proxybench": "0.1.0",
        "experiment": {"version": 1, "name": "scale", "modes": list(MODES), "repetitions": 5},
        "matrix": [
            {
                "index": index + 1,
                "repetition": index // len(order) + 1,
                "cell": order[(index + index // len(order)) % len(order)],
                "state": "failed" if index == 31 else "done",
                "seconds": 9.25 + index % 4,
                "problem": "the canary <b>did not</b> answer within 20 s" if index == 31 else None,
            }
            for index in range(5 * len(order))
        ],
        "lab": {
            "kind": "vm",
            "clock": clock,
            "accelerator": "tcg",
            "why": "this kernel has no ip_vs, and the VM has",
        },
        "subjects": [
            {
                "subject": {"kind": "kube-proxy", "version": "v1.37.2", "mode": mode},
                "min_sync_period": 0.0,
                "sync_period": 30.0,
            }
            for mode in MODES
        ],
        "proxy_nodes": ["node-1", "node-2"],
        "fingerprint": {
            "orchestrator": {"kernel": "6.18.5", "cpu": "a synthetic processor", "cpus": 2, "python": "3.11.2"},
            "nodes": {"client": node, "node-1": node, "node-2": node},
        },
        "not_measured": [
            {"mode": "nftables", "services": None, "reason": "needs nft 1.0.1 or newer; node-1 has 0.9.8"}
        ],
        "conformance": [
            {
                "mode": mode,
                "services": size,
                "check": check,
                "passed": not (mode == "userspace" and size == 10_000 and check == "endpoints share"),
                "detail": "chi-squared p = 0.31" if check == "endpoints share" else "",
            }
            for mode in MODES
            for size in SIZES
            for check in ("VIP answers", "endpoints share", "ping of the VIP")
        ],
        **changes,
    }


def synthetic_run(base: Path, frame: pd.DataFrame | None = None, **changes: Any) -> RunFolder:
    """Write a finished run below ``base``."""
    folder = RunFolder.create(base, "scale", FakeClock(0, 1_795_422_600 * 10**9, may_sleep=False))
    folder.write_manifest(synthetic_manifest(**changes))
    samples = synthetic_frame() if frame is None else frame
    pq.write_table(frame_to_table(samples), folder.path / "samples.parquet", compression="zstd")
    folder.finish(summarise(samples))
    return folder
