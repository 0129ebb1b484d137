from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.subjects.driver import ProxyMetrics, SyncRecord
from proxybench.subjects.proxy_log import count_syncs, log_tail, parse_go_duration, parse_syncs
from proxybench.subjects.proxy_metrics import parse_metrics
from tests.golden.cases import CASES, OLD, RELEASES, Case, golden

GOLDENS = Path(__file__).parents[2] / "golden"
GOLDEN = GOLDENS / "kube-proxy-1.37.2-100-services"
H = "1126 04:00:08.123456   12345 "


def at(*moment: int, micro: int = 0) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000_000 + micro * 1_000  # type: ignore[arg-type, misc] # six numbers


def with_headers(name: str) -> str:
    """Return a golden log with the header that its lines lost when they were kept: one second apart."""
    lines = (GOLDEN / name).read_text().splitlines()
    return "\n".join(f"{line[0]}1126 04:00:{n:02}.000001       1 {line[2:]}" for n, line in enumerate(lines))


def test_a_real_start_in_iptables_mode() -> None:
    assert parse_syncs(with_headers("iptables.log"), 2026) == (
        SyncRecord(
            at(2026, 11, 26, 4, 0, 35, micro=1),
            561_446_391,
            full=True,
            family="IPv4",
            services=100,
            endpoints=200,
            made_utc_ns=at(2026, 11, 26, 4, 0, 34, micro=1),
        ),
    )


def test_times_of_another_zone_are_brought_to_utc() -> None:
    """As of a unit on a host of Berlin: taken for UTC, each sync would end an hour after its change."""
    there = parse_syncs(with_headers("iptables.log"), 2026, 3600)
    hour = 3600 * 1_000_000_000
    (record,) = parse_syncs(with_headers("iptables.log"), 2026)
    assert (there[0].ended_utc_ns, record.made_utc_ns) == (
        record.ended_utc_ns - hour,
        (there[0].made_utc_ns or 0) + hour,
    )


def test_a_real_start_in_nftables_mode() -> None:
    (record,) = parse_syncs(with_headers("nftables.log"), 2026)
    assert (record.elapsed_ns, record.full, record.services, record.endpoints) == (1_327_430_659, True, 100, 200)


def test_a_real_log_of_1_33_with_both_families_and_a_partial_sync() -> None:
    log = (GOLDENS / "kube-proxy-1.33.13-100-services" / "iptables.log").read_text()
    first, micro, full = (2026, 11, 26, 5, 10, 1), 794_924, True
    assert parse_syncs(log, 2026) == (
        SyncRecord(at(*first, micro=micro), 71_212_506, full, "IPv4", 100, 200, at(*first, micro=788_517)),
        SyncRecord(at(*first, micro=853_733), 58_773_053, full, "IPv6", 0, 0, at(*first, micro=852_242)),
        SyncRecord(
            at(2026, 11, 26, 5, 10, 4, micro=911_165),
            12_428_999,
            full=False,
            family="IPv4",
            services=99,
            endpoints=198,
            made_utc_ns=at(2026, 11, 26, 5, 10, 4, micro=906_619),
        ),
    )


def test_ipvs_mode_logs_no_syncs() -> None:
    assert parse_syncs(with_headers("ipvs.log"), 2026) == ()


@pytest.mark.parametrize("case", [case for case in CASES if case.mode is not Mode.IPVS], ids=lambda case: case.name)
@pytest.mark.parametrize("release", RELEASES)
def test_every_release(release: str, case: Case) -> None:
    """Ten Services at the start, all of IPv4; then one more, then its slice. 1.30 names no full syncs."""
    syncs = parse_syncs(golden(release, case.name, "log"), 2026)
    old = release == "v1.30.14"
    both = [record for record in syncs if record.services]
    assert [(record.services, record.endpoints) for record in (both[0], *both[-2:])] == [(10, 17), (11, 17), (11, 18)]
    assert {record.elapsed_ns for record in syncs} == {1_000_000_000}
    assert [(record.family, bool(record.services)) for record in syncs[:2]] == [("IPv4", True), ("IPv6", False)]
    assert {(record.family, bool(record.services)) for record in syncs} == {("IPv4", True), ("IPv6", False)}
    full = [record.full for record in both]
    assert full == ([None] * len(both) if old else [True, *[False] * (len(both) - 1)])
    metrics = parse_metrics(golden(release, case.name, "metrics"))
    assert len(syncs) == metrics.sync_count


@pytest.mark.parametrize("release", RELEASES)
def test_no_release_logs_the_syncs_of_ipvs_mode(release: str) -> None:
    log = golden(release, "ipvs", "log")
    assert "Using ipvs Proxier" in log
    assert parse_syncs(log, 2026) == ()


