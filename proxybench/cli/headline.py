"""The few figures that a run ends with on the terminal: what each mode costs at each size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from proxybench.cli.terminal import plain_table
from proxybench.model import ClockKind, Metric, Mode, Position, Scenario, Subject, parse_settings
from proxybench.report.criteria import FEW
from proxybench.report.families import shown
from proxybench.report.words import subject_names
from proxybench.units import resolved, short, shown_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table

    Record = Mapping[str, object]


@dataclass(frozen=True)
class _Headline:
    title: str
    metric: Metric
    scenarios: tuple[Scenario, ...]
    positions: tuple[Position, ...]


# The first scenario and position that the run has are taken.
_HEADLINES = (
    _Headline(
        "sync",
        Metric.SYNC_END_TO_END,
        (Scenario.ADD_ONE, Scenario.COLD_START, Scenario.CHANGE_ENDPOINT, Scenario.DELETE_ONE),
        tuple(Position),
    ),
    _Headline("all written", Metric.SYNC_PROGRAMMED, (Scenario.COLD_START,), tuple(Position)),
    _Headline(
        "CPU of the control loop",
        Metric.CPU_CONTROL_LOOP,
        (Scenario.COLD_START, Scenario.ADD_ONE, Scenario.CHANGE_ENDPOINT, Scenario.IDLE),
        tuple(Position),
    ),
    _Headline(
        "new connection",
        Metric.FORWARDING_CONNECT,
        tuple(Scenario),
        (Position.LAST, Position.MIDDLE, Position.FIRST, Position.NONE),
    ),
)


def headline_table(records: Sequence[Record]) -> Table:
    """Return the table for records as in summary.json: medians, one row per size and figure, one column per subject.

    The clock stands in the head where there is one only, so that four modes fit into 100 columns.
    """
    names = subject_names(map(_subject, records))
    columns = list(names.values())
    clocks = sorted({str(record["clock"]) for record in records}, key=lambda clock: clock != ClockKind.WALL)
    head = f"median ({clocks[0]})" if len(clocks) == 1 else "median"
    table = plain_table("Services", "endpoints", head, *columns, numbers=("Services", "endpoints", *columns))
    sizes = sorted({_size(record) for record in records})
    for size in sizes:
        for clock, headline in product(clocks, _HEADLINES):
            here = [record for record in records if (_size(record), record["clock"]) == (size, clock)]
            found = _pick(headline, here)
            if found:
                values = {names[_subject(record)]: _median(record) for record in found}
                name = _name(headline, found[0], with_clock=len(clocks) > 1)
                table.add_row(str(size[0]), str(size[1]), name, *(values.get(column, "-") for column in columns))
    return table


def few_repetitions(records: Sequence[Record]) -> tuple[str, ...]:
    """Say of how many numbers the page says, one by one, that they rest on few repetitions."""
    few = sum(int(str(record["repetitions"])) < FEW for record in records)
    return (f"{few} of {len(records)} numbers rest on fewer than {FEW} repetitions",) if few else ()


def _subject(record: Record) -> Subject:
    settings = parse_settings(str(record["settings"]))
    subject = Subject(str(record["kind"]), str(record["version"]), Mode(str(record["mode"])), settings)
    return shown(subject, str(record.get("family", "ipv4")))


def _pick(headline: _Headline, records: Iterable[Record]) -> list[Record]:
    of_metric = [record for record in records if record["metric"] == headline.metric]
    for scenario in headline.scenarios:
        for position in headline.positions:
            found = [
                record for record in of_metric if record["scenario"] == scenario and record["position"] == position
            ]
            if found:
                return found
    return []


def _name(headline: _Headline, record: Record, *, with_clock: bool) -> str:
    """Name the scenario, except that a new connection has none: there it is the rule's position that counts."""
    steady = record["scenario"] == Scenario.STEADY
    what = f"{record['position']} position" if steady else str(record["scenario"])
    return f"{headline.title}, {what}" + (f" ({record['clock']})" if with_clock else "")


def _size(record: Record) -> tuple[int, int]:
    return int(str(record["services"])), int(str(record["endpoints_per_service"]))


def _median(record: Record) -> str:
    median = record["median"]
    unit = shown_unit(str(record["unit"]), str(record["clock"]))
    unsure = record.get("uncertainty")
    if not isinstance(median, int | float):
        return "-"
    if _timed_out(record):
        return f"> {short(float(median), unit)}"
    return resolved(float(median), unit, float(unsure) if isinstance(unsure, int | float) else 0.0, short)


def _timed_out(record: Record) -> bool:
    """Tell whether at least half of the samples are time-outs, as the page does."""
    samples, late = (record.get(name) for name in ("n", "censored"))
    return isinstance(samples, int) and isinstance(late, int) and late > 0 and late >= samples - (samples // 2)
