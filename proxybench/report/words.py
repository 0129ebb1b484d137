"""What readers see in place of our short words, and the colours and markers of the modes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench import units
from proxybench.model import Address, Mode, Origin, ServicePath, Transport
from proxybench.units import INSTRUCTIONS, shown_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.model import Subject

REFERENCE = "reference"
"""The kind of proxybench's own proxier."""

DIRECT = "direct"
"""Stands for the endpoint reached without a Service, the reference of every forwarding figure."""


NFT_BACKEND = "iptables-nft"
"""The look of iptables mode with the backend nft, beside that with legacy."""

ODD = "odd"
"""Stands for what no part explains."""


@dataclass(frozen=True)
class ModeStyle:
    """Colour on light and on dark ground and a marker that differs as well.

    The colours are near the Okabe-Ito palette; its purple is a grey to who sees no green, so it is not the one here.
    """

    name: str
    light: str
    dark: str
    marker: str  # matplotlib's


MODE_STYLES = {
    "iptables": ModeStyle("iptables", "#0072b2", "#56b4e9", "o"),
    "ipvs": ModeStyle("IPVS", "#d55e00", "#f0803c", "s"),
    "userspace": ModeStyle("userspace", "#009e73", "#2fc59b", "^"),
    "nftables": ModeStyle("nftables", "#b5368c", "#f5a3d8", "D"),
    NFT_BACKEND: ModeStyle("iptables", "#1b2a6e", "#6a78ff", "P"),
    DIRECT: ModeStyle("endpoint, no rules", "#5a6066", "#98a1ab", "x"),
    ODD: ModeStyle("unexplained", "#e69f00", "#f0b93a", "v"),
}

OTHER = "other"
"""Stands for all modes that we do not know."""

_UNKNOWN = ModeStyle("", "#8a6d3b", "#c9a86a", "v")

HIGHEST = "highest"
"""Stands for the scenario in which a number was highest, where a figure shows one line for all of them."""

SCENARIOS = {
    "cold-start": "Cold start with N Services",
    "add-one": "One Service added to N",
    "add-batch": "A batch of Services added to N",
    "change-endpoint": "One endpoint changed",
    "replace-endpoint": "One endpoint of a Service replaced",
    "delete-one": "One Service deleted",
    "add-paths": "A Service with all addresses added",
    "delete-paths": "A Service with all addresses deleted",
    "new-service": "A Service, then its endpoints, added to N",
    "repair-service": "A Service's rule removed behind the proxy's back",
    "repair-endpoints": "A Service's rules to its endpoints removed",
    "repair-jump": "The jump to all Services removed",
    "repair-table": "All rules removed",
    "restart": "Proxy restarted, nothing changed",
    "restart-changed": "Proxy restarted, an endpoint changed meanwhile",
    "change-idle": "One endpoint changed, after a rest",
    "change-busy": "One endpoint changed, right after others",
    "add-endpoint": "One endpoint more, beside several",
    "remove-endpoint": "One endpoint of several taken out",
    "roll-service": "Rolling update of one Service",
    "roll-deployment": "Rolling update behind several Services",
    "scale-to-zero": "Scaled to zero (UDP)",
    "scale-from-zero": "Back from zero (UDP)",
    "change-udp": "One endpoint changed (UDP)",
    "change-udp-tracked": "One endpoint changed (UDP), full conntrack",
    "mass-create": "Many Services made at once",
    "mass-delete": "Many Services deleted at once",
    "full-sync": "Full sync, forced",
    "migrate": "Migrated, the old rules there",
    "migrate-back": "Migrated back, the old rules there",
    "migrate-cleaned": "Migrated after a clean-up",
    "migrate-back-cleaned": "Migrated back after a clean-up",
    "soak": "Mixed churn for a long time",
    "idle": "Idle",
    "steady": "Steady state",
    "load": "Under load",
    HIGHEST: "Highest of all scenarios",
}

POSITIONS = {"first": "First rule", "middle": "Middle rule", "last": "Last rule", "none": ""}

_ADDRESSES = {
    Address.CLUSTER_IP: "ClusterIP",
    Address.NODE_PORT: "NodePort",
    Address.NODE_PORT_LOCAL: "NodePort, Local",
    Address.EXTERNAL_IP: "external IP",
    Address.LOAD_BALANCER_IP: "load balancer",
}
_ORIGINS = {
    Origin.CLIENT: "",
    Origin.FAR: "to a pod elsewhere",
    Origin.OTHER: "by another node",
    Origin.NODE: "from the node",
    Origin.POD: "from a pod",
}

DIRECTLY = "Endpoint directly"
"""What position ``none`` means beside other positions: a connection past the Service."""

_CLOCKS = {
    "wall": ("wall clock", "wall clock: real time on this machine"),
    INSTRUCTIONS: (
        "instruction clock, not real time",
        "instruction clock: executed guest instructions, counted — work, not real time",
    ),
}

_TIME = re.compile(r"\b[Tt]ime\b")

IDLE_COUNTS = (
    "An idle guest's clock goes on with the host's, one instruction a nanosecond: what was waited is counted here, and "
    "is no work."
)
"""What must stand beside latencies by the instruction clock."""

DASH, TIMES, MINUS, NBSP = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"
"""Signs that look like others in a source file, so they are called by their names."""


def path_name(path: str) -> str:
    """Return a path in words ("NodePort, by another node"), or as it is where it is none that we know."""
    try:
        known = ServicePath.parse(path)
    except ValueError:
        return path
    udp = "over UDP" if known.transport is Transport.UDP else ""
    return ", ".join(filter(None, (_ADDRESSES[known.address], udp, _ORIGINS[known.origin])))


