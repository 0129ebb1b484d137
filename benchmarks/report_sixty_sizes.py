"""A report of 60 sizes: seconds of CPU and bytes of the page, against the limits of 10 s and 3 MB.

Run it from the repository: ``make bench-report``, or ``python -m benchmarks.report_sixty_sizes``. The samples are made
up. The report is written by a process of its own, its import counted.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZES, SECONDS, BYTES = 60, 10.0, 3_000_000


def main() -> int:
    """Make a run, have its report written, and judge it."""
    from tests.unit.report.synthetic import synthetic_frame, synthetic_run  # noqa: PLC0415 - from the repository only

    sizes = tuple(int(size) for size in np.unique(np.geomspace(10, 10_000, SIZES).round()))
    with tempfile.TemporaryDirectory() as base:
        folder = synthetic_run(Path(base), synthetic_frame(connects=20, clock="wall", sizes=sizes), clock="wall").path
        started = time.monotonic()
        write = "import sys; from pathlib import Path; from proxybench.report.page import write_report; "
        subprocess.run([sys.executable, "-c", f"{write}write_report(Path({str(folder)!r}))"], cwd=ROOT, check=True)
        seconds = time.monotonic() - started
        size = (folder / "report.html").stat().st_size
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{len(sizes)} sizes: {cpu:.1f} s of CPU (limit {SECONDS:.0f} s; {seconds:.1f} s on the wall), "
        f"{size / 1e6:.2f} MB (limit {BYTES / 1e6:.0f} MB)"
    )
    return 0 if cpu <= SECONDS and size <= BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
