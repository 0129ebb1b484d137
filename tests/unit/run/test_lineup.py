from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UnavailableError
from proxybench.experiment.requests import SubjectSpec, requests
from proxybench.experiment.spec import Experiment
from proxybench.run.lineup import line_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.subjects.driver import ProxyDriver

GONE = UnavailableError("kube-proxy v1.25.16 cannot be had: there is no network and no Go")


class Finds:
    """Tells every subject's version, or that it cannot be had."""

    def __init__(self, version: str, error: UnavailableError | None = None) -> None:
        self.version = version
        self.error = error

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        if self.error:
            raise self.error
        return replace(spec, subject=replace(spec.subject, version=self.version))

    def source(self, spec: SubjectSpec) -> str:
        return f"found as {spec.subject.version}"


def asked(*subjects: Mapping[str, object]) -> tuple[SubjectSpec, ...]:
    scale = {"services": [10]}
    words = {"version": 1, "name": "t", "subjects": subjects, "scale": scale, "measure": {"cpu": True}}
    return requests(Experiment.model_validate(words))


def drivers(kube_proxy: Finds) -> dict[str, ProxyDriver]:
    return {"kube-proxy": kube_proxy, "reference": Finds("0.1.0")}  # type: ignore[dict-item] # resolve and source are all it asks


FILE = {"kind": "kube-proxy", "path": "mine", "mode": "iptables"}
OLD = {"kind": "kube-proxy", "version": "v1.25.16", "mode": "userspace"}


def test_the_version_of_a_file_is_told_by_its_driver() -> None:
    notes: list[str] = []
    lineup = line_up(asked(FILE), drivers(Finds("v1.37.2")), notes.append)
    assert [subject.version for subject in lineup.specs] == ["v1.37.2"]
    assert list(lineup.sources.items()) == [(subject, "found as v1.37.2") for subject in lineup.specs]
    assert (lineup.missing, notes) == ({}, [])


def test_what_cannot_be_had_ends_the_run() -> None:
    with pytest.raises(UnavailableError) as raised:
        line_up(asked(OLD), drivers(Finds("", GONE)), pytest.fail)
    assert raised.value is GONE


def test_the_reference_stands_in_under_its_own_name_where_the_experiment_says_so() -> None:
    notes: list[str] = []
    lineup = line_up(asked({**OLD, "otherwise": "reference"}), drivers(Finds("", GONE)), notes.append)
    assert [(subject.kind, subject.version, str(subject.mode)) for subject in lineup.specs] == [
        ("reference", "0.1.0", "userspace")
    ]
    assert list(lineup.missing.values()) == [str(GONE)]
    assert notes == [
        f"kube-proxy v1.25.16 userspace (iptables=legacy) is not measured: {GONE}",
        "reference 0.1.0 userspace (iptables=legacy) is measured in its place, under its own name",
    ]


def test_what_may_be_skipped_is_left_out_by_name() -> None:
    wanted = asked({**OLD, "otherwise": "skip"}, {"kind": "reference", "mode": "ipvs"})
    lineup = line_up(wanted, drivers(Finds("", GONE)), print)
    assert [subject.kind for subject in lineup.specs] == ["reference"]
    assert [subject.version for subject in lineup.missing] == ["v1.25.16"]
