"""Mutated experiment files through ``proxybench validate``: exit 0 or 2, one line a problem, within 2 s and 200 MiB.

Each tenth is a right experiment that replays a mutated profile. Run it from the repository: ``make fuzz``, or
``python benchmarks/fuzz_experiments.py [FILES [SEED]]``. File number N of a seed is always the same; one that fails is
kept in the folder that is printed. A process takes a hundred files, so that its peak of memory is theirs.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from types import FrameType

FILES = 10_000
SECONDS, MIB = 2.0, 200.0
_BATCH = 100
_EACH_PROFILE = 10
_HANG = 30  # seconds, after which a file is given up


class Ended(NamedTuple):
    """How one file ended; ``wrong`` says what was not as it should be."""

    number: int
    code: int
    seconds: float
    wrong: str


class HangError(BaseException):
    """A file took too long; no handler of the program's may catch it."""


def main() -> int:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)  # noqa: PLR2004 - our words
    folder = tempfile.mkdtemp(prefix="proxybench-fuzz.")
    shutil.copytree(ROOT / "experiments" / "profiles", Path(folder) / "profiles")  # which one of the experiments names
    batches = [(seed, folder, range(start, min(start + _BATCH, files))) for start in range(0, files, _BATCH)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        done = list(pool.imap_unordered(_run, batches, chunksize=1))
    ended = [one for batch, _ in done for one in batch]
    memory = max(peak for _, peak in done)
    failed = [one for one in ended if one.wrong]
    for one in failed[:20]:
        print(f"{folder}/{one.number}.yaml: {one.wrong}")
    codes = Counter(one.code for one in ended)
    slowest = max(ended, key=lambda one: one.seconds)
    figures = {
        "files": len(ended),
        "seed": seed,
        "exit codes": dict(sorted(codes.items())),
        "slowest": {"file": slowest.number, "seconds": round(slowest.seconds, 2), "limit": SECONDS},
        "peak MiB": {"value": round(memory), "limit": MIB},
        "failed": len(failed),
    }
    print(json.dumps(figures))
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed or memory > MIB else 0


def _run(batch: tuple[int, str, range]) -> tuple[list[Ended], float]:
    seed, folder, numbers = batch
    signal.signal(signal.SIGALRM, _hang)
    _validate(ROOT / "experiments" / "quickstart.yaml")  # imports everything, which is no file's time
    ended = [_one(seed, Path(folder), number) for number in numbers]
    return ended, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _one(seed: int, folder: Path, number: int) -> Ended:
    from tests.unit.experiment.mutants import PROFILES, REPLAY, mutant  # noqa: PLC0415 - needs the path

    path, profile = folder / f"{number}.yaml", folder / f"{number}.profile.yaml"
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - no secret
    if number % _EACH_PROFILE:
        path.write_bytes(mutant(chance))
    else:
        path.write_text(REPLAY.format(profile.name))
        profile.write_bytes(mutant(chance, PROFILES))
    signal.alarm(_HANG)
    started = time.process_time()
    try:
        code, output = _validate(path)
        wrong = _judge(f"{folder}/{number}.", code, output)
    except HangError:
        code, wrong = -1, f"did not end within {_HANG} s"
    finally:
        signal.alarm(0)
    seconds = time.process_time() - started
    if not wrong and seconds > SECONDS:
        wrong = f"took {seconds:.1f} s"
    if not wrong:
        path.unlink()
        profile.unlink(missing_ok=True)
    return Ended(number, code, seconds, wrong)


def _validate(path: Path) -> tuple[int, str]:
    from proxybench.cli.main import cli  # noqa: PLC0415 - needs the path

    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            cli.main(["validate", str(path)], prog_name="proxybench")
    except SystemExit as error:
        return int(error.code or 0), output.getvalue()
    raise AssertionError("the program ends with an exit code")


def _judge(begin: str, code: int, output: str) -> str:
    """Tell what is wrong with an end; ``begin`` is how the names of the file and its profile begin."""
    if code not in {0, 2}:
        return f"exit {code}: {output[-300:]}"
    lines = output.split("\n")[:-1]
    strange = [line for line in lines if not line.startswith(begin) or not line.isprintable()]
    return f"a line of its own: {strange[0][:200]!r}" if strange or not lines else ""


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError


if __name__ == "__main__":
    sys.exit(main())
