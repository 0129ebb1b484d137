"""The experiment that compares two kube-proxies, as an experiment file would write it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxybench.errors import UsageError
from proxybench.experiment.load import checked
from proxybench.experiment.requests import requests
from proxybench.experiment.source import Document
from proxybench.experiment.spec import REPEATED
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.ab.origin import Origin
    from proxybench.experiment.spec import Experiment

OLD, NEW = "old", "new"
"""The names of the two subjects: both may be the same version."""

SCENARIOS = (Scenario.COLD_START, Scenario.ADD_ONE, Scenario.CHANGE_ENDPOINT, Scenario.DELETE_ONE)
_FILE = "proxybench ab"  # stands where an experiment file's name would


@dataclass(frozen=True)
class Plan:
    """What is equal for both; each change is made ``times`` times within a repetition.

    ``overrides`` are "a.b=value" as for an experiment file.
    """

    modes: tuple[Mode, ...]
    services: tuple[int, ...] = (400,)
    repetitions: int = 6
    iptables: Backend = Backend.LEGACY
    times: int = 16
    scenarios: tuple[Scenario, ...] = SCENARIOS
    forwarding: bool = True
    overrides: Sequence[str] = field(default=())


def experiment_of(old: Origin, new: Origin, plan: Plan) -> Experiment:
    """Return the experiment: two subjects that differ in their name, and in what they are.

    Modes stand within subjects, so that the rotation of the matrix gives the two of a mode predecessors of one mode
    each. Raises ExperimentError for what is wrong in ``overrides`` or in the numbers, UsageError for other subjects.
    """
    document = Document(_FILE, _words(old, new, plan))
    for setting in plan.overrides:
        document.override(setting)
    experiment = checked(document)
    names = {dict(request.subject.settings).get("name") for request in requests(experiment)}
    if names != {OLD, NEW}:
        raise UsageError(f'{_FILE} compares two subjects that it calls "{OLD}" and "{NEW}"; leave out --set subjects')
    return experiment


def _words(old: Origin, new: Origin, plan: Plan) -> dict[str, Any]:
    times = {"times": plan.times} if REPEATED.intersection(plan.scenarios) else {}
    measure: dict[str, Any] = {
        "sync": {"scenarios": [str(scenario) for scenario in plan.scenarios], **times},
        "cpu": {"idle": "1s"},
    }
    if plan.forwarding:
        measure["forwarding"] = {"connections": 240, "established": 60, "positions": ["first", "last"]}
    return {
        "version": 1,
        "name": "ab",
        "description": f"{old.label} against {new.label}",
        "target": {"lab": {"kind": "vm", "clock": "instructions"}},
        "subjects": [_subject(OLD, old, plan), _subject(NEW, new, plan)],
        # The periodic full sync comes after the end, not into some measurement.
        "proxier": {"sync_period": "10m"},
        "scale": {"services": list(plan.services), "endpoints_per_service": [2]},
        "repetitions": plan.repetitions,
        "warmup": True,
        "measure": measure,
        "limits": {"cell": "20m", "run": "6h"},
    }


def _subject(name: str, origin: Origin, plan: Plan) -> dict[str, Any]:
    words: dict[str, Any] = {
        "kind": "kube-proxy",
        "name": name,
        str(origin.form): origin.value,
        "modes": [str(mode) for mode in plan.modes],
    }
    if any(mode is not Mode.NFTABLES for mode in plan.modes):
        words["iptables"] = str(plan.iptables)
    return words
