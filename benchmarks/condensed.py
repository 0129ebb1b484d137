"""A run condensed to what the pages of docs show of it: a small file that is committed, ``results/findings/NAME.json``.

Units and keys are those of a run's ``summary.json``; of its manifest stays what says where the numbers come from.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxybench.model import Mode, Subject, parse_settings, settings_text
from proxybench.report.words import human, short, subject_names
from proxybench.results.atomic import write_bytes
from proxybench.results.folder import open_run
from proxybench.units import INSTRUCTIONS, resolved, shown_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxybench.results.manifest import Step

HOME = Path(__file__).parent.parent
FOLDER = HOME / "results" / "findings"
_FIELDS = ("scenario", "position", "metric", "unit", "clock", "repetitions", "median", "ci_low", "ci_high")
_CLOCKS = {"wall": "wall", "instructions": "instruction"}

Size = tuple[int, int]
Pairs = Collection[tuple[str, str]]
"""What is shown: metrics, each of a scenario."""


@dataclass(frozen=True)
class Number:
    """One median with its 95 % interval; ``bounded``: it is only known to be at least that."""

    subject: Subject
    size: Size
    scenario: str
    position: str
    metric: str
    unit: str
    clock: str
    repetitions: int
    median: float
    ci_low: float | None
    ci_high: float | None
    bounded: bool
    uncertainty: float | None = None  # of a file from before it was kept: not known

    @property
    def shown_unit(self) -> str:
        """The unit in which people are told it."""
        return shown_unit(self.unit, self.clock)

    def text(self) -> str:
        """Write the median; of counted instructions without the noun, which stands at the row's head.

        A latency of 0 ended no later than its start was known, which is when the API server's answer had come: without
        a word of what its probe resolves, that is all that is known.
        """
        written = short if self.shown_unit == INSTRUCTIONS else human
        if self.bounded:
            return f"> {written(self.median, self.shown_unit)}"
        if self.metric.startswith("sync.") and not self.median and self.uncertainty is None:
            return "at once"
        return resolved(self.median, self.shown_unit, self.uncertainty or 0.0, written)


@dataclass(frozen=True)
class Condensed:
    """A run: ``machine`` and ``labs`` are words for people, ``missing`` what it could not measure, in one line each."""

    name: str
    run: str
    created: str
    state: str
    proxybench: str
    command: str
    description: str
    machine: str
    labs: tuple[str, ...]
    missing: tuple[str, ...]
    numbers: tuple[Number, ...]

    @property
    def clocks(self) -> tuple[str, ...]:
        """Its clocks, real time first."""
        return tuple(sorted({number.clock for number in self.numbers}, reverse=True))

    def by(self, clock: str) -> list[Number]:
        """Return the numbers by a clock."""
        return [number for number in self.numbers if number.clock == clock]


def condense(run: Path, wanted: Callable[[str], Pairs]) -> Condensed:
    """Read a run folder, of which ``wanted`` says by its name what is shown. Raises ResultsError."""
    folder = open_run(run)
    manifest = folder.manifest
    # Of two clocks the wall's: a guest's processor says nothing of this machine.
    node = max(manifest.fingerprint.nodes.items(), key=lambda named: named[0].endswith("(wall)"))[1]
    tables = ", ".join(f"{version} ({backend})" for backend, version in sorted(node.iptables.items()))
    command = manifest.command if isinstance(manifest.command, str) else shlex.join(manifest.command)
    own = manifest.fingerprint.orchestrator.get("kernel")
    return Condensed(
        name=manifest.name,
        run=folder.run,
        created=manifest.created[:10],
        state=manifest.state,
        proxybench=manifest.proxybench,
        command=f"proxybench {command.partition(' ')[2]}",
        description=str(manifest.experiment.get("description", "")),
        machine=(
            f"{node.cpus} processor{'' if node.cpus == 1 else 's'} ({node.cpu}), iptables {tables}, "
            f"nft {node.nft_version}"
        ),
        labs=tuple(f"{_CLOCKS[lab.clock]} clock, {_place(lab.kind, lab.kernel, own)}" for lab in manifest.labs),
        missing=tuple(_missing(manifest.matrix)),
        numbers=tuple(_number(record) for record in folder.summary() if _shown(record, wanted(manifest.name))),
    )


def save(found: Condensed, folder: Path = FOLDER) -> Path:
    """Write the committed file; one number a line, so that a diff can be read."""
    words: dict[str, Any] = {key: value for key, value in asdict(found).items() if key != "numbers"}
    head = json.dumps(words, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n".join(json.dumps(_row(number), ensure_ascii=False, separators=(",", ":")) for number in found.numbers)
    path = folder / f"{found.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, f'{head},\n "numbers": [\n{rows}\n]}}\n'.encode())
    return path


def load(path: Path) -> Condensed:
    """Read the committed file."""
    words: dict[str, Any] = json.loads(path.read_text("utf-8"))
    words["numbers"] = [_read(row) for row in words["numbers"]]
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in words.items()}
    return Condensed(**fields)


def names_of(numbers: list[Number]) -> dict[Subject, str]:
    """Return what to call the subjects, in the order in which they are first found."""
    return subject_names(number.subject for number in numbers)


def _missing(steps: Iterable[Step]) -> Iterator[str]:
    """Yield what could not be measured to its end, each reason once with its sizes."""
    found: dict[tuple[str, str], set[int]] = {}
    for step in steps:
        if step.problem:
            found.setdefault((step.cell.subject.label, step.problem), set()).add(step.cell.services)
    for (label, problem), sizes in found.items():
        places = ", ".join(f"{size:,}" for size in sorted(sizes))
        yield f"{label} at {places} Services: {problem.removeprefix(label).strip()}"


def _place(kind: str, kernel: str | None, own: object) -> str:
    return f"an emulated VM of Linux {kernel}" if kind == "vm" else f"network namespaces on Linux {own}"


def _shown(record: dict[str, Any], wanted: Pairs) -> bool:
    kept = (record["metric"], record["scenario"]) in wanted and record["position"] in {"last", "none"}
    return kept and record.get("family", "ipv4") == "ipv4"


def _number(record: dict[str, Any]) -> Number:
    words = [record[name] for name in ("kind", "version", "mode", "settings", "services", "endpoints_per_service")]
    bounded = record["censored"] * 2 >= record["n"]
    unsure = _short(float(record.get("uncertainty", 0.0)))
    return _read([*words, *(_short(record[name]) for name in _FIELDS), bounded, unsure])


def _short(value: Any) -> Any:  # noqa: ANN401 - a record's field
    """Round to four digits: more are not known."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _row(number: Number) -> list[Any]:
    subject = number.subject
    settings = settings_text(subject.settings)
    fields = [getattr(number, name) for name in (*_FIELDS, "bounded")]
    fields += [] if number.uncertainty is None else [number.uncertainty]
    return [subject.kind, subject.version, str(subject.mode), settings, *number.size, *fields]


def _read(row: list[Any]) -> Number:
    kind, version, mode, settings, services, endpoints, *fields = row
    return Number(Subject(kind, version, Mode(mode), parse_settings(settings)), (services, endpoints), *fields)
