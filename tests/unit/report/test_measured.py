from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.report.data import gather
from proxybench.report.measured import command, how_measured, methods_table, nodes, origin
from proxybench.report.sections import other_tables
from proxybench.report.steps import MOST, steps_table
from proxybench.results.manifest import manifest_from_dict
from tests.unit.kube.shapes import MIXED
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest

if TYPE_CHECKING:
    from proxybench.report.data import ReportData

MANIFEST = manifest_from_dict(synthetic_manifest("wall"), "synthetic")


def test_a_figure_says_where_it_comes_from() -> None:
    assert origin(MANIFEST) == (
        "proxybench, scale, run 20261123T083000Z-synth1; kube-proxy v1.37.2; Linux 6.1.192-amd64; medians over "
        "5 repetitions (incomplete)"
    )
    done = replace(MANIFEST, state="complete", matrix=tuple(step for step in MANIFEST.matrix if step.index <= 52))
    assert origin(done).endswith("; medians over 4 to 5 repetitions")


def test_a_run_tells_its_own_story(data: ReportData) -> None:
    story = dict(how_measured(data))
    assert story["where"] == (
        "vm lab (tcg); instruction clock: executed guest instructions, counted — work, not real time. Chosen so: this "
        "kernel has no ip_vs, and the VM has"
    )
    assert story["sizes"] == "10, 100, 1,000 and 10,000 Services with 2 endpoints each"
    assert story["how often"] == "5 repetitions; a number is the median of its repetitions' medians"
    assert story["steps"] == "59 of 60 done, 11 min of work"
    assert story["how sure"] == "intervals are never narrower than the steps of reading: none is known"


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (None, None),
        (True, "nobody else uses it; proxies are started there, each in a cgroup made for it"),
        (False, "others may use it, too; proxies run there, and are watched"),
    ],
)
def test_what_the_nodes_lend_is_told_where_the_run_knows(data: ReportData, ours: bool | None, text: str | None) -> None:
    lab = replace(data.manifest.lab, exclusive=ours, starts_proxies=ours)
    (name, facts), *_ = data.manifest.fingerprint.nodes.items()
    prints = replace(data.manifest.fingerprint, nodes={name: replace(facts, real_time=ours)})
    first, *others = data.manifest.subjects
    subjects = (replace(first, cgroup="/kube-proxy" if ours is False else None), *others)
    manifest = replace(data.manifest, lab=lab, fingerprint=prints, subjects=subjects)
    story = how_measured(replace(data, manifest=manifest))
    assert dict(story).get("what it lends") == text
    told = next(words for term, words in story if term == "subject")
    assert told.endswith(", CPU of cgroup /kube-proxy, in which nothing else was") is (ours is False)
    ((_, of_node),) = nodes(manifest)
    words = {
        None: None,
        True: "granted to probes",
        False: "not granted to probes: others may take their turn within a connection",
    }
    assert dict(of_node).get("real-time priority") == words[ours]


def test_a_subject_says_why_its_cpu_is_left_out(data: ReportData) -> None:
    first, *others = data.manifest.subjects
    manifest = replace(data.manifest, subjects=(replace(first, no_cpu="kube-proxy runs inside k3s-server"), *others))
    told = [words for term, words in how_measured(replace(data, manifest=manifest)) if term == "subject"]
    assert told[0].endswith(", CPU and memory left out: kube-proxy runs inside k3s-server")
    assert "left out" not in told[1]


def test_the_replay_of_a_profile_is_told_with_what_of_it_is_the_lab_s() -> None:
    steps = tuple(
        replace(step, cell=replace(step.cell, services=MIXED.size, endpoints_per_service=5, profile=MIXED.digest))
        for step in MANIFEST.matrix
    )
    experiment = {"scale": {"profile": MIXED.model_dump(mode="json")}}
    replayed = replace(MANIFEST, matrix=steps, experiment=experiment)
    assert dict(how_measured(gather(synthetic_frame(connects=2, sizes=(10,)), replayed)))["profile"] == (
        f"{MIXED.digest}: 76 Services (64 ClusterIP, 5 Headless, 3 LoadBalancer, 2 NodePort, 2 ExternalName) with 360 "
        "endpoints, as a cluster of 40 nodes had them, on the lab's nodes; and 9 of proxybench's own among them, which "
        "alone are connected to. Endpoints of each are told on the average"
    )
    assert f"; the 76 Services of profile {MIXED.digest};" in origin(replayed)


def test_what_numbers_are_uncertain_by_is_told() -> None:
    frame = synthetic_frame(connects=2, sizes=(10,))
    frame.loc[frame["metric"] == "sync.end_to_end", "uncertainty"] = 1_500_000
    assert dict(how_measured(gather(frame, MANIFEST)))["how sure"] == (
        "intervals are never narrower than the steps of reading: sync.end_to_end \N{PLUS-MINUS SIGN} 1.5 M "
        "instructions at most"
    )


def test_every_number_says_from_when_to_when_it_lies(data: ReportData) -> None:
    table = methods_table(data)
    assert table is not None
    rows = {row[0].detail: [cell.text for cell in row] for row in table.rows}
    assert rows["forwarding.connect"][:4] == ["Time to connect", "before connect()", "its return", "instructions"]
    assert set(rows) == {record.metric for record in data.records}


def test_what_no_chapter_shows_has_a_table_of_its_own(data: ReportData) -> None:
    titles = [table.caption.partition(":")[0] for table in other_tables(data)]
    window = "Length of the window in which CPU was counted, by the guest's clock (waiting counts)"
    assert titles == [f"{window} (cpu.window)"]


def test_a_metric_of_a_newer_program_is_shown_all_the_same() -> None:
    frame = synthetic_frame(connects=2, sizes=(10,), modes=("ipvs",))
    frame["metric"] = frame["metric"].cat.rename_categories({"cpu.window": "cpu.unheard_of"})
    data = gather(frame, MANIFEST)
    assert [table.caption.partition(":")[0] for table in other_tables(data)] == ["cpu.unheard_of"]
    table = methods_table(data)
    assert table is not None
    assert ["cpu.unheard_of", "not known to this program"] in [[row[0].text, row[5].text] for row in table.rows]


def test_of_many_steps_those_that_ended_well_are_left_out() -> None:
    assert len(steps_table(MANIFEST.matrix).rows) == 60
    many = steps_table(MANIFEST.matrix * (MOST // 60 + 1))
    assert [row[7].text for row in many.rows] == ["failed"] * (MOST // 60 + 1)
    assert "236 that are done are left out, manifest.json has them" in many.caption


def test_the_command_is_told_as_it_would_be_typed() -> None:
    assert command(MANIFEST) == "proxybench run experiments/scale.yaml"
    assert command(replace(MANIFEST, command="make run")) == "make run"
