from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from proxybench.cli.terminal import plain_table, print_json, print_table

if TYPE_CHECKING:
    import pytest


def test_brackets_in_a_table_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("node", "cost", numbers=("cost",))
    table.add_row("/runs/[1]/[red]x[/]:warning:", "3")
    print_table(table)
    assert capsys.readouterr().out == "node                          cost\n/runs/[1]/[red]x[/]:warning:     3\n"


def test_what_has_no_end_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"high": math.inf, "all": (1.5, [-math.inf, math.nan]), "name": "é"})
    out = capsys.readouterr().out
    assert "é" in out
    assert json.loads(out, parse_constant=lambda word: f"no JSON: {word}") == {
        "high": None,
        "all": [1.5, [None, None]],
        "name": "é",
    }
