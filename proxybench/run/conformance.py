"""Looks at the conformance of each subject of an experiment on one cluster; nothing is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.conformance.ground import Ground, broken
from proxybench.conformance.play import examine, prepare
from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.experiment.spec import ProxierNodes
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.scenarios.result import StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from proxybench.conformance.play import Finding
    from proxybench.conformance.property import Property
    from proxybench.experiment.spec import Experiment
    from proxybench.kube.base import ServiceApi
    from proxybench.model import Subject
    from proxybench.run.testbed import Testbed
    from proxybench.scenarios.proxies import Proxies

SUBJECT_LIMIT_S = 1200.0
"""For all properties of one subject; on an emulated node each takes some seconds."""

_READY_LIMIT_S = 300.0


@dataclass(frozen=True)
class Examined:
    """What was found of a subject; ``problems``: why there is no more than that; ``skipped``: why nothing was tried."""

    subject: Subject
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    skipped: str = ""


def everywhere(experiment: Experiment) -> Experiment:
    """Return the experiment with a proxy on every node, which paths over another node need, and without load."""
    proxier = experiment.proxier.model_copy(update={"nodes": ProxierNodes.ALL})
    return experiment.model_copy(update={"proxier": proxier, "load": None})


@dataclass(frozen=True)
class Examination:
    """Looks at ``properties`` on a testbed; ``proxies`` makes a subject's proxies, ``lack`` says why it cannot run."""

    testbed: Testbed
    proxies: Callable[[Subject], Proxies]
    lack: Callable[[Subject], str]
    properties: Sequence[Property[Any]]
    report: Callable[[str], None]

    def walk(self, subjects: Iterable[Subject]) -> Iterator[Examined]:
        """Yield what was found of each subject, one after the other. Raises RunError for one that must be able to.

        Once an agent cannot be asked any more, nothing is tried.
        """
        for subject in subjects:
            if lack := broken(self.testbed.handles.values()) or self.lack(subject):
                yield Examined(subject, skipped=lack)
                continue
            self.report(f"{subject.label}: starting")
            yield self._examine(subject)

    def _examine(self, subject: Subject) -> Examined:
        ground = self.ground(subject)
        proxies, result = self.proxies(subject), StepResult()
        findings: list[Finding] = []
        try:
            findings.extend(self._look(ground, proxies))  # what was found until an error is kept
        except ProxybenchError as error:
            result.record_error("conformance", error)
            left = [one.name for one in self.properties[len(findings) :]]
            if result.lost and left:
                result.problems.append(f"conformance: not tried: {', '.join(left)}")
        finally:
            proxies.stop(result, "conformance")
        return Examined(subject, tuple(findings), tuple(result.problems))

    def _look(self, ground: Ground, proxies: Proxies) -> Iterator[Finding]:
        clear(ground.api)
        try:
            prepare(ground, self.properties)
            proxies.prepare()
            proxies.start_all(ground.deadline, _READY_LIMIT_S)
            label = ground.subject.label
            yield from examine(ground, self.properties, lambda claim: self.report(f"{label}: {claim}"))
        finally:
            clear(ground.api)

    def ground(self, subject: Subject) -> Ground:
        """Return what a subject's properties act through."""
        bed = self.testbed
        others, pod = bed.cluster.others, bed.cluster.pod
        return Ground(
            subject=subject,
            cluster=bed.cluster,
            plan=bed.plans[0],
            api=bed.api,
            client=bed.client,
            measured=bed.measured,
            other=bed.handles[others[0].name] if others else None,
            pod=bed.handles[pod.name] if pod else None,
            deadline=Deadline(bed.clock, SUBJECT_LIMIT_S, subject.label),
        )


def clear(api: ServiceApi) -> None:
    """Remove all our objects. Raises ApiError."""
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.ENDPOINTS):
        api.delete_collection(kind, NAMESPACE, SELECTOR)
