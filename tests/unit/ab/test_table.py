from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from proxybench.ab import table
from proxybench.gate.outcome import Comparison, Outcome, Verdict
from proxybench.testing.model import make_key

KEY = make_key(
    kind="kube-proxy",
    version="",
    settings="iptables=legacy",
    services=400,
    scenario="add-one",
    path="none",
    position="none",
    metric="cpu.control_loop",
)
WORSE = Comparison(
    KEY,
    Verdict.REGRESSED,
    judged=True,
    threshold=0.01,
    reason="more than before, beyond chance and threshold",
    base=12_300_000.0,
    new=12_550_000.0,
    relative=0.0203,
    low=0.012,
    high=0.0287,
    detectable=0.0155,
)
MISSING = Comparison(
    make_key(kind="kube-proxy", version="", mode="nftables", services=400),
    Verdict.NOT_COMPARABLE,
    judged=True,
    threshold=0.01,
    reason="not measured with new",
)
UNJUDGED = Comparison(
    make_key(metric="memory.control_loop", unit="bytes", scenario="idle", path="none", position="none"),
    Verdict.SAME,
    judged=False,
    threshold=0.01,
    base=59.0 * 2**20,
    new=59.0 * 2**20,
)
OUTCOME = Outcome("v1.33.13", "v1.38.0 (./kube-proxy)", "instructions", 0.01, (WORSE, MISSING, UNJUDGED), family=2)


def test_a_row() -> None:
    assert dict(zip(table.HEADS, table.cells(WORSE), strict=True)) == {
        "Mode": "iptables (iptables=legacy)",
        "Services": "400",
        "Scenario": "add-one",
        "Metric": "cpu.control_loop",
        "Old": "12.3 M",
        "New": "12.6 M",
        "Difference": "+2.03 %",
        "Interval": "+1.20 % to +2.87 %",
        "Detects": "1.55 %",
        "Verdict": "regressed: more than before, beyond chance and threshold",
    }
    assert table.cells(MISSING) == (
        "nftables",
        "400",
        "steady cluster_ip last",
        "forwarding.connect",
        *["-"] * 5,
        "not-comparable: not measured with new",
    )


def test_the_table_for_people_holds_what_is_judged_unless_all_is_asked_for() -> None:
    def text(*, everything: bool) -> str:
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(table.terminal_table(OUTCOME, everything=everything))
        return console.export_text()

    assert "kube-proxy, old: v1.33.13, new: v1.38.0 (./kube-proxy), by the instruction clock" in text(everything=False)
    assert "memory.control_loop" not in text(everything=False)
    assert "(same)" in text(everything=True)


def test_a_comment_for_a_pull_request() -> None:
    text = table.to_markdown(OUTCOME, ["kube-proxy nftables: did not start"])
    assert text.splitlines() == [
        "### proxybench ab: 2 judged at 1 % of the base: 1 regressed, 1 not-comparable; undecided: forwarding.connect",
        "",
        "`v1.33.13` → `v1.38.0 (./kube-proxy)`, by the instruction clock, in turns in one run",
        "",
        "| Mode | Services | Scenario | Metric | Old | New | Difference | Interval | Detects | Verdict |",
        "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        (
            "| iptables (iptables=legacy) | 400 | add-one | cpu.control_loop | 12.3 M | 12.6 M | +2.03 % "
            "| +1.20 % to +2.87 % | 1.55 % | regressed: more than before, beyond chance and threshold |"
        ),
        (
            "| nftables | 400 | steady cluster_ip last | forwarding.connect | - | - | - | - | - "
            "| not-comparable: not measured with new |"
        ),
        "",
        (
            "The intervals of all 2 judged numbers hold at once with 99.85 % confidence: each is one of 99.925 % "
            "(Bonferroni). Times are counts of executed instructions (k, M, G): work, no seconds. "
            "Measured, but not judged: 1 more."
        ),
        "",
        "- not measured: kube-proxy nftables: did not start",
    ]


def test_lines_and_json() -> None:
    assert table.line(WORSE) == "regressed, 12.3 M instructions -> 12.6 M instructions, +2.03 % (+1.20 % to +2.87 %)"
    assert table.line(MISSING) == "not-comparable: not measured with new"
    open_end = replace(WORSE, high=math.inf, base_uncertainty=13_000_000.0)
    assert table.cells(open_end)[4:8] == ("≤ 25.3 M", "12.6 M", "+2.03 %", "above +1.20 %")
    assert table.line(open_end) == "regressed, ≤ 25.3 M instructions -> 12.6 M instructions, +2.03 % (above +1.20 %)"
    found = table.as_json(OUTCOME, Path("results/ab/1"), ["p"])
    assert (found["run"], found["problems"], found["base"], found["exit_code"]) == (
        "results/ab/1",
        ["p"],
        "v1.33.13",
        1,
    )
    assert [row["relative"] for row in found["comparisons"]] == [0.0203, None, None]
