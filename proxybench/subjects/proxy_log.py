"""Reading kube-proxy's log (klog, ``--v=2``): the syncs that it tells of, and its last errors. Pure.

A sync is three lines in iptables and nftables mode: "Syncing … rules" (fullSync), "Reloading service … data"
(numServices, numEndpoints) and "SyncProxyRules complete" (elapsed). 1.20 says "syncProxyRules took 52.1ms" instead and
no numbers. In IPVS mode a sync is logged from ``--v=4`` on only: there are no records, and the metrics must do. In
userspace mode (up to 1.25) it is the other way round: there are no metrics, and "userspace syncProxyRules took 52.1ms"
(1.25: "Userspace syncProxyRules complete" elapsed="52.1ms") is logged from ``--v=4`` on, which its driver asks for.

Two families of addresses share one process, and the lines of their syncs may alternate. Each has its ``ipFamily`` from
1.31 on. Up to 1.30 none says it, nor does klog's header, whose thread id is the process's. What tells then: for which
families it made ready ("… sync params"), that IPv4's is the first of all syncs (it waits for both, then does IPv4 and,
when that has ended, IPv6), and that of two families one has no Service at all, as where the population is of one.

Sources: ``syncProxyRules`` in pkg/proxy/{iptables,ipvs,nftables}/proxier.go of Kubernetes, and the order of the
families in pkg/proxy/metaproxier; klog's header is "Lmmdd hh:mm:ss.uuuuuu threadid file:line]" and has no year.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from proxybench.errors import ProxierError
from proxybench.subjects.driver import ProxyMetrics, SyncRecord
from proxybench.units import NS_PER_S, NS_PER_US

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_LINE: Final = re.compile(
    r"(?P<level>[IWEF])(?P<month>\d\d)(?P<day>\d\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"\.(?P<micro>\d{6}) +\d+ [^ \]]+:\d+\] (?P<text>.*)"
)
_COMPLETE: Final = re.compile(
    r'"?(?P<userspace>[uU]serspace )?[sS]yncProxyRules '
    r'(?:complete"? .*?elapsed="(?P<elapsed>[^"]+)"|took (?P<took>\S+))'
)
_MADE_READY: Final = re.compile(r'\((IPv[46])\) sync params|[sS]ync params" ipFamily="?(IPv[46])')
_BOTH: Final = 2
_FIELD: Final = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|μs|ns)")
_UNIT_NS: Final = {
    "h": 3600 * NS_PER_S,
    "m": 60 * NS_PER_S,
    "s": NS_PER_S,
    "ms": 1_000_000,
    "us": NS_PER_US,
    "µs": NS_PER_US,  # the micro sign
    "μs": NS_PER_US,  # the Greek letter, which Go reads too
    "ns": 1,
}
_DECEMBER: Final = 12
_TAIL_LINES: Final = 5


@dataclass
class _Sync:
    """What the lines of a family have told of the sync that goes on."""

    full: bool | None = None
    services: int | None = None
    endpoints: int | None = None
    made_utc_ns: int | None = None
    mixed: bool = False
    """Whether another one, of which nobody knows the family either, went on at the same time."""


@dataclass(frozen=True)
class _Line:
    utc_ns: int
    text: str


def parse_syncs(log: str, year: int, zone_s: int = 0) -> tuple[SyncRecord, ...]:
    """Return the finished syncs in a log, in the order of the lines that end them.

    ``year`` is that of the first line; the log's times are ``zone_s`` seconds ahead of UTC. Lines that klog did not
    write are skipped. A duration that cannot be read raises ProxierError.
    """
    going: dict[str, _Sync] = {}
    unnamed = 0  # of those that go on
    records = []
    skipped = False
    for line in _lines(log, year, zone_s):
        fields = {name: quoted or bare for name, quoted, bare in _FIELD.findall(line.text)}
        family = fields.get("ipFamily", "")
        if line.text.startswith(('"Syncing ', "Syncing ")):
            unnamed += not family
            going[family] = _Sync(full=_truth(fields.get("fullSync")), mixed=not family and unnamed > 1)
        elif line.text.startswith('"Reloading service '):
            sync = going.setdefault(family, _Sync())
            sync.services, sync.endpoints = _number(fields.get("numServices")), _number(fields.get("numEndpoints"))
            sync.made_utc_ns = line.utc_ns
        elif line.text.startswith(
            ("Not syncing userspace", '"Not syncing userspace')
        ):  # and yet it says how long that took
            skipped = True
        elif skipped and _COMPLETE.match(line.text):
            skipped = False
        elif ended := _COMPLETE.match(line.text):
            sync = going.pop(family, _Sync())
            unnamed = max(0, unnamed - (not family))
            if sync.mixed:  # its numbers may be the other's
                sync = _Sync()
                if unnamed:
                    going[family] = _Sync(mixed=True)
            elapsed = parse_go_duration(ended["elapsed"] or ended["took"])
            family = "IPv4" if ended["userspace"] else family  # the one that this mode has here
            told = (sync.full, family, sync.services, sync.endpoints, sync.made_utc_ns)
            records.append(SyncRecord(line.utc_ns, elapsed, *told))
    return tuple(_named(records, families_made_ready(log)))


def families_made_ready(log: str) -> frozenset[str]:
    """Return the families ("IPv4", "IPv6") that a kube-proxy makes rules of; none where a log lacks its beginning."""
    return frozenset(old or new for old, new in _MADE_READY.findall(log))


def _named(records: Sequence[SyncRecord], families: Collection[str]) -> Iterator[SyncRecord]:
    """Yield the syncs, those whose lines name no family with it as far as that is sure; else it stays ""."""
    first = next((one for one in records if not one.family), None)
    counts = {bool(one.services) for one in records if not one.family and one.services is not None}
    for one in records:
        family = one.family
        if not family and len(families) == 1:
            (family,) = families
        elif not family and len(families) == _BOTH and first and None not in {first.services, one.services}:
            if one is first:
                family = "IPv4"
            elif len(counts) == _BOTH:
                family = "IPv4" if bool(one.services) is bool(first.services) else "IPv6"
        yield replace(one, family=family)


def count_syncs(syncs: Sequence[SyncRecord]) -> ProxyMetrics:
    """Return what the syncs in a log say of what metrics would. Raises ProxierError where there are none."""
    if not syncs:
        raise ProxierError("the log tells of no sync: nothing was synced yet")
    elapsed = sum(one.elapsed_ns for one in syncs)
    return ProxyMetrics(elapsed / NS_PER_S, len(syncs), last_sync_utc_ns=syncs[-1].ended_utc_ns)


def parse_go_duration(text: str) -> int:
    """Read how Go prints a time.Duration ("1m2.3s", "561.446391ms", "95µs", "0s") and return nanoseconds.

    Raises ProxierError for anything else.
    """
    body = text.removeprefix("-")
    total, position = Decimal(0), 0
    for part in _DURATION_PART.finditer(body):
        if part.start() != position:
            break
        total += Decimal(part[1]) * _UNIT_NS[part[2]]
        position = part.end()
    if position != len(body) or not body:
        raise ProxierError(f'"{text}" is not a duration as Go prints it')
    return int(total) if body == text else -int(total)


def log_tail(log: str) -> str:
    """Return the end of a log in one line: its last errors if it has any, else its last lines, klog's headers left out.

    What ends kube-proxy is logged as an error; what follows it (a trace of a panic) tells users nothing.
    """
    found = [_LINE.fullmatch(line) for line in log.splitlines()]
    errors = [match["text"] for match in found if match and match["level"] in "EF"]
    lines = errors or [match["text"] if match else line for match, line in zip(found, log.splitlines(), strict=True)]
    return " | ".join(lines[-_TAIL_LINES:]) or "it wrote no log"


def _lines(log: str, year: int, zone_s: int) -> Iterator[_Line]:
    last_month = 0
    for raw in log.splitlines():
        match = _LINE.fullmatch(raw)
        if match is None:
            continue
        month = int(match["month"])
        if last_month == _DECEMBER and month == 1:
            year += 1
        last_month = month
        day, hour, minute, second = (int(match[name]) for name in ("day", "hour", "minute", "second"))
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue  # no date: klog did not write this
        utc_ns = (int(moment.timestamp()) - zone_s) * NS_PER_S + int(match["micro"]) * NS_PER_US
        yield _Line(utc_ns, match["text"])


def _truth(text: str | None) -> bool | None:
    return None if text is None else text == "true"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