@pytest.mark.parametrize("case", ["iptables", "iptables-nft"])
def test_what_1_20_says(case: str) -> None:
    """It names no numbers, and has one family."""
    syncs = parse_syncs(golden(OLD, case, "log"), 2026)
    assert len(syncs) == parse_metrics(golden(OLD, case, "metrics")).sync_count == 3
    assert {(one.elapsed_ns, one.full, one.family, one.services) for one in syncs} == {
        (1_000_000_000, None, "IPv4", None)
    }
    assert parse_syncs(golden(OLD, "ipvs", "log"), 2026) == ()


def test_what_1_20_says_in_userspace_mode() -> None:
    """A look before it knows any Service is no sync; new endpoints need none."""
    log = golden(OLD, "userspace", "log")
    assert "Not syncing userspace proxy until Services and Endpoints have been received from master" in log
    assert log.count("userspace syncProxyRules took 1s") == 3
    assert count_syncs(parse_syncs(log, 2026)) == ProxyMetrics(2.0, 2, last_sync_utc_ns=at(2026, 1, 1, 0, 0, 0))


def test_what_1_25_says_in_userspace_mode() -> None:
    """Recorded of v1.25.0: the same with a capital letter, quoted, and told of a look that is no sync as well."""
    unready = "Not syncing userspace proxy until Services and Endpoints have been received from master"
    log = f"""\
I0101 00:00:12.987549     581 proxier.go:658] "Userspace OnServiceSynced"
I0101 00:00:12.987599     581 proxier.go:383] "{unready}"
I0101 00:00:12.987629     581 proxier.go:378] "Userspace syncProxyRules complete" elapsed="56.34µs"
I0101 00:00:12.987690     581 proxier.go:694] "Userspace OnEndpointsSynced"
I0101 00:00:13.011528     581 proxier.go:399] "userspace proxy: processing service events" count=10
I0101 00:00:13.375517     581 proxier.go:378] "Userspace syncProxyRules complete" elapsed="387.803265ms"
I0101 00:00:18.425860     581 proxier.go:399] "userspace proxy: processing service events" count=1
I0101 00:00:18.554649     581 proxier.go:378] "Userspace syncProxyRules complete" elapsed="154.098345ms"
"""
    found = parse_syncs(log, 2026)
    assert [one.elapsed_ns for one in found] == [387_803_265, 154_098_345]
    assert {(one.full, one.family, one.services) for one in found} == {(None, "IPv4", None)}


def test_two_families_may_alternate() -> None:
    log = f"""\
I{H}proxier.go:655] "Syncing iptables rules" ipFamily="IPv4" fullSync=true
I{H}proxier.go:655] "Syncing iptables rules" ipFamily="IPv6" fullSync=false
I{H}proxier.go:1373] "Reloading service iptables data" ipFamily="IPv6" numServices=0 numEndpoints=0 numNATRules=5
I{H}proxier.go:1373] "Reloading service iptables data" ipFamily="IPv4" numServices=7 numEndpoints=14 numNATRules=5
I{H}proxier.go:649] "SyncProxyRules complete" ipFamily="IPv6" elapsed="95µs"
goroutine 1 [running]:
I{H}proxier.go:649] "SyncProxyRules complete" ipFamily="IPv4" elapsed="1m2.3s"
"""
    moment = at(2026, 11, 26, 4, 0, 8, micro=123456)
    assert parse_syncs(log, 2026) == (
        SyncRecord(moment, 95_000, full=False, family="IPv6", services=0, endpoints=0, made_utc_ns=moment),
        SyncRecord(moment, 62_300_000_000, full=True, family="IPv4", services=7, endpoints=14, made_utc_ns=moment),
    )


MADE_READY = "".join(f'I{H}proxier.go:302] "Iptables sync params" ipFamily="{family}"\n' for family in ("IPv4", "IPv6"))


def unnamed(*services: int) -> str:
    """Return the lines of syncs as 1.30 has them, one after the other."""
    return "".join(
        f'I{H}proxier.go:805] "Syncing iptables rules"\n'
        f'I{H}proxier.go:1494] "Reloading service iptables data" numServices={count} numEndpoints={2 * count}\n'
        f'I{H}proxier.go:799] "SyncProxyRules complete" elapsed="1s"\n'
        for count in services
    )


@pytest.mark.parametrize(
    ("log", "families"),
    [
        (MADE_READY + unnamed(10, 0, 11, 0), ["IPv4", "IPv6", "IPv4", "IPv6"]),
        (MADE_READY + unnamed(0, 10, 11), ["IPv4", "IPv6", "IPv6"]),
        (MADE_READY + unnamed(10), ["IPv4"]),
        # Both have Services, or what comes is not there yet: only the first is known.
        (MADE_READY + unnamed(10, 3, 10), ["IPv4", "", ""]),
        (MADE_READY + unnamed(10, 11), ["IPv4", ""]),
        # One family only, whatever it counts.
        (MADE_READY.splitlines(keepends=True)[1] + unnamed(10, 0), ["IPv6", "IPv6"]),
        # A log from somewhere in the middle, as that of a kube-proxy that was found.
        (unnamed(10, 0), ["", ""]),
        (MADE_READY + f'I{H}proxier.go:799] "SyncProxyRules complete" elapsed="1s"\n' + unnamed(10, 0), ["", "", ""]),
    ],
)
def test_a_family_that_is_not_named_is_told_where_that_is_sure(log: str, families: list[str]) -> None:
    assert [one.family for one in parse_syncs(log, 2026)] == families


