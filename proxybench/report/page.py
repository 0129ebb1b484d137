"""The report: one self-contained HTML file, and its figures as SVG and PNG files beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from proxybench.report.clocks import by_clock, chapters_by_clock, jump_lines, side_by_side
from proxybench.report.colours import mode_classes, style
from proxybench.report.costs import cost_table, costs
from proxybench.report.crossings import all_crossings
from proxybench.report.data import SAMPLE_COLUMNS, gather
from proxybench.report.decision import decision
from proxybench.report.figure import compose, legend
from proxybench.report.layout import draw
from proxybench.report.measured import command, how_measured, made_of, methods_table, nodes, origin
from proxybench.report.missing import missing_lines, missing_table, noted_lines
from proxybench.report.png import png
from proxybench.report.quality import conformance_table, drift_table, noise_table, observer_table
from proxybench.report.sections import other_tables
from proxybench.report.steps import steps_table
from proxybench.report.svg import svg, svg_file
from proxybench.report.words import NBSP, clock_long, count, join
from proxybench.results.atomic import make_folder, write_bytes
from proxybench.results.folder import open_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.report.data import ReportData
    from proxybench.report.decision import Decision
    from proxybench.report.drawing import Drawing
    from proxybench.report.section import Section
    from proxybench.report.tables import Table
    from proxybench.results.folder import RunFolder

    Chapters = Sequence[tuple[Section, Sequence[Drawing]]]

REPORT = "report.html"


@dataclass(frozen=True)
class Written:
    """A report on the disk, and what it says beside its numbers, for who reads them elsewhere.

    ``notes`` stand beside the tables of the first screen, ``missing`` says what has no numbers, and why.
    """

    page: Path
    notes: tuple[str, ...]
    missing: tuple[str, ...]


_UNIT = re.compile(r"(\d) ((?:[nµm]?s|[KMG]iB|bytes|%|[kMG]|repetitions?)(?!\w))")


def write_report(run_dir: Path) -> Path:
    """Make ``report.html`` and ``figures/*.svg`` and ``*.png`` of a run from its samples, and return the page's path.

    ``run_dir`` as for ``open_run``. Raises ResultsError when the run cannot be read, RunError when the disk refuses.
    """
    return write(run_dir).page


def write(run_dir: Path) -> Written:
    """Do the same, and return what the page says beside its numbers, too."""
    folder = open_run(run_dir)
    data = gather(folder.samples(SAMPLE_COLUMNS), folder.manifest)
    chapters = [(chapter, _drawings(chapter)) for chapter in chapters_by_clock(data)]
    write_figures(folder, chapters)
    path = folder.path / REPORT
    first = decision(data.shown_series, data.subjects, data.manifest)
    write_bytes(path, render(data, chapters, first).encode())
    return Written(path, first.told, tuple(missing_lines(data.manifest)))


def write_figures(folder: RunFolder, chapters: Chapters) -> None:
    """Write an SVG and a PNG file per chapter that has panels, each with its caption and clock in it."""
    figures = folder.path / "figures"
    make_folder(figures)
    for chapter, drawings in chapters:
        if drawings:
            drawing = compose(chapter.panels, drawings, chapter.heading, (chapter.clock, origin(folder.manifest)))
            write_bytes(figures / f"{chapter.name}.png", png(drawing))
            write_bytes(figures / f"{chapter.name}.svg", svg_file(drawing, chapter.alt, style()).encode())


def render(data: ReportData, chapters: Chapters, first: Decision) -> str:
    """Return the page. Everything that comes from a run is escaped; only our own drawings and style are not."""
    environment = Environment(
        loader=PackageLoader("proxybench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keep_units"] = lambda text: _UNIT.sub(rf"\1{NBSP}\2", text)
    script = _file("report.js")
    return environment.get_template("report.html.j2").render(
        manifest=data.manifest,
        command=command(data.manifest),
        clock=_clock(data),
        not_real="instructions" in data.clocks,
        decision=first,
        both_clocks=side_by_side(data.shown_series, data.subjects),
        shown=_shown(data),
        crossings=all_crossings(data.series),
        jumps=jump_lines(data),
        not_measured=missing_table(data.manifest),
        noted=noted_lines(data.manifest),
        costs=[table for part in by_clock(data) if (table := cost_table(costs(part.series), _clock(part)))],
        chapters=[(chapter, [svg(drawing) for drawing in drawings]) for chapter, drawings in chapters],
        others=[table for part in by_clock(data) for table in other_tables(part)],
        legend=_legend,
        conformance=conformance_table(data.manifest.conformance),
        noise=[table for part in by_clock(data) if (table := _noise(part))],
        drift=[table for part in by_clock(data) if (table := _drift(part))],
        observer=[table for part in by_clock(data) if (table := _observer(part))],
        measured=how_measured(data),
        methods=methods_table(data),
        nodes=nodes(data.manifest),
        orchestrator=sorted(data.manifest.fingerprint.orchestrator.items()),
        experiment=orjson.dumps(data.manifest.experiment, option=orjson.OPT_INDENT_2).decode(),
        steps=steps_table(data.manifest.matrix),
        labs=[made_of(lab) for lab in data.manifest.labs],
        kernels=data.manifest.kernels(),
        samples=f"{sum(record.n for record in data.records):,}",
        style=Markup(style() + _file("report.css") + mode_classes()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _clock(data: ReportData) -> str:
    return "; ".join(clock_long(each) for each in reversed(data.clocks))  # real time first


def _noise(data: ReportData) -> Table | None:
    return noise_table(data.records, f"Half of the 95 % interval, relative to the median ({_clock(data)})")


def _drift(data: ReportData) -> Table | None:
    return drift_table(data.shown_series, f"How far the controls went, which no rules touch ({_clock(data)})")


def _observer(data: ReportData) -> Table | None:
    return observer_table(data, f"CPU of our own agent ({_clock(data)})")


def _shown(data: ReportData) -> str:
    """Say which sizes tables and stacks show, where they do not show all."""
    sizes = {record.services for record in data.records}
    if len(data.shown_sizes) == len(sizes):
        return ""
    return (
        f"Of {count(len(sizes), 'size')}, tables and stacks show {join([f'{size:,}' for size in data.shown_sizes])} "
        "Services; lines show all, and summary.csv holds every number."
    )


def _drawings(chapter: Section) -> list[Drawing]:
    return [draw(panel, chapter.panels) for panel in chapter.panels]


def _legend(chapter: Section) -> list[tuple[Markup, str]]:
    return [(svg(piece), text) for piece, text in legend(chapter.panels)]


def _file(name: str) -> str:
    return (resources.files("proxybench.report") / "templates" / name).read_text(encoding="utf-8")
