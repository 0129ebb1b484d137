from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from proxybench.report.decision import JSON_NOTE
from proxybench.report.page import write, write_report
from proxybench.report.words import TIMES
from tests.unit.report.synthetic import synthetic_frame, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.results.folder import RunFolder

TWO = {"legacy": "1.8.9", "nft": "1.8.10"}
VOID = {"meta", "br", "input", "link", "img"}


class Page(HTMLParser):
    """Collects ids, references and attributes, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if (name := found.get("id")) is not None:
            self.ids.append(name)
        for value in found.values():
            self.references.update(re.findall(r"url\(#([^)]+)\)", value or ""))
        if (link := found.get("xlink:href")) is not None:
            self.references.add(link.removeprefix("#"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(run: RunFolder) -> str:
    return write_report(run.path.parent / "latest").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_lies_in_the_run(run: RunFolder, text: str) -> None:
    assert (run.path / "report.html").read_text() == text
    names = sorted(path.name for path in (run.path / "figures").iterdir())
    figures = (
        *("connect", "cpu", "established", "first-byte", "load", "memory", "sync-control-loop", "sync-end-to-end"),
        *("tax", "waiting-and-work"),
    )
    assert names == sorted(f"{figure}.{kind}" for figure in figures for kind in ("png", "svg"))
    for figure in figures:
        words = " ".join(re.findall(r">([^<]*)</text>", (run.path / "figures" / f"{figure}.svg").read_text()))
        clock = "no clock takes part" if figure == "memory" else "executed guest instructions, counted"
        assert clock in words
        assert "proxybench, scale, run" in words
    assert (run.path / "figures" / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_every_element_is_closed_and_every_id_is_unique(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.references <= set(page.ids)


def test_nothing_is_loaded_from_elsewhere(text: str, page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base", "form"}
    assert not [found for _, found in page.tags if found.keys() & {"src", "srcset", "action", "href"}]
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text


def test_the_policy_allows_our_script_only(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )


def test_words_of_a_run_are_escaped(text: str) -> None:
    assert "the canary &lt;b&gt;did not&lt;/b&gt; answer within 20 s" in text
    assert "<b>did not</b>" not in text


def test_every_caption_and_value_axis_names_the_clock(text: str) -> None:
    words = "instruction clock: executed guest instructions, counted — work, not real time"
    captions = re.findall(r"<caption>(.*?)</caption>", text, flags=re.DOTALL)
    without = ("before it is", "bytes; no clock takes part", "What this run has no", "What each number is")
    with_times = [caption for caption in captions if not any(word in caption for word in without)]
    assert {caption.split(":")[0] for caption in captions if without[1] in caption} == {"Memory of the control loop"}
    assert all(words in caption or "by the orchestrator" in caption for caption in with_times)
    labels = re.findall(r">((?:sync|time to|added|round|CPU)[^<]*\([^<]*)<", text)
    axis = [label for label in labels if "Service" not in label and words not in label]
    assert axis
    assert all(label.endswith("(no time)") for label in axis)
    assert re.findall(r"<text[^>]*>(peak[^<]*)<", text) == ["peak memory"]  # bytes are told by no clock


def test_drawings_take_their_colours_from_the_page(text: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) > 20
    assert not [match for drawing in drawings for match in re.findall(r"#[0-9a-f]{6}\b", drawing)]
    used = {name for drawing in drawings for name in re.findall(r"var\((--[a-z-]+)\)", drawing)}
    assert used >= {"--ink", "--mode-ipvs", "--mode-direct"}
    assert [name for name in (*used, "--mode-other") if f"{name}:" not in text] == []


def test_figures_are_described(page: Page) -> None:
    described = [found.get("aria-label") for _, found in page.tags if found.get("role") == "img"]
    assert len(described) == 10
    assert described[6] == (
        "Lines of instructions to first byte (no time), logarithmic, over Services, 3 panels. "
        "First rule, 100 Services: iptables 175 k, IPVS 171 k, userspace 472 k. "
        "Middle rule, 100 Services: iptables 176 k, IPVS 170 k, userspace 470 k. "
        "Last rule, 100 Services: iptables 177 k, IPVS 170 k, userspace 474 k. "
        "The table below holds medians and 95 % intervals, and its list of every point p90, p99 and counts."
    )
    assert len(set(described)) == len(described)


def test_steps_and_repetitions_have_the_manifests_numbers(run: RunFolder, text: str) -> None:
    rows = re.findall(r'<tr>\s*<th scope="row" class="n">(\d+)</th>\s*<td class="n">(\d+)</td>', text)
    assert rows == [(str(step.index), str(step.repetition)) for step in run.manifest.matrix]
    assert rows[0] == ("1", "1")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    frame = synthetic_frame(connects=2, sizes=(10,), repetitions=1)
    folder = synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], conformance=[], matrix=[])
    text = write_report(folder.path).read_text()
    assert "No figure: this run holds no samples of forwarding.connect." in text
    assert "The noise is not known: it takes at least two repetitions." in text
    assert "This run holds no samples of cpu.agent." in text
    assert {path.stem for path in (folder.path / "figures").iterdir()} == {"sync-end-to-end"}


def test_what_was_noted_and_where_a_program_came_from_are_said(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path, synthetic_frame(connects=1))
    first, *steps = run.manifest.matrix
    subject, *others = run.manifest.subjects
    prints = run.manifest.fingerprint
    nodes = {name: replace(facts, iptables=TWO, nft_version="1.0.6") for name, facts in prints.nodes.items()}
    run.write_manifest(
        replace(
            run.manifest,
            matrix=(replace(first, notes=("left on <node1>",)), *steps),
            subjects=(replace(subject, source="release x", config="logs/001.yaml"), *others),
            fingerprint=replace(prints, nodes=nodes),
        )
    )
    text = write_report(run.path).read_text()
    assert re.search(r"<h3>Noted</h3>\n<ul><li>[^<]+ repetition 1: left on &lt;node1&gt;</li>", text)
    assert f"{subject.subject.label}, release x: minSyncPeriod" in text
    assert "s, configuration logs/001.yaml</dd>" in text
    assert "<dt>iptables</dt><dd>1.8.9 (legacy), 1.8.10 (nft)</dd>\n<dt>nft</dt><dd>1.0.6</dd>" in text


def test_a_run_that_noted_nothing_says_nothing_of_it(text: str) -> None:
    assert "<h3>Noted</h3>" not in text
    assert "<dt>iptables</dt><dd>1.8.9 (legacy)</dd>\n<dt>Python</dt>" in text


def test_a_run_without_any_sample_still_has_a_page(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, synthetic_frame(connects=1).iloc[:0], state="interrupted")
    assert "Nothing can be compared" in write_report(folder.path).read_text()


def test_wall_clock_pages_do_not_warn(tmp_path: Path) -> None:
    frame = synthetic_frame(connects=2, sizes=(10,), repetitions=2, clock="wall")
    folder = synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], clock="wall")
    text = write_report(folder.path).read_text()
    assert "wall clock: real time on this machine" in text
    assert "instruction clock" not in text


def test_two_clocks_stand_side_by_side_and_are_never_mixed(tmp_path: Path) -> None:
    sizes, modes = (10, 100), ("iptables", "ipvs")
    both = [synthetic_frame(connects=2, sizes=sizes, modes=modes, clock=clock) for clock in ("wall", "instructions")]
    rows = both[0]["metric"] == "cpu.control_loop"
    both[0].loc[rows, "value"] = both[0].loc[rows, "value"] * 3
    frame = pd.concat(
        [each.astype({"metric": str, "scenario": str, "clock": str, "mode": str}) for each in both], ignore_index=True
    )
    lab = {"kind": "netns", "clock": "wall", "why": "asked for"}
    page = write_report(synthetic_run(tmp_path, frame, other_labs=[lab]).path).read_text()
    assert re.findall(r"<summary>((?:From ipt|At )[^<]*)</summary>", page) == [
        f"From iptables to IPVS at {size} Services with 2 endpoints each, {by}"
        for by in ("by the wall clock", "in work (counted instructions)")
        for size in (100, 10)
    ] + [f"At {size} Services with 2 endpoints each, by both clocks" for size in (100, 10)]
    chapters = re.findall(r'<h2 id="(cpu[^"]*)">([^<]*)</h2>', page)
    assert chapters == [("cpu", "CPU usage"), ("cpu-instructions", "CPU usage, in instructions")]
    assert len(re.findall(r"<caption>Slope and its 95 % interval", page)) == 2
    assert "<dt>where</dt><dd>netns lab; wall clock: real time on this machine. Chosen so: asked for</dd>" in page


def test_a_jump_is_told_at_the_top(tmp_path: Path, text: str) -> None:
    frame = synthetic_frame(connects=2, sizes=(200, 400, 800, 1200, 1600), repetitions=4)
    large = (frame["metric"] == "sync.end_to_end") & (frame["mode"] == "iptables") & (frame["services"] > 1000)
    frame.loc[large, "value"] = frame.loc[large, "value"] * 4
    page = write_report(
        synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], matrix=[]).path
    ).read_text()
    told = re.findall(
        r"<li>(iptables, sync latency, in instructions \(One Service added to N, last rule\): [^<]*)</li>", page
    )
    assert len(told) == 1
    assert told[0].endswith("% between 800 and 1,200 Services")
    assert "Jumps on the way" not in text


def test_waiting_counts_where_the_clock_allows_it(tmp_path: Path, text: str) -> None:
    frame = synthetic_frame(connects=4, sizes=(10,), repetitions=2, clock="wall")
    folder = synthetic_run(tmp_path, frame[frame["scenario"] == "load"], clock="wall")
    page = write_report(folder.path).read_text()
    assert '<h2 id="load-intended">Under load, from the intended start</h2>' in page
    assert "from before connect() to the first byte of the answer" in page
    assert "How late they began does not count here, but in the next figure." in page
    assert (folder.path / "figures" / "load-intended.png").exists()
    assert 'id="load-intended"' not in text
    assert "the generator&#39;s sleep is the host&#39;s time" in text


def test_relay_and_agent_have_shades_of_their_own(text: str) -> None:
    legends = re.findall(r'<ul class="legend".*?</ul>', text, flags=re.DOTALL)
    words = [re.findall(r"</svg>([^<]*)</li>", legend) for legend in legends]
    assert words[1] == ["building rules", "in tools it ran", "in system calls", "unexplained"]
    assert words[3] == [
        *("control loop, user", "control loop, not split", "control loop, system"),
        *("relay (data path in user space)", "node's softirq".replace("'", "&#39;"), "our agent"),
    ]
    assert words[5] == ["iptables", "IPVS", "userspace", "endpoint, no rules"]
    grey = re.search(r"<li>(<svg[^<]*<rect[^<]*</svg>)our agent", legends[3])
    assert grey is not None
    assert "fill:var(--mode-direct)" in grey[1]


def test_memory_is_of_the_highest_scenario_in_the_figure_and_of_each_in_the_list(text: str) -> None:
    section = text[text.index('<h2 id="memory">') : text.index('<h2 id="conformance">')]
    assert "Highest of all scenarios" in section
    assert "Steady state" not in section
    for scenario in ("Cold start with N Services", "One Service deleted"):
        assert len(re.findall(rf"<th[^>]*>\s*{scenario}\s*</th>", section)) == 6  # three modes at two sizes


def test_a_number_and_its_unit_stay_on_one_line(text: str) -> None:
    details = re.findall(r"<small>([^<]*)</small>", text[: text.index('<h2 id="measured">')])
    assert [detail for detail in details if re.search(r"\d ([kMG]|MiB)\b", detail)] == []
    assert [detail for detail in details if re.search("\\d\N{NO-BREAK SPACE}M", detail)]


def test_what_one_more_costs_is_told_at_the_top(text: str) -> None:
    first = text[text.index('<h2 id="decision">') : text.index('<h2 id="sync-end-to-end">')]
    assert '<h3 id="costs">What one more costs</h3>' in first
    assert "Slope and its 95 % interval over repetitions; flat: the interval holds 0 (instruction clock" in first
    assert "one rule in front of its own" in first


def test_a_terminal_can_be_told_what_the_page_says(tmp_path: Path) -> None:
    frame = synthetic_frame(connects=5, clock="wall", sizes=(100,), modes=("iptables", "ipvs"))
    moved = (frame["mode"] == "ipvs") & (frame["metric"] == "forwarding.bare")
    frame.loc[moved, "value"] = frame.loc[moved, "value"] * 2
    written = write(synthetic_run(tmp_path, frame, clock="wall").path)
    text = " ".join(html.unescape(written.page.read_text()).split())
    assert written.notes[0] == JSON_NOTE
    moved_by = f"should be {TIMES}1 and is {TIMES}2"
    assert re.match(rf"The control \(new connection, no rules, .*\) {moved_by}", written.notes[1])
    for note in written.notes:
        assert note in text
    assert written.missing == (
        "nftables: needs nft 1.0.1 or newer; node-1 has 0.9.8",
        "kube-proxy v1.37.2 iptables at 10,000 Services, repetition 3: the canary <b>did not</b> answer within 20 s",
    )


def test_work_alone_is_told_of_beside_the_tables_by_instructions(tmp_path: Path) -> None:
    wall = synthetic_frame(connects=5, clock="wall", sizes=(100,), modes=("iptables",))
    frame = pd.concat([wall, synthetic_frame(connects=5, sizes=(100,), modes=("iptables", "ipvs"))], ignore_index=True)
    lab = {"kind": "vm", "clock": "instructions", "accelerator": "tcg"}
    notes = write(synthetic_run(tmp_path, frame, clock="wall", other_labs=[lab]).path).notes
    assert notes[0].startswith("Counted instructions are work, not time")
    assert notes[1].startswith("Of IPVS only work is known")
