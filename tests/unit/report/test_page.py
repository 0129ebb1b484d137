from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from proxybench.report.page import write_report
from tests.unit.report.synthetic import synthetic_frame, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.results.folder import RunFolder

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
    assert names == [
        "added.png",
        "connect.png",
        "cpu.png",
        "established.png",
        "first-byte.png",
        "load.png",
        "memory.png",
        "sync-control-loop.png",
        "sync-end-to-end.png",
        "sync-parts.png",
    ]
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
    words = "instruction clock: 1 ns per executed guest instruction — not real time"
    captions = re.findall(r"<caption>(.*?)</caption>", text, flags=re.DOTALL)
    with_times = [caption for caption in captions if "winner" not in caption and "before it is" not in caption]
    assert all(words in caption or "orchestrator's clock" in caption for caption in with_times)
    labels = re.findall(r">((?:sync|time to|added|round|CPU|peak)[^<]*\([^<]*)<", text)
    axis = [label for label in labels if "Service" not in label and words not in label]
    assert axis
    assert all(label.endswith("(instruction clock, not real time)") for label in axis)


def test_drawings_take_their_colours_from_the_page(text: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) > 20
    assert not [match for drawing in drawings for match in re.findall(r"#[0-9a-f]{6}\b", drawing)]


def test_figures_are_described(page: Page) -> None:
    described = [found.get("aria-label") for _, found in page.tags if found.get("role") == "img"]
    assert len(described) == 10
    assert described[0] == (
        "Rule sync, end to end of iptables, IPVS and userspace at 10 to 100 Services;"
        " the table below holds the numbers."
    )


def test_steps_and_repetitions_have_the_manifests_numbers(run: RunFolder, text: str) -> None:
    rows = re.findall(r'<tr><th scope="row" class="n">(\d+)</th><td class="n">(\d+)</td>', text)
    assert rows == [(str(step.index), str(step.repetition)) for step in run.manifest.matrix]
    assert rows[0] == ("1", "1")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    frame = synthetic_frame(connects=2, sizes=(10,), repetitions=1)
    folder = synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], conformance=[], matrix=[])
    text = write_report(folder.path).read_text()
    assert "No figure: this run holds no samples of forwarding.connect." in text
    assert "The noise is not known: it takes at least two repetitions." in text
    assert "This run holds no samples of cpu.agent." in text
    assert [path.name for path in (folder.path / "figures").iterdir()] == ["sync-end-to-end.png"]


def test_a_run_without_any_sample_still_has_a_page(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, synthetic_frame(connects=1).iloc[:0], state="interrupted")
    assert "No question can be answered" in write_report(folder.path).read_text()


def test_wall_clock_pages_do_not_warn(tmp_path: Path) -> None:
    frame = synthetic_frame(connects=2, sizes=(10,), repetitions=2, clock="wall")
    folder = synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], clock="wall")
    text = write_report(folder.path).read_text()
    assert "wall clock: real time on this machine" in text
    assert "instruction clock" not in text


def test_a_jump_is_told_at_the_top(tmp_path: Path, text: str) -> None:
    frame = synthetic_frame(connects=2, sizes=(200, 400, 800, 1200, 1600), repetitions=4)
    large = (frame["metric"] == "sync.end_to_end") & (frame["mode"] == "iptables") & (frame["services"] > 1000)
    frame.loc[large, "value"] = frame.loc[large, "value"] * 4
    page = write_report(
        synthetic_run(tmp_path, frame[frame["metric"] == "sync.end_to_end"], matrix=[]).path
    ).read_text()
    told = re.findall(r"<li>(iptables, sync latency \(One Service added to N, last rule\): [^<]*)</li>", page)
    assert len(told) == 1
    assert told[0].endswith("% between 800 and 1,200 Services")
    assert "Jumps on the way" not in text
