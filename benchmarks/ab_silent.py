"""Whether ``proxybench ab`` of one kube-proxy with itself raises no alarm, time after time, in the lab.

Run as ``python -m benchmarks.ab_silent [--tables 10] [--version v1.37.2] [--mode iptables] [--services 100]
[--repetitions 3] [--set target.lab.shards=1]``: each table boots guests of its own, four to ten minutes on two cores.
With one guest a table costs least work: one boot, one warm-up. Prints a line per table; ends with 1 after an alarm and
with 3 when a table could not be had.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter

from benchmarks.children import heed_signals, run

LIMIT_S = 3600
ALARMS = {"regressed", "improved"}
DECIDED = (0, 1, 4)  # what ab ends with after it judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--version", default="v1.37.2")
    parser.add_argument("--mode", action="append", default=[], help="may be given again; left out, all of ab's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as ab has it")
    parser.add_argument("--services", default="100")
    parser.add_argument("--repetitions", default="3")
    parser.add_argument("--times", default="8")
    parser.add_argument("--out", help="keeps the runs; left out, they are thrown away")
    asked = parser.parse_args()
    sizes = ["--services", asked.services, "--repetitions", asked.repetitions, "--times", asked.times]
    sizes += [word for mode in asked.mode for word in ("--mode", mode)]
    sizes += [word for setting in asked.set for word in ("--set", setting)]
    heed_signals()
    noisy = 0
    for number in range(1, asked.tables + 1):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="proxybench-silent-") as folder:
            argv = [sys.executable, "-m", "proxybench", "ab", asked.version, asked.version, "--json"]
            code, output = run([*argv, *sizes, "--out", asked.out or folder], LIMIT_S)
        if code not in DECIDED:
            sys.exit(3)
        table = [item for item in json.loads(output)["comparisons"] if item["judged"]]
        alarms = [item for item in table if item["verdict"] in ALARMS]
        noisy += bool(alarms)
        verdicts = ", ".join(
            f"{count} {verdict}" for verdict, count in Counter(one["verdict"] for one in table).items()
        )
        told = [item for item in table if item["relative"] is not None]  # None: of what is next to nothing
        widest = max(told, key=lambda item: abs(item["relative"]))
        print(
            f"{number}: {len(alarms)} alarms; {verdicts}; largest difference {widest['relative']:+.2%} "
            f"({widest['mode']} {widest['metric']}/{widest['scenario']}); {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        for item in alarms:
            print(f"   {item['verdict']}: {item}", flush=True)
    print(f"silent in {asked.tables - noisy} of {asked.tables}")
    sys.exit(1 if noisy else 0)


if __name__ == "__main__":
    main()
