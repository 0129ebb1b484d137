"""A results disk that fills: whatever is being written then, nothing that was written down is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.full_disk import SAMPLES

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
    pytest.mark.timeout(150),
]
HOME = Path(__file__).parents[2]
STEPS = 3


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    disk = tmp_path_factory.mktemp("disk")
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.lab.full_disk", str(disk)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=140, check=False, cwd=HOME)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kind_of_write_failed_once_with_one_line_that_says_what_helps(found: list[dict[str, Any]]) -> None:
    failed = [one for one in found[:-1] if one["error"] or one["problems"]]
    places = set()
    for one in failed:
        (line,) = filter(None, (one["error"], *one["problems"]))
        assert "\n" not in line
        assert ": cannot be written (No space left on device): free some space or choose another folder" in line
        assert one["code"] in {0, 3}  # 0: the run came to its end, incomplete, which the command ends in 3
        places.add(re.sub(r"[\d-]+", "", Path(line.partition(": ")[0]).name))
    assert {"manifest.json", "samples.parquet"} <= places
    assert {one["written"] for one in failed} == {0, 1, 2, 3}  # at each step, and at the end
    assert found[-2]["error"] == ""  # the largest holds all


def test_what_was_written_down_is_kept_and_the_rest_is_measured_when_there_is_room(found: list[dict[str, Any]]) -> None:
    for one in found[:-1]:
        if "kept" not in one:
            assert one["written"] == 0  # no run could begin
            continue
        assert one["kept"] >= one["written"], one
        assert (one["state"], one["rows"], one["left"]) == ("complete", STEPS * SAMPLES, []), one
        assert one["summaries"] > 0


def test_a_report_that_finds_no_room_says_so_and_spoils_nothing(found: list[dict[str, Any]]) -> None:
    last = found[-1]
    assert last["code"] == 3
    assert "cannot be written (No space left on device): free some space" in last["error"]
    assert (last["page"], last["rows"], last["whole"]) == (False, STEPS * SAMPLES, True)