def mode_name(mode: str) -> str:
    """Return the mode as its makers write it."""
    return MODE_STYLES[mode].name if mode in MODE_STYLES else mode


def subject_names(subjects: Iterable[Subject]) -> dict[Subject, str]:
    """Return what to call each subject among the others: its mode, and what else it takes to tell them apart.

    Where each mode is of one release only, that of most is not named. The reference proxier is always called so:
    nobody's cluster runs it.
    """
    known = list(dict.fromkeys(subjects))
    usual = _usual_program([subject for subject in known if subject.kind != REFERENCE])
    return {subject: _subject_name(subject, known, usual) for subject in known}


def _usual_program(subjects: Sequence[Subject]) -> tuple[str, str] | None:
    """Return the kind and version that need no name: the only ones, or those of most; None where all are named."""
    programs = Counter((subject.kind, subject.version) for subject in subjects)
    if len(programs) < 2:  # noqa: PLR2004 - two to tell apart
        return next(iter(programs), None)
    (usual, most), (_, second) = programs.most_common(2)
    one_each = len({(subject.mode, subject.version) for subject in subjects}) == len({one.mode for one in subjects})
    return usual if one_each and most > second and len({kind for kind, _ in programs}) == 1 else None


def _subject_name(subject: Subject, among: Iterable[Subject], usual: tuple[str, str] | None) -> str:
    alike = {
        other.settings
        for other in among
        if (other.kind, other.version, other.mode) == (subject.kind, subject.version, subject.mode)
    }
    mode, program = mode_name(subject.mode), " ".join(filter(None, (subject.kind, subject.version)))
    if subject.kind == REFERENCE:
        name = f"{REFERENCE} {mode}"
    elif (subject.kind, subject.version) == usual:
        name = mode
    else:
        name = f"{mode} ({program})" if usual else f"{program} {mode}"
    return name + (_settings(subject) if len(alike) > 1 and subject.settings else "")


def _settings(subject: Subject) -> str:
    """Name the settings; the backend of iptables and a given name say by themselves what they are."""
    told = [value if name in {"iptables", "name"} else f"{name} {value}" for name, value in subject.settings]
    return f" ({', '.join(told)})"


def look(subject: Subject) -> str:
    """Return whose colour and marker a subject has: its mode's, of iptables its backend's."""
    nft = subject.mode == Mode.IPTABLES and dict(subject.settings).get("iptables") == "nft"
    return NFT_BACKEND if nft else str(subject.mode)


def style_of(mode: str) -> ModeStyle:
    """Return the style of a look, one for all modes that we do not know."""
    return MODE_STYLES.get(mode, _UNKNOWN)


def clock_short(clock: str) -> str:
    """Return the clock for an axis label."""
    return _CLOCKS[clock][0] if clock in _CLOCKS else clock


def with_clock(quantity: str, unit: str, clock: str) -> str:
    """Return an axis label: the quantity with the clock of what has one (bytes have none), as work if it counts it."""
    if shown_unit(unit, clock) == INSTRUCTIONS:
        return f"{as_work(quantity)} (no time)"
    return f"{quantity} ({clock_short(clock)})" if unit == "ns" else quantity


def as_work(text: str) -> str:
    """Return words of a time as those of counted work: "Time to connect" is "Instructions to connect"."""
    found = _TIME.sub(lambda match: "Instructions" if match[0] == "Time" else INSTRUCTIONS, text)
    return found if found != text else f"{text}, in {INSTRUCTIONS}"


def clock_long(clock: str) -> str:
    """Return the clock for a caption, with what it means."""
    return _CLOCKS[clock][1] if clock in _CLOCKS else clock


def human(value: float, unit: str) -> str:
    """Write a value with three significant digits in the unit a person would choose."""
    return units.human(value, unit).replace("-", MINUS)


def short(value: float, unit: str) -> str:
    """Write a value as ``human`` does, without a noun that stands elsewhere (see ``units.short``)."""
    return units.short(value, unit).replace("-", MINUS)


def span(low: float, high: float, unit: str) -> str:
    """Write an interval, its unit once where both ends share it or begin at 0; of instructions without the noun."""
    write = short if unit == INSTRUCTIONS else human
    first, second = write(low, unit), write(high, unit)
    number, _, own = first.partition(" ")
    if low == 0 or own == second.partition(" ")[2]:
        first = number
    return f"{first} {'to' if low < 0 else DASH} {second}"


def exact(value: float, unit: str) -> str:
    """Write a value in full, for the title that a pointer shows."""
    digits = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{digits} {unit}"


def factor(times: float) -> str:
    """Write how many times: three digits, none as a power of ten; a small part of it as one of so many."""
    if 0 < times < 0.001:  # noqa: PLR2004 - a thousandth is no help in digits
        return f"{TIMES}1/{float(f'{1 / times:.3g}'):,.10g}"
    return TIMES + (f"{times:.3g}" if 0.001 <= times < 999.5 else f"{float(f'{times:.3g}'):,.10g}")  # noqa: PLR2004 - as in units.human


_FACTOR_FROM, _WHOLE_FROM = 1.5, 10.0


def distance(ratio: float) -> str:
    """Write how far a value lies above a lower one: a small lead in per cent, a large one as a factor."""
    if ratio < _FACTOR_FROM:
        return f"+{100 * (ratio - 1):.2g} %"
    if ratio < _WHOLE_FROM:
        return f"{ratio:.1f}{TIMES}"
    return f"{float(f'{ratio:.3g}'):,.0f}{TIMES}"


def count(number: int, noun: str) -> str:
    """Write ``1 Service`` or ``1,000 Services``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join(words: list[str], last: str = "and") -> str:
    """Write ``a``, ``a and b`` or ``a, b and c``; ``last`` stands before the last one."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
