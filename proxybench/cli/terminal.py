"""Writing for people and for programs: data on standard output, everything else on standard error.

rich honours NO_COLOR and writes no colours where there is no terminal.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_WIDE = 200
"""Columns where no terminal says how wide it is: tables in logs and pipes are not to be folded."""


def errors_console() -> Console:
    """Return the console on standard error."""
    from rich.console import Console  # noqa: PLC0415 - rich takes longer to import than most verbs to run

    return Console(stderr=True, highlight=False)


def output_console() -> Console:
    """Return the console on whatever standard output is now; in a file or CI log, wide enough not to fold tables."""
    from rich.console import Console  # noqa: PLC0415 - as above

    class Output(Console):
        """Leaves a closed pipe to whoever called the verb: rich ends with 1, which is a regression here."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    console = Output(highlight=False)
    return console if console.is_terminal else Output(highlight=False, width=_WIDE)


def tell(line: str) -> None:
    """Write a line to standard error; that nobody reads there any more is no reason to end what is being done."""
    try:
        click.echo(line, err=True)
    except OSError:
        forget(sys.stderr)


def forget(stream: IO[str]) -> None:
    """Point a stream nowhere, lest the interpreter fails once more when it flushes it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_table(table: Table) -> None:
    """Write a table to standard output."""
    output_console().print(table)


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table without frame, its ``numbers`` columns to the right; texts are shown as they are."""
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    class Plain(Table):
        """Takes no brackets of a path or a name for markup."""

        def add_row(self, *cells: RenderableType | None, **options: Any) -> None:  # noqa: ANN401 - rich names them
            super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    table = Plain(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def print_json(data: object) -> None:
    """Write JSON to standard output, for people and programs alike; JSON has no infinity, so that is null."""
    click.echo(json.dumps(_finite(data), indent=2, ensure_ascii=False))


def _finite(data: object) -> object:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def human_seconds(seconds: float) -> str:
    """Write a span of time as a person would say it: "8 s", "2 min 05 s", "1 h 10 min"."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
