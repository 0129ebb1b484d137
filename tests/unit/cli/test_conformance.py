from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
from proxybench.conformance.play import Finding
from proxybench.conformance.verdict import Outcome, Verdict
from proxybench.model import Mode, Subject
from proxybench.run.conformance import Examined
from tests.factories import stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.spec import Experiment

TEXT = "version: 1\nname: tiny\nmodes: [iptables, ipvs]\nscale: {services: [10]}\nmeasure: {sync: true}\n"
KEPT = Finding("vip-answers", "a ClusterIP answers", Verdict(Outcome.PASS, "n = 20: 20 by 10.244.0.1"))
BROKEN = Finding("vip-answers", "a ClusterIP answers", Verdict(Outcome.FAIL, "n = 20: 20 refused"))
UNABLE = Finding("local-drop", "it drops", Verdict(Outcome.NOT_SUPPORTED, "its log says so"))
OUT = Finding("hairpin", "a pod reaches itself", Verdict(Outcome.NOT_APPLICABLE, "the cluster has no pod"))
IPTABLES, IPVS = (Subject("reference", "0.1.0", mode) for mode in (Mode.IPTABLES, Mode.IPVS))


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is found; behind it, how it was asked for."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TEXT)
    ends: list[Any] = []

    def conform(experiment: Experiment, properties: Sequence[Any], **more: Any) -> tuple[Examined, ...]:
        found = tuple(ends)
        ends.append((experiment.name, [one.name for one in properties], more["folder"]))
        more["progress"].stage("building the lab")
        return found

    stand_in(monkeypatch, "proxybench.cli.measure", conform=conform)
    return ends


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["conformance", "tiny.yaml", *words])
    return done.exit_code, done.stdout, done.stderr


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_what_was_seen_stands_below_each_subject_and_all_of_them_in_a_matrix(ends: list[Any]) -> None:
    ends += [Examined(IPTABLES, (KEPT, OUT)), Examined(IPVS, (BROKEN,), ("it stopped",))]
    code, out, err = run()
    assert code == 3
    assert lines(out) == [
        "1. reference 0.1.0 iptables",
        "property     verdict         seen",
        "vip-answers  pass            n = 20: 20 by 10.244.0.1",
        "hairpin      not applicable  the cluster has no pod",
        "",
        "2. reference 0.1.0 ipvs",
        "property     verdict  seen",
        "vip-answers  fail     n = 20: 20 refused",
        "",
        "property     1               2",
        "vip-answers  pass            fail",
        "hairpin      not applicable",
    ]
    assert lines(err)[-1] == "error: reference 0.1.0 ipvs: it stopped"
    name, properties, folder = ends[-1]
    assert (name, len(properties), folder) == ("tiny", 18, Path())


def test_one_subject_for_which_all_holds_ends_well(ends: list[Any]) -> None:
    ends += [Examined(IPTABLES, (KEPT, OUT, UNABLE)), Examined(IPVS, skipped="it cannot run: no IPVS")]
    code, out, _ = run("--property", "vip-answers")
    assert code == 0
    assert "local-drop   not supported   its log says so" in lines(out)
    assert lines(out)[-1] == "2. reference 0.1.0 ipvs: not tried: it cannot run: no IPVS"
    assert ends[-1][1] == ["vip-answers"]


def test_as_json(ends: list[Any]) -> None:
    ends += [Examined(IPTABLES, (BROKEN,))]
    code, out, _ = run("--json")
    assert code == 3
    assert json.loads(out) == [
        {
            "subject": {"kind": "reference", "version": "0.1.0", "mode": "iptables", "settings": ""},
            "label": "reference 0.1.0 iptables",
            "properties": [
                {
                    "property": "vip-answers",
                    "claim": "a ClusterIP answers",
                    "outcome": "fail",
                    "evidence": "n = 20: 20 refused",
                }
            ],
            "problems": [],
            "skipped": "",
        }
    ]


def test_nothing_that_could_be_tried_is_no_pass(ends: list[Any]) -> None:
    ends += [Examined(IPTABLES, skipped="no kernel")]
    assert run()[0] == 3


def test_an_unknown_property_is_named_with_those_that_there_are(ends: list[Any]) -> None:
    code, _, err = run("--property", "vip")
    assert code == 2
    assert err.startswith("error: vip is no property of conformance; there are vip-answers, endpoint-shares, ")
