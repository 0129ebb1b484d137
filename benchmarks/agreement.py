"""Whether proxybench's figures of a real kube-proxy agree with those of an independent measurement, taken in turns.

Run as ``sudo python -m benchmarks.agreement [--services 1000 5000] [--rounds 3]``: about eight minutes on two cores. It
needs kube-proxy and kube-apiserver 1.37.2 and etcd (from the cache, or built), and a kernel with namespaces and both
backends of iptables. By its side: three namespaces of its own, a real kube-apiserver, sockets in a plain loop, CPU
from /proc. Prints a line for each number: both medians and their ratio; ends with 1 where one is off by over 15 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.children import heed_signals, run
from benchmarks.plain_bench import SUBJECTS, PlainBench
from proxybench.results.folder import open_run
from tests.lab.binaries import program

if TYPE_CHECKING:
    from collections.abc import Mapping

PROMISE = 0.15
TICK_NS = 10e6  # by which CPU times from /proc are told
LIMIT_S = 900
NUMBERS = {
    "cold start": ("cold-start", "sync.end_to_end", "last"),
    "CPU of a cold start": ("cold-start", "cpu.control_loop", "none"),
    "one Service added": ("new-service", "sync.end_to_end", "last"),
    "CPU of one Service added": ("new-service", "cpu.control_loop", "none"),
    "connect VIP": ("steady", "forwarding.connect", "last"),
    "connect directly": ("steady", "forwarding.direct", "none"),
}
"""What both measure: the scenario, metric and position of proxybench's."""

Figures = dict[tuple[int, str, str], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--version", default="v1.37.2")
    parser.add_argument("--protobuf", action="store_true", help="the plain side's content type, as in a user's cluster")
    asked = parser.parse_args()
    heed_signals()
    plain: Figures = {}
    ours: Figures = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxybench-agreement-")))
        binaries = {name: program(name, asked.version) for name in ("kube-proxy", "kube-apiserver")}
        bench = stack.enter_context(PlainBench(folder, binaries, protobuf=asked.protobuf))
        for services in sorted(asked.services):
            bench.grow(services)
            for number in range(asked.rounds):
                for subject in SUBJECTS:
                    say(f"{services} Services, round {number + 1}: {subject}, plainly")
                    add(plain, services, subject, bench.measure(subject))
                say(f"{services} Services, round {number + 1}: proxybench")
                for subject, found in proxybench(folder / f"{services}-{number}", services, asked.version).items():
                    add(ours, services, subject, found)
    sys.exit(not table(plain, ours))


def add(figures: Figures, services: int, subject: str, found: Mapping[str, float]) -> None:
    for name, value in found.items():
        figures.setdefault((services, subject, name), []).append(value)


def proxybench(out: Path, services: int, version: str) -> dict[str, dict[str, float]]:
    """Run it once for all subjects; return its medians, in ns, by subject and name."""
    experiment = {
        "version": 1,
        "name": "agreement",
        "target": {"lab": {"kind": "netns"}},
        "subjects": [
            {"kind": "kube-proxy", "version": version, "mode": "iptables", "iptables": ["legacy", "nft"]},
            {"kind": "kube-proxy", "version": version, "mode": "nftables"},
        ],
        "proxier": {"sync_period": "1h"},
        "scale": {"services": [services], "endpoints_per_service": [2]},
        "repetitions": 1,
        "measure": {
            "sync": {"scenarios": ["cold-start", "new-service"]},
            "cpu": {"idle": "1s"},
            "forwarding": {"connections": 300, "positions": ["last"], "established": 0},
        },
        "limits": {"run": f"{LIMIT_S}s", "cell": "5m"},
    }
    out.mkdir()
    (out / "agreement.yaml").write_text(json.dumps(experiment))  # JSON is YAML
    argv = [sys.executable, "-m", "proxybench", "run", str(out / "agreement.yaml"), "--out", str(out)]
    code, _ = run(argv, LIMIT_S)
    if code:
        sys.exit(f"proxybench run ended with {code}")
    found: dict[str, dict[str, float]] = {subject: {} for subject in SUBJECTS}
    for record in open_run(out / "agreement" / "latest").summary():
        for name, place in NUMBERS.items():
            if place == tuple(record[column] for column in ("scenario", "metric", "position")):
                settings = str(record["settings"])
                subject = f"iptables {settings.partition('=')[2]}" if settings else str(record["mode"])
                found[subject][name] = float(record["median"])
    return found


def table(plain: Figures, ours: Figures) -> bool:
    """Print all numbers; return whether they agree."""
    print(f"{'Services':>8}  {'subject':16} {'':26} {'plain (rounds)':>30} {'proxybench (rounds)':>30}     ratio")
    agree = True
    for services, subject, name in plain:
        key = services, subject, name
        if key not in ours:
            print(f"{services:>8}  {subject:16} {name:26} proxybench has no such number")
            agree = False
            continue
        one, other = statistics.median(plain[key]), statistics.median(ours[key])
        scale, unit = (1e3, "us") if name.startswith("connect") else (1e6, "ms")
        off = abs(other / one - 1) > PROMISE and (not name.startswith("CPU") or abs(other - one) > TICK_NS)
        agree = agree and not off
        ends = f"{_span(plain[key], scale)} {_span(ours[key], scale)} {unit}"
        print(f"{services:>8}  {subject:16} {name:26} {ends}  {other / one:.2f}{'  *' if off else ''}")
    print("all within 15 %" if agree else "* off by more than 15 %")
    return agree


def _span(values: list[float], scale: float) -> str:
    return (
        f"{statistics.median(values) / scale:>9,.1f} ({min(values) / scale:,.1f} … {max(values) / scale:,.1f})".rjust(
            30
        )
    )


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
