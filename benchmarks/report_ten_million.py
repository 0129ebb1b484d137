"""Ten million raw samples into a report: seconds and peak memory, against the limits of 20 s and 1.5 GiB.

Run it from the repository: ``python benchmarks/report_ten_million.py [SAMPLES]``. The samples are made up. The report
is written by a process of its own, so that making the samples does not count.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.unit.report.synthetic import MODES, SIZES, synthetic_frame, synthetic_run  # noqa: E402 - needs the path

SAMPLES = 10_000_000
REPETITIONS = 5
PER_CELL = 10  # series of the synthetic frame that hold one sample per connect
SECONDS, GIB = 20.0, 1.5


def main() -> int:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    connects = samples // (len(MODES) * len(SIZES) * REPETITIONS * PER_CELL)
    with tempfile.TemporaryDirectory() as base:
        frame = synthetic_frame(connects=connects, repetitions=REPETITIONS)
        folder = synthetic_run(Path(base), frame)
        size = (folder.path / "samples.parquet").stat().st_size
        print(f"{len(frame):,} samples, {size / 2**20:.0f} MiB of Parquet")
        del frame
        program = "import sys, pathlib, proxybench.report.page as p; p.write_report(pathlib.Path(sys.argv[1]))"
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", program, str(folder.path)], cwd=ROOT, check=True)
        seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, cpu = used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime
    print(
        f"report: {seconds:.1f} s (limit {SECONDS:.0f} s; CPU {cpu:.1f} s),"
        f" {memory:.2f} GiB at its peak (limit {GIB} GiB)"
    )
    return 0 if seconds <= SECONDS and memory <= GIB else 1


if __name__ == "__main__":
    sys.exit(main())
