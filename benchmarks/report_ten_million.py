"""Ten million raw samples into a report: seconds and peak memory, against the limits of 20 s and 1.5 GiB.

Run it from the repository: ``make bench-report``, or ``python benchmarks/report_ten_million.py [SAMPLES]``. The samples
are made up. The report is written by a process of its own, so that making the samples does not count. CPU seconds are
told by stage as well: on a busy machine they say more than the clock on the wall.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = 10_000_000
REPETITIONS = 5
SECONDS, GIB = 20.0, 1.5
STAGES = ("gather", "sections", "write_figures", "render")
"""Functions of ``proxybench.report.page`` that are timed; reading the samples is a method of the folder."""


def main() -> int:
    if sys.argv[1:2] == ["--write"]:
        _write(Path(sys.argv[2]))
        return 0
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    with tempfile.TemporaryDirectory() as base:
        folder = _make(Path(base), samples)
        started = time.monotonic()
        subprocess.run([sys.executable, __file__, "--write", str(folder)], cwd=ROOT, check=True)
        seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, cpu = used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime
    print(
        f"report: {seconds:.1f} s (limit {SECONDS:.0f} s; CPU {cpu:.1f} s),"
        f" {memory:.2f} GiB at its peak (limit {GIB} GiB)"
    )
    return 0 if seconds <= SECONDS and memory <= GIB else 1


def _make(base: Path, samples: int) -> Path:
    """Write a run of at least so many samples, and return its folder."""
    from tests.unit.report.synthetic import MODES, SIZES, synthetic_frame, synthetic_run  # noqa: PLC0415 - needs the path

    per_connect = _series_per_connect()
    connects = -(-samples // (len(MODES) * len(SIZES) * REPETITIONS * per_connect))
    frame = synthetic_frame(connects=connects, repetitions=REPETITIONS)
    folder = synthetic_run(base, frame)
    size = (folder.path / "samples.parquet").stat().st_size
    print(f"{len(frame):,} samples, {size / 2**20:.0f} MiB of Parquet")
    return folder.path


def _series_per_connect() -> int:
    """Return how many samples a cell of the synthetic frame has for each connect."""
    from tests.unit.report.synthetic import synthetic_frame  # noqa: PLC0415 - needs the path

    one, two = (len(synthetic_frame(connects=each, repetitions=1, modes=("ipvs",), sizes=(10,))) for each in (1, 2))
    return two - one


def _write(folder: Path) -> None:
    """Write the report as ``proxybench report`` does, and print the CPU seconds of each stage."""
    from proxybench.report import page  # noqa: PLC0415 - its import is a stage
    from proxybench.results.folder import RunFolder  # noqa: PLC0415 - as above

    spent = {"import": time.process_time()}
    RunFolder.samples = _timed(RunFolder.samples, "read", spent)  # type: ignore[method-assign]
    for stage in STAGES:
        setattr(page, stage, _timed(getattr(page, stage), stage, spent))
    page.write_report(folder)
    print("CPU seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in spent.items()))


def _timed(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the function takes and returns
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.process_time() - began

    return timed


if __name__ == "__main__":
    sys.exit(main())
