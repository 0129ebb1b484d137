"""From the numbers of a run with two subjects to a verdict on each. Pure but for reading the run's folder.

Both subjects are given one key, so that the gate's comparison can pair their numbers. They took turns within one run,
so no noise from run to run lies between them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.ab.experiment import NEW, OLD
from proxybench.gate.compare import compare
from proxybench.gate.outcome import Verdict
from proxybench.gate.side import Side, fingerprint, lacking, replicates
from proxybench.stats.series import collect

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from proxybench.gate.outcome import Comparison, Outcome
    from proxybench.gate.side import Replicates
    from proxybench.model import Key
    from proxybench.results.folder import RunFolder
    from proxybench.stats.series import Series

_NAME = "name"


def judge(
    folder: RunFolder,
    labels: tuple[str, str],
    *,
    threshold: float | None = None,
    only: Collection[str] = (),
    keep_going: bool = False,
) -> Outcome:
    """Compare the two subjects of a run; ``labels`` are what old and new are called. Raises ResultsError.

    A run that lacks steps gives an incomplete outcome, unless ``keep_going``: what was measured then decides.
    """
    old, new = sides_of(collect(folder.samples()), fingerprint(folder.manifest), labels)
    lacks = lacking(folder)
    if lacks and not keep_going:
        old = replace(old, incomplete=(lacks,))
    return compare_sides(old, new, threshold=threshold, only=only)


def sides_of(series: Sequence[Series], facts: Mapping[str, str], labels: tuple[str, str]) -> tuple[Side, Side]:
    """Part the numbers of one run by the names of their subjects. ``facts`` are the run's fingerprint."""
    parted: dict[str, dict[Key, Replicates]] = {OLD: {}, NEW: {}}
    for one in series:
        name = dict(one.key.subject.settings).get(_NAME, "")
        if name in parted:
            parted[name][common_key(one.key)] = replicates([one])
    return Side(labels[0], facts, parted[OLD]), Side(labels[1], facts, parted[NEW])


def common_key(key: Key) -> Key:
    """Return the key that both subjects share: without what tells them apart, name and version."""
    settings = tuple((name, value) for name, value in key.subject.settings if name != _NAME)
    return replace(key, subject=replace(key.subject, version="", settings=settings))


def compare_sides(old: Side, new: Side, *, threshold: float | None = None, only: Collection[str] = ()) -> Outcome:
    """Compare two sides of one run, number by number; what one of them lacks is named."""
    outcome = compare(old, new, threshold=threshold, only=only, same_run=True)
    return replace(outcome, comparisons=tuple(_named(item, new) for item in outcome.comparisons))


def _named(item: Comparison, new: Side) -> Comparison:
    if item.verdict is not Verdict.NOT_COMPARABLE:
        return item
    return replace(item, reason=f"not measured with {OLD if item.key in new.series else NEW}")
