"""Which subjects a run has, once each was found: their versions told, their programs at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxybench.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.model import Subject
    from proxybench.subjects.driver import ProxyDriver


@dataclass(frozen=True)
class Lineup:
    """``specs`` by subject, in the order of the experiment; ``missing``: why others cannot be had, in one line each.

    ``sources``: where the program of each came from.
    """

    specs: Mapping[Subject, SubjectSpec]
    missing: Mapping[Subject, str]
    sources: Mapping[Subject, str] = field(default_factory=dict)


def line_up(
    requests: Sequence[SubjectSpec], drivers: Mapping[str, ProxyDriver], report: Callable[[str], None]
) -> Lineup:
    """Let each driver find its subjects, or what is to be measured otherwise.

    Raises UnavailableError for a subject that cannot be had and for which the experiment names nothing else, and
    whatever else a driver raises.
    """
    specs: dict[Subject, SubjectSpec] = {}
    missing: dict[Subject, str] = {}
    sources: dict[Subject, str] = {}
    for request in requests:
        try:
            found = drivers[request.subject.kind].resolve(request)
        except UnavailableError as error:
            if request.otherwise is None and not request.optional:
                raise
            missing[request.subject] = str(error)
            report(f"{request.subject.label} is not measured: {error}")
            if request.otherwise is None:
                continue
            found = drivers[request.otherwise.subject.kind].resolve(request.otherwise)
            report(f"{found.subject.label} is measured in its place, under its own name")
        if found.subject not in specs:
            specs[found.subject] = found
            sources[found.subject] = drivers[found.subject.kind].source(found)
    return Lineup(specs, missing, sources)
