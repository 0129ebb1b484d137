from __future__ import annotations

import json
from typing import Any

import pytest

from proxybench.errors import UsageError
from proxybench.load.command import Part, build_request, locustfile, time_limit, warm
from proxybench.load.plan import LoadPlan, Target

TARGETS = (Target("10.96.0.1", 80, ("10.244.0.1",)),)


def plan(**changes: Any) -> LoadPlan:
    words: dict[str, Any] = {
        "targets": TARGETS,
        "rate_per_user": 10.0,
        "users": 4,
        "duration_s": 2.5,
        "timeout_ms": 1500,
    }
    return LoadPlan(**(words | changes))


def test_the_time_grid() -> None:
    made = plan()
    assert (made.period_ns, made.slots_per_user) == (100_000_000, 25)


def test_the_file_for_the_node() -> None:
    assert json.loads(plan().to_json("/w/out")) == {
        "targets": [{"address": "10.96.0.1", "port": 80, "endpoints": ["10.244.0.1"]}],
        "rate_per_user": 10.0,
        "users": 4,
        "duration_s": 2.5,
        "timeout_ms": 1500,
        "output": "/w/out",
        "period_ns": 100_000_000,
        "slots_per_user": 25,
        "duration_ns": 2_500_000_000,
        "timeout_ns": 1_500_000_000,
        "place": 0,
        "clients": 1,
        "offset_ns": 0,
    }


def test_the_file_for_one_of_several_clients() -> None:
    read = json.loads(plan().to_json("/w/out", 1, 2, -7))
    assert (read["place"], read["clients"], read["offset_ns"], read["users"]) == (1, 2, -7, 4)


def test_users_that_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match=r"^load\.users is 4, which 3 clients cannot share evenly$"):
        plan().to_json("/w/out", 0, 3)


@pytest.mark.parametrize("changes", [{"targets": ()}, {"targets": (Target("10.96.0.1", 80, ()),)}])
def test_nothing_to_connect_to(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^a load needs at least one target, each with at least one endpoint$"):
        plan(**changes)


@pytest.mark.parametrize("word", ["rate_per_user", "users", "duration_s", "timeout_ms"])
def test_nothing_may_be_zero(word: str) -> None:
    with pytest.raises(
        UsageError,
        match=r"^rate_per_user, users, duration_s and timeout_ms of a load must be greater than 0$",
    ):
        plan(**{word: 0})


def test_too_short_a_load() -> None:
    with pytest.raises(UsageError, match=r"^the load is too short for one connection per user$"):
        plan(rate_per_user=0.1)


def test_the_request() -> None:
    line = build_request(plan(), Part("/w"))
    assert "\n" not in line
    assert json.loads(line) == {
        "argv": [
            "locust",
            "--locustfile",
            "/w/locustfile.py",
            "--headless",
            "--only-summary",
            "--loglevel",
            "WARNING",
            "--users",
            "4",
            "--spawn-rate",
            "4",
            "--run-time",
            "10s",
            "--stop-timeout",
            "2",
            "--exit-code-on-error",
            "0",
        ],
        "plan": "/w/plan.json",
        "log": "/w/log",
        "limit_s": 70.5,
    }
    assert time_limit(plan()) == 70.5


def test_what_a_master_and_its_workers_are_told_beyond_that() -> None:
    alone = json.loads(build_request(plan(), Part("/w")))["argv"]
    worker = json.loads(build_request(plan(), Part("/w", port=4)))["argv"]
    assert worker == [*alone, "--worker", "--master-host", "127.0.0.1", "--master-port", "4"]
    master = json.loads(build_request(plan(), Part("/w", "master-", 4, 2)))
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", "4"]
    assert master["argv"] == [*alone, "--master", *bind, "--expect-workers", "2"]
    assert (master["plan"], master["log"]) == ("/w/master-plan.json", "/w/master-log")


def test_the_program_needs_nothing_of_ours() -> None:
    text = warm().decode()
    assert "import locust.main" in text
    assert "import proxybench" not in text
    assert "from proxybench" not in text


def test_the_locustfile_needs_nothing_of_ours() -> None:
    text = locustfile().decode()
    assert "class NewConnections(User)" in text
    assert "import proxybench" not in text
    assert "from proxybench" not in text
