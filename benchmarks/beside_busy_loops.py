"""Whether the instruction clock repeats: the quickstart experiment twice, the second time beside busy loops.

Run as ``python -m benchmarks.beside_busy_loops [LOOPS]`` (3 loops unless told). Prints the forwarding medians that
moved most, and exits 1 if any moved by more than 1 %.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.children import heed_signals, run
from proxybench.columns import build
from proxybench.model import Key
from proxybench.results.folder import open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "quickstart.yaml"
PROMISE = 0.01
LIMIT_S = 1800
SHOWN = 10


def main() -> None:
    heed_signals()
    loops = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="proxybench-repeat-") as folder:
        alone = medians(Path(folder) / "alone")
        with busy(loops):
            beside = medians(Path(folder) / "beside")
    if alone.keys() != beside.keys():
        sys.exit("the runs hold different numbers")
    moved = sorted(((abs(beside[key] / alone[key] - 1), key) for key in alone), reverse=True)
    for change, key in moved[:SHOWN]:
        print(f"{change:7.2%}  {alone[key]:>12,.0f}  {beside[key]:>12,.0f} ns  {key.label()}")
    print(f"{len(moved)} forwarding medians, the largest change {moved[0][0]:.2%} beside {loops} busy loops")
    sys.exit(moved[0][0] > PROMISE)


def medians(out: Path) -> dict[Key, float]:
    """Run the experiment; return the forwarding medians, in ns."""
    argv = [sys.executable, "-m", "proxybench", "run", str(EXPERIMENT), "--out", str(out)]
    code, _ = run([*argv, "--set", "target.lab.clock=instructions"], LIMIT_S)
    if code:
        sys.exit(f"proxybench run ended with {code}")
    records = open_run(out / "quickstart" / "latest").summary()
    wanted = [record for record in records if record["metric"].startswith("forwarding.")]
    return {build(Key, record): record["median"] for record in wanted}


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep so many processes of this machine at work."""
    workers = [multiprocessing.Process(target=spin, daemon=True) for _ in range(loops)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def spin() -> None:
    """Do nothing useful, for ever."""
    while True:
        pass


if __name__ == "__main__":
    main()
