from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.cli.terminal import plain_table, print_table

if TYPE_CHECKING:
    import pytest


def test_brackets_in_a_table_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("node", "cost", numbers=("cost",))
    table.add_row("/runs/[1]/[red]x[/]:warning:", "3")
    print_table(table)
    assert capsys.readouterr().out == "node                          cost\n/runs/[1]/[red]x[/]:warning:     3\n"