def test_syncs_of_nobody_knows_which_family_that_go_on_at_once_tell_no_numbers() -> None:
    """Their lines cannot be told apart; what comes after them can."""
    begun, data, ended = unnamed(7).splitlines(keepends=True)
    log = MADE_READY + unnamed(10, 0) + begun + begun + data + ended + data + ended + unnamed(11)
    found = [(one.family, one.services, one.made_utc_ns) for one in parse_syncs(log, 2026)]
    moment = at(2026, 11, 26, 4, 0, 8, micro=123456)
    named = [("IPv4", 10, moment), ("IPv6", 0, moment)]
    assert found == [*named, ("", None, None), ("", None, None), ("IPv4", 11, moment)]


def test_what_a_sync_said_is_not_kept_for_the_next() -> None:
    log = f"""\
I{H}proxier.go:655] "Syncing iptables rules" ipFamily="IPv4" fullSync=true
I{H}proxier.go:1373] "Reloading service iptables data" ipFamily="IPv4" numServices=7 numEndpoints=14
I{H}proxier.go:649] "SyncProxyRules complete" ipFamily="IPv4" elapsed="1s"
I{H}proxier.go:649] "SyncProxyRules complete" ipFamily="IPv4" elapsed="2s"
"""
    assert parse_syncs(log, 2026)[1] == SyncRecord(
        at(2026, 11, 26, 4, 0, 8, micro=123456), 2_000_000_000, full=None, family="IPv4", services=None, endpoints=None
    )


def test_the_words_of_1_20() -> None:
    log = f"I{H}proxier.go:874] Syncing iptables rules\nI{H}proxier.go:826] syncProxyRules took 52.123ms\n"
    assert parse_syncs(log, 2026) == (
        SyncRecord(
            at(2026, 11, 26, 4, 0, 8, micro=123456), 52_123_000, full=None, family="", services=None, endpoints=None
        ),
    )


def test_the_year_ends() -> None:
    line = 'I{} 1 proxier.go:649] "SyncProxyRules complete" elapsed="1s"\n'
    log = line.format("1231 23:59:59.000000") + line.format("0101 00:00:01.000000")
    assert [record.ended_utc_ns for record in parse_syncs(log, 2026)] == [
        at(2026, 12, 31, 23, 59, 59),
        at(2027, 1, 1, 0, 0, 1),
    ]


def test_a_date_that_is_none_is_skipped() -> None:
    assert parse_syncs('I0230 00:00:00.000000 1 proxier.go:649] "SyncProxyRules complete" elapsed="1s"\n', 2026) == ()


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1.327430659s", 1_327_430_659),
        ("561.446391ms", 561_446_391),
        ("1m2.3s", 62_300_000_000),
        ("95µs", 95_000),
        ("95μs", 95_000),
        ("95us", 95_000),
        ("1h0m0.5s", 3_600_500_000_000),
        ("12ns", 12),
        ("0s", 0),
        ("-1.5s", -1_500_000_000),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_go_duration(text) == ns


@pytest.mark.parametrize("text", ["", "1", "s", "1.5 s", "1s2", "-", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ProxierError) as caught:
        parse_go_duration(text)
    assert str(caught.value) == f'"{text}" is not a duration as Go prints it'


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 999_999_999))
def test_any_duration_of_go(minutes: int, seconds: int, ns: int) -> None:
    text = f"{minutes}m{seconds}.{ns:09}".rstrip("0").rstrip(".") + "s"
    if ns == 0:
        text = f"{minutes}m{seconds}s"
    assert parse_go_duration(text) == (minutes * 60 + seconds) * 1_000_000_000 + ns


@given(st.text())
def test_any_log_can_be_read(log: str) -> None:
    assert all(record.elapsed_ns >= 0 for record in parse_syncs(log, 2026))
    assert log_tail(log)


def test_the_tail_is_the_last_errors() -> None:
    log = f'I{H}a.go:1] "one"\nE{H}run.go:72] "command failed" err="no kubeconfig"\nI{H}a.go:1] "two"\n'
    assert log_tail(log) == '"command failed" err="no kubeconfig"'
    assert log_tail(f'I{H}a.go:1] "one"\nplain\n') == '"one" | plain'
    assert log_tail("") == "it wrote no log"
