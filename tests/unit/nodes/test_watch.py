from __future__ import annotations

from proxybench.nodes.watch import Answers, BeginWatch, EndWatch, HeldSeen, Outage, Seen, Stretch, Watched

ANSWER = {
    "start_ns": 100,
    "end_ns": 900,
    "cpu_ns": 7,
    "targets": {
        "a": {
            "stretches": [
                {"outcome": "answered", "first_ns": 100, "last_ns": 200, "count": 11},
                {"outcome": "silent", "first_ns": 212, "last_ns": 300, "count": 9},
                {"outcome": "refused", "first_ns": 310, "last_ns": 400, "count": 10},
            ],
            "answers": {"10.0.0.1": {"count": 11, "first_ns": 100, "last_ns": 200}},
            "gap_ns": 12,
        }
    },
    "held": {"h": {"longest_ns": 50, "broken": "reset"}},
}


def seen(*stretches: tuple[str, int, int, int]) -> Seen:
    return Seen(tuple(Stretch(*one) for one in stretches), {}, 10)


def test_an_answer_is_read() -> None:
    found = EndWatch(7).decode(ANSWER)
    assert (found.start_ns, found.end_ns, found.cpu_ns) == (100, 900, 7)
    target = found.targets["a"]
    assert target.answers == {"10.0.0.1": Answers(11, 100, 200)}
    assert (target.attempts, target.lost, target.count("refused"), target.gap_ns) == (30, 9, 10, 12)
    assert found.held == {"h": HeldSeen(50, "reset")}


def test_a_request_names_its_targets() -> None:
    wire = BeginWatch(
        (Watched("a", "10.96.0.1", 80, expect=("10.0.0.1",)), Watched("b", "10.96.0.2", 53, "udp"))
    ).wire()
    address = {"port": 80, "kind": "tcp", "interval_ms": 5, "timeout_ms": 900}
    assert wire["targets"][0] == {"label": "a", "host": "10.96.0.1", **address, "expect": ("10.0.0.1",)}
    assert "expect" not in wire["targets"][1]


def test_an_outage_lasts_from_the_first_attempt_that_failed_to_the_first_that_was_answered() -> None:
    found = seen(
        ("answered", 0, 100, 11), ("silent", 112, 200, 9), ("refused", 210, 300, 10), ("answered", 315, 400, 9)
    )
    assert found.outages() == (Outage(112, 315, 12 + 15),)


def test_several_outages_and_one_that_never_ends() -> None:
    found = seen(("silent", 0, 10, 2), ("answered", 20, 30, 2), ("reset", 40, 40, 1), ("answered", 50, 60, 2))
    assert found.outages() == (Outage(0, 20, 10), Outage(40, 50, 20))
    assert seen(("answered", 0, 10, 2), ("silent", 20, 30, 2)).outages() == (Outage(20, None, 10),)
    assert seen(("answered", 0, 10, 2)).outages() == ()


def test_what_was_seen_between_two_moments() -> None:
    found = seen(("answered", 0, 100, 11), ("silent", 110, 210, 11), ("answered", 220, 300, 9)).between(160, 260)
    assert found.stretches == (Stretch("silent", 160, 210, 6), Stretch("answered", 220, 260, 4))
    assert seen(("silent", 5, 5, 1)).between(5, 9).stretches == (Stretch("silent", 5, 5, 1),)
    assert seen(("silent", 5, 5, 1)).between(6, 9).stretches == ()
