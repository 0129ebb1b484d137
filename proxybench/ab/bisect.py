"""Where in a list of kube-proxies a number changed, by halves. Pure: what measures a pair is injected.

It is assumed that the number changed once and stayed so. Each one in the middle is compared with the first, not with
its neighbour, so that many small steps in one direction add up to the change that is looked for; at the end the two
neighbours are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from proxybench.ab import table
from proxybench.columns import flat
from proxybench.errors import ExitCode, ResultsError, UsageError
from proxybench.experiment.spec import SCENARIOS as SYNC_SCENARIOS
from proxybench.gate.compare import is_judged
from proxybench.gate.outcome import Verdict
from proxybench.metric_facts import find
from proxybench.model import ClockKind, Position, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.ab.experiment import Plan
    from proxybench.gate.outcome import Comparison, Outcome

ASSUMPTION = "assumes that the number changed once and stayed so"
_CHANGED = (Verdict.REGRESSED, Verdict.IMPROVED)


@dataclass(frozen=True)
class Number:
    """One number of a comparison: "cpu.control_loop/add-one", or with a position "forwarding.connect/steady/last"."""

    metric: str
    scenario: Scenario
    position: Position = Position.NONE

    def __str__(self) -> str:
        place = () if self.position is Position.NONE else (str(self.position),)
        return "/".join((self.metric, str(self.scenario), *place))

    def narrow(self, plan: Plan) -> Plan:
        """Return a plan that measures no more than this number needs."""
        scenarios = (self.scenario,) if self.scenario in SYNC_SCENARIOS else (Scenario.COLD_START,)
        return replace(plan, scenarios=scenarios, forwarding=self.metric.startswith("forwarding."))

    def pick(self, outcome: Outcome) -> Comparison:
        """Return its comparison. Raises ResultsError when it was not measured, or means several."""
        found = [
            item
            for item in outcome.comparisons
            if (item.key.metric, item.key.scenario, item.key.position) == (self.metric, self.scenario, self.position)
        ]
        if len(found) != 1:
            how = "means several numbers" if found else "was not measured"
            raise ResultsError(f"{self} {how}: {outcome.base} -> {outcome.new}")
        return found[0]


def number(text: str) -> Number:
    """Read METRIC/SCENARIO[/POSITION]. Raises UsageError for a number that cannot be judged by counted instructions."""
    metric, _, rest = text.partition("/")
    scenario, _, position = rest.partition("/")
    if find(metric) is None or not is_judged(metric, ClockKind.INSTRUCTIONS.value):
        raise UsageError(f'"{metric}" is no metric that counted instructions can judge; write cpu.control_loop')
    try:
        return Number(metric, Scenario(scenario), Position(position or "none"))
    except ValueError:
        raise UsageError(f'"{text}" names no number; write METRIC/SCENARIO, such as {metric}/add-one') from None


@dataclass(frozen=True)
class Compared:
    """One step: what was found between two of the list, by their places in it."""

    old: int
    new: int
    item: Comparison


@dataclass(frozen=True)
class Search:
    """The steps in their order and what came of them: ``change`` is the last one where the change was found."""

    names: tuple[str, ...]
    steps: tuple[Compared, ...]
    verdict: Verdict
    text: str
    change: Compared | None = None

    @property
    def exit_code(self) -> ExitCode:
        """1 for a regression that was found, 4 where the search could not go on."""
        if self.verdict is Verdict.REGRESSED:
            return ExitCode.REGRESSION
        return ExitCode.PASS if self.verdict in (Verdict.IMPROVED, Verdict.SAME) else ExitCode.INCONCLUSIVE


def line(names: Sequence[str], step: Compared) -> str:
    """Say one step."""
    return f"{names[step.old]} -> {names[step.new]}: {table.line(step.item)}"


def bisect(names: Sequence[str], measure: Callable[[int, int], Comparison], report: Callable[[str], None]) -> Search:
    """Search the list; ``measure`` compares two of its places, old first, and ``report`` is told of each step."""
    return _Bisection(tuple(names), measure, report).run()


class _Bisection:
    def __init__(
        self, names: tuple[str, ...], measure: Callable[[int, int], Comparison], report: Callable[[str], None]
    ) -> None:
        self._names = names
        self._measure = measure
        self._report = report
        self._steps: list[Compared] = []

    def run(self) -> Search:
        low, high = 0, len(self._names) - 1
        ends = self._step(low, high)
        kind = ends.item.verdict
        if kind is Verdict.SAME:
            return self._end(kind, f"no change between {self._names[low]} and {self._names[high]}")
        if kind not in _CHANGED:
            return self._stuck(ends, low, high)
        while high - low > 1:
            middle = (low + high) // 2
            step = self._step(0, middle)
            if step.item.verdict is kind:
                high = middle
            elif step.item.verdict is Verdict.SAME:
                low = middle
            else:
                return self._stuck(step, low, high)
        last = self._steps[-1] if low == 0 else self._step(low, high)
        if last.item.verdict is not kind:
            return self._stuck(last, low, high)
        where = f"between {self._names[low]} and {self._names[high]}"
        return self._end(kind, f"{where}: {table.line(last.item)} ({ASSUMPTION})", last)

    def _step(self, old: int, new: int) -> Compared:
        step = Compared(old, new, self._measure(old, new))
        self._steps.append(step)
        self._report(line(self._names, step))
        return step

    def _stuck(self, step: Compared, low: int, high: int) -> Search:
        names = self._names
        which = f"{names[step.old]} -> {names[step.new]} is {step.item.verdict.value}"
        text = f"undecided between {names[low]} and {names[high]}: {which}; more repetitions may tell"
        return self._end(Verdict.INCONCLUSIVE, text)

    def _end(self, verdict: Verdict, text: str, change: Compared | None = None) -> Search:
        return Search(self._names, tuple(self._steps), verdict, text, change)


def as_json(search: Search) -> dict[str, Any]:
    """Return the steps and their end for programs."""

    def of(step: Compared) -> dict[str, Any]:
        item = step.item
        return {
            "old": search.names[step.old],
            "new": search.names[step.new],
            **flat(item.key),
            "verdict": item.verdict.value,
            "reason": item.reason,
            "base": item.base,
            "relative": item.relative,
            "low": item.low,
            "high": item.high,
            "detectable": item.detectable,
        }

    return {
        "names": list(search.names),
        "assumption": ASSUMPTION,
        "steps": [of(step) for step in search.steps],
        "verdict": search.verdict.value,
        "change": None if search.change is None else of(search.change),
        "sentence": search.text,
        "exit_code": int(search.exit_code),
    }
