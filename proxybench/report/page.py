"""The report: one self-contained HTML file, and its figures as PNG files beside it."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from importlib import resources
from typing import TYPE_CHECKING

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from proxybench.report.costs import cost_table, costs
from proxybench.report.crossings import all_crossings
from proxybench.report.data import SAMPLE_COLUMNS, gather
from proxybench.report.decision import decision
from proxybench.report.layout import OPACITY, sample, scene, shade, square
from proxybench.report.missing import missing_lines, noted_lines
from proxybench.report.panels import BarPanel, names
from proxybench.report.png import figure_png
from proxybench.report.quality import conformance_table, noise_table, observer_table
from proxybench.report.sections import Section, sections
from proxybench.report.svg import svg
from proxybench.report.words import LOOKS, NBSP, OTHER, TIMES, clock_long, look_of, mode_name
from proxybench.results.atomic import write_bytes
from proxybench.results.folder import open_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.report.data import ReportData
    from proxybench.report.scene import Scene
    from proxybench.results.folder import RunFolder
    from proxybench.results.manifest import Manifest, NodeFacts

REPORT = "report.html"
_UNIT = re.compile(r"(\d) ((?:[nµm]?s|[KMG]iB|bytes|%)(?!\w))")


def write_report(run_dir: Path) -> Path:
    """Make ``report.html`` and ``figures/*.png`` of a run from its raw samples, and return the page's path.

    ``run_dir`` as for ``open_run``. Raises ResultsError when the run cannot be read, RunError when the disk refuses.
    """
    folder = open_run(run_dir)
    manifest = folder.manifest
    data = gather(folder.samples(SAMPLE_COLUMNS), manifest)
    chapters = [(chapter, _scenes(chapter)) for chapter in sections(data)]
    write_figures(folder, chapters)
    path = folder.path / REPORT
    write_bytes(path, render(data, chapters).encode())
    return path


def write_figures(folder: RunFolder, chapters: Sequence[tuple[Section, Sequence[Scene]]]) -> None:
    """Write one PNG per chapter that has panels."""
    figures = folder.path / "figures"
    figures.mkdir(exist_ok=True)
    for chapter, drawings in chapters:
        if drawings:
            footer = chapter.clock
            if chapter.shades:
                footer += f". Shades, dark to light: {chapter.shades}"
            picture = figure_png(chapter.panels, drawings, chapter.heading, footer)
            write_bytes(figures / f"{chapter.name}.png", picture)


def render(data: ReportData, chapters: Sequence[tuple[Section, Sequence[Scene]]]) -> str:
    """Return the page. Everything that comes from a run is escaped; only our own drawings and style are not."""
    environment = Environment(
        loader=PackageLoader("proxybench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keep_units"] = lambda text: _UNIT.sub(rf"\1{NBSP}\2", text)
    style, script = _file("report.css"), _file("report.js")
    clock = "; ".join(clock_long(each) for each in data.clocks)
    return environment.get_template("report.html.j2").render(
        manifest=data.manifest,
        command=_command(data.manifest),
        clock=clock,
        not_real="instructions" in data.clocks,
        decision=decision(data.series, data.subjects),
        crossings=all_crossings(data.series),
        jumps=[jump.sentence() for jump in data.jumps],
        subjects=[subject.label for subject in data.subjects],
        not_measured=missing_lines(data.manifest),
        noted=noted_lines(data.manifest),
        costs=cost_table(costs(data.series), clock),
        chapters=[(chapter, [svg(drawing) for drawing in drawings]) for chapter, drawings in chapters],
        legend=_legend,
        conformance=conformance_table(data.manifest.conformance),
        noise=noise_table(data.records, f"Half of the 95 % interval, relative to the median ({clock})"),
        observer=observer_table(data, f"CPU of our own agent ({clock})"),
        nodes=_nodes(data.manifest),
        orchestrator=sorted(data.manifest.fingerprint.orchestrator.items()),
        experiment=orjson.dumps(data.manifest.experiment, option=orjson.OPT_INDENT_2).decode(),
        steps=data.manifest.matrix,
        samples=f"{sum(record.n for record in data.records if record.metric != 'forwarding.added'):,}",
        mode_name=mode_name,
        style=Markup(style + _mode_style()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _scenes(chapter: Section) -> list[Scene]:
    return [scene(panel, chapter.panels) for panel in chapter.panels]


def _legend(chapter: Section) -> list[tuple[Markup, str]]:
    """Return the legend above a figure: lines as they are drawn, or modes and the shades of their stacks."""
    bars = [panel for panel in chapter.panels if isinstance(panel, BarPanel)]
    entries = [(svg(square(name.look) if bars else sample(name)), name.label) for name in names(chapter.panels)]
    shown = {part for panel in bars for _, stacks in panel.groups for bar in stacks for part, _ in bar.parts}
    return entries + [(svg(shade(part)), part) for part in OPACITY if part in shown]


def _nodes(manifest: Manifest) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return nodes with equal facts together, since most are alike."""
    alike: list[tuple[list[str], NodeFacts]] = []
    for name, facts in sorted(manifest.fingerprint.nodes.items()):
        same = next((names for names, other in alike if other == facts), None)
        if same is None:
            alike.append(([name], facts))
        else:
            same.append(name)
    return [(", ".join(names), _facts(facts)) for names, facts in alike]


def _facts(facts: NodeFacts) -> list[tuple[str, str]]:
    return [
        ("kernel", facts.kernel),
        ("CPU", f"{facts.cpus} {TIMES} {facts.cpu}"),
        ("memory", f"{facts.memory / 2**30:.3g} GiB"),
        ("iptables", ", ".join(f"{version} ({backend})" for backend, version in _iptables(facts).items())),
        *([("nft", facts.nft_version)] if facts.nft_version else []),
        ("Python", facts.python),
        *sorted(facts.sysctls.items()),
    ]


def _iptables(facts: NodeFacts) -> dict[str, str]:
    return facts.iptables or {facts.iptables_backend: facts.iptables_version}


def _command(manifest: Manifest) -> str:
    command = manifest.command
    return command if isinstance(command, str) else shlex.join(command)


def _mode_style() -> str:
    """Return the modes' colours as CSS variables, for light and for dark ground."""
    looks = {mode: look_of(mode) for mode in (*LOOKS, OTHER)}
    light = "".join(f"--mode-{mode}:{look.light};" for mode, look in looks.items())
    dark = "".join(f"--mode-{mode}:{look.dark};" for mode, look in looks.items())
    names = "".join(f".mode-{mode}{{--mode:var(--mode-{mode})}}" for mode in looks)
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{names}"


def _file(name: str) -> str:
    return (resources.files("proxybench.report") / "templates" / name).read_text(encoding="utf-8")
