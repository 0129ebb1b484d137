from __future__ import annotations

import pytest

from proxybench.experiment.spec import LoadSpec, MeasureSpec
from proxybench.scenarios.plan import batch_size, not_applicable, plan
from proxybench.testing.model import make_cell

ALL = MeasureSpec.model_validate(
    {
        "sync": {
            "scenarios": ["add-batch", "new-service", "delete-one", "cold-start", "change-endpoint", "add-one"],
            "batch": "10%",
        },
        "cpu": True,
        "forwarding": True,
    }
)
LOAD = LoadSpec(rate=10, at=(100,))


def names(measure: MeasureSpec, load: LoadSpec | None = None, services: int = 100) -> list[str]:
    return [scenario.name for scenario in plan(measure, load, make_cell(services=services))]


def test_this_is_what_happens_in_which_order() -> None:
    assert names(ALL, LOAD) == [
        "connecting without rules",
        "cold start",
        "conformance",
        "forwarding",
        "established connections",
        "idle",
        "load",
        "add-one",
        "change-endpoint",
        "delete-one",
        "new-service",
        "add-batch",
    ]


def test_changes_to_one_service_are_repeated_in_rounds_and_it_is_put_back_between_them() -> None:
    thrice = ALL.model_copy(update={"sync": ALL.sync and ALL.sync.model_copy(update={"times": 3})})
    changes = ["add-one", "change-endpoint", "delete-one"]
    usual = names(ALL)
    again = ["putting back", *changes]
    assert names(thrice) == [*usual[:-2], *again, *again, "new-service", "add-batch"]


@pytest.mark.parametrize("changes", [["change-endpoint"], ["delete-one"], ["change-endpoint", "delete-one"]])
def test_what_is_changed_without_having_been_added_is_there_before(changes: list[str]) -> None:
    """A change of nothing was waited for until its time was up, and a deletion of nothing took no time."""
    sync = {"scenarios": changes, "times": 2}
    there = ["the Service to change", *changes]
    assert names(MeasureSpec.model_validate({"sync": sync}))[2:] == [*there, "putting back", *there]
    added = names(MeasureSpec.model_validate({"sync": {"scenarios": ["add-one", *changes]}}))
    assert added[2:] == ["add-one", *changes]


def test_what_nothing_can_be_measured_without_is_vital_and_always_there() -> None:
    bare = plan(MeasureSpec(), None, make_cell())
    assert [(scenario.name, scenario.vital) for scenario in bare] == [("cold start", True), ("conformance", True)]
    assert [one.name for one in plan(ALL, LOAD, make_cell(services=100)) if one.vital] == ["cold start", "conformance"]


@pytest.mark.parametrize(
    ("measure", "further"),
    [
        ({"cpu": True}, ["idle"]),
        ({"sync": {"scenarios": ["delete-one"]}}, ["the Service to change", "delete-one"]),
        ({"sync": {"scenarios": ["cold-start"]}}, []),
    ],
)
def test_what_is_not_asked_for_does_not_happen(measure: dict[str, object], further: list[str]) -> None:
    assert names(MeasureSpec.model_validate(measure)) == ["cold start", "conformance", *further]


def test_without_round_trips_there_is_no_control() -> None:
    measure = MeasureSpec.model_validate({"forwarding": {"established": 0}})
    assert names(measure) == ["connecting without rules", "cold start", "conformance", "forwarding"]


def test_a_load_runs_at_its_sizes_only() -> None:
    assert "load" not in names(ALL, LOAD, services=10)


@pytest.mark.parametrize(("services", "size"), [(100, 10), (1000, 100)])
def test_a_batch_is_a_share_of_the_cell(services: int, size: int) -> None:
    assert batch_size(ALL, make_cell(services=services)) == size


def test_no_batch_needs_no_slices() -> None:
    measure = MeasureSpec.model_validate({"sync": {"scenarios": ["add-one"], "batch": 5}})
    assert batch_size(measure, make_cell()) == 0


def test_a_proxy_that_is_watched_as_it_is_is_neither_started_nor_connected_without() -> None:
    watched = [one.name for one in plan(ALL, None, make_cell(services=100), starts=False)]
    assert watched[:3] == ["watching the running proxy", "conformance", "forwarding"]
    assert set(names(ALL)) - set(watched) == {"connecting without rules", "cold start"}
    why = "not applicable, since the cluster's own proxy is neither started nor stopped for it"
    assert not_applicable(ALL, starts=False) == f"cold-start, forwarding.bare: {why}"
    assert not_applicable(ALL, starts=True) == not_applicable(MeasureSpec(), starts=False) == ""


def test_events_come_last_in_an_order_of_their_own() -> None:
    measure = MeasureSpec.model_validate({"sync": {"scenarios": ["add-one"]}, "events": True})
    assert names(measure)[2:] == [
        "add-one",
        *("repair-service", "repair-endpoints", "repair-jump", "repair-table"),
        *("restart", "restart-changed", "change-idle", "change-busy", "add and remove an endpoint"),
        *("roll-service", "roll-deployment"),
        *("scale to zero and back", "change-udp", "change-udp-tracked", "mass create and delete", "full-sync"),
    ]
    paths = MeasureSpec.model_validate({"sync": {"scenarios": ["delete-paths", "add-one"]}})
    assert names(paths)[2:] == ["add-one", "add and delete by path"]
    one = MeasureSpec.model_validate({"events": {"scenarios": ["scale-from-zero"]}})
    assert names(one) == ["cold start", "conformance", "scale to zero and back"]


def test_nothing_happens_to_a_cluster_whose_proxy_is_not_ours() -> None:
    measure = MeasureSpec.model_validate({"events": True, "migrate": {"to": "nftables"}, "soak": True})
    assert [one.name for one in plan(measure, None, make_cell(), starts=False)] == [
        "watching the running proxy",
        "conformance",
    ]
    assert not_applicable(measure, starts=False).startswith("events, migrate, soak: not applicable, since ")
    assert [one.name for one in plan(measure, None, make_cell())][-3:] == ["migration", "migration, cleaned up", "soak"]
