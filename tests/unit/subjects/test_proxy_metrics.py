from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.subjects.driver import ProxyMetrics
from proxybench.subjects.proxy_metrics import parse_metrics
from refproxy.metrics import LoopMetrics
from tests.golden.cases import CASES, OLD, RELEASES, Case, golden

GOLDENS = Path(__file__).parents[2] / "golden"
GOLDEN = GOLDENS / "kube-proxy-1.37.2-100-services"
SYNC = "kubeproxy_sync_proxy_rules_duration_seconds"
FULL = "kubeproxy_sync_full_proxy_rules_duration_seconds"
PARTIAL = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
PROGRAMMING = "kubeproxy_network_programming_duration_seconds"


def series(name: str, **by_family: tuple[float, int]) -> str:
    lines = []
    for family, (total, count) in by_family.items():
        labels = f'{{ip_family="{family}"}}'
        lines += [f'{name}_bucket{{ip_family="{family}",le="+Inf"}} {count}']
        lines += [f"{name}_sum{labels} {total!r}", f"{name}_count{labels} {count}"]
    return "\n".join([f"# TYPE {name} histogram", *lines]) + "\n"


def test_a_real_kube_proxy_in_iptables_mode() -> None:
    assert parse_metrics((GOLDEN / "iptables.metrics").read_text()) == ProxyMetrics(
        sync_sum=0.561437153,
        sync_count=1,
        full_sync_sum=0.561444706,
        full_sync_count=1,
        last_sync_utc_ns=1_795_643_243_970_266_624,
    )


def test_a_real_kube_proxy_in_nftables_mode() -> None:
    assert parse_metrics((GOLDEN / "nftables.metrics").read_text()) == ProxyMetrics(
        sync_sum=1.327420858,
        sync_count=1,
        full_sync_sum=1.327428234,
        full_sync_count=1,
        last_sync_utc_ns=1_795_643_253_006_728_704,
    )


def test_a_real_kube_proxy_that_synced_both_families_and_one_change() -> None:
    metrics = parse_metrics((GOLDENS / "kube-proxy-1.33.13-100-services" / "iptables.metrics").read_text())
    assert (metrics.sync_count, metrics.full_sync_count, metrics.partial_sync_count) == (3, 2, 1)
    assert metrics.sync_sum == pytest.approx(0.142394562)
    assert metrics.full_sync_sum == pytest.approx(0.129985149)
    assert metrics.partial_sync_sum == 0.01242891


def test_a_text_without_the_syncs_is_refused() -> None:
    with pytest.raises(ProxierError) as caught:
        parse_metrics((GOLDEN / "ipvs.metrics").read_text())
    assert str(caught.value) == f"the metrics lack {SYNC}: nothing was synced yet"


def test_both_families_are_added_up() -> None:
    text = (
        series(SYNC, IPv4=(1.5, 3), IPv6=(0.25, 2))
        + series("kubeproxy_sync_full_proxy_rules_duration_seconds", IPv4=(1.0, 1), IPv6=(0.125, 1))
        + series("kubeproxy_sync_partial_proxy_rules_duration_seconds", IPv4=(0.5, 2), IPv6=(0.125, 1))
        + series(PROGRAMMING, IPv4=(2.0, 4), IPv6=(3.0, 5))
    )
    assert parse_metrics(text) == ProxyMetrics(1.75, 5, 5.0, 9, 1.125, 2, 0.625, 3)


@given(st.dictionaries(st.sampled_from(["IPv4", "IPv6", "", "a b"]), st.tuples(st.integers(0, 99), st.integers(0, 9))))
def test_a_sum_over_any_labels(families: dict[str, tuple[int, int]]) -> None:
    text = series(SYNC, **{name: (float(total), count) for name, (total, count) in families.items()})
    if not families:
        with pytest.raises(ProxierError):
            parse_metrics(text)
        return
    metrics = parse_metrics(text)
    assert metrics.sync_sum == sum(total for total, _ in families.values())
    assert metrics.sync_count == sum(count for _, count in families.values())


def test_pending_changes_of_services_and_endpoints_are_one_number() -> None:
    text = series(SYNC, IPv4=(1.0, 1)) + (
        "kubeproxy_sync_proxy_rules_service_changes_pending 3\nkubeproxy_sync_proxy_rules_endpoint_changes_pending 4\n"
    )
    assert parse_metrics(text).pending == 7


def test_the_reference_proxiers_split() -> None:
    metrics = LoopMetrics()
    metrics.sync_duration.observe(0.5)
    metrics.programming.observe(2)
    metrics.build_seconds, metrics.tool_seconds, metrics.kernel_seconds = 0.1, 0.2, 0.3
    metrics.wait_seconds, metrics.relayed_ns = 0.75, lambda: 250_000_000
    assert parse_metrics(metrics.render().decode()) == ProxyMetrics(
        0.5, 1, 2.0, 1, build=0.1, tool=0.2, kernel=0.3, wait=0.75, relay_cpu=0.25
    )


def test_nonsense_is_refused() -> None:
    with pytest.raises(ProxierError, match=r"^the metrics cannot be read: "):
        parse_metrics("<html>not here</html>\n")


@pytest.mark.parametrize("case", ["iptables", "iptables-nft", "ipvs"])
def test_1_20_counts_syncs_without_labels(case: str) -> None:
    found = parse_metrics(golden(OLD, case, "metrics"))
    count = found.sync_count
    assert count >= 3  # the first, and one each for a Service and its slice
    assert found == ProxyMetrics(float(count), count, last_sync_utc_ns=1_000_000_000)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("release", RELEASES)
def test_every_release_in_every_mode(release: str, case: Case) -> None:
    metrics = parse_metrics(golden(release, case.name, "metrics"))
    assert metrics.pending == 0
    assert metrics.sync_count >= 4  # both families' first, and one each for a Service and its slice
    assert (metrics.sync_sum, metrics.programming_count) == (metrics.sync_count, 0)
    if case.mode is Mode.IPVS or (release, case.mode) == ("v1.30.14", Mode.NFTABLES):
        assert (metrics.full_sync_count, metrics.partial_sync_count) == (None, None)
        return
    assert metrics.full_sync_count == 2
    assert metrics.partial_sync_count == metrics.sync_count - 2


def test_a_release_that_counts_neither_full_nor_partial_syncs_does_not_tell_them_apart() -> None:
    text = "".join(series(name, IPv4=(0.0, 0)) for name in (FULL, PARTIAL))
    assert parse_metrics(series(SYNC, IPv4=(1.5, 3)) + text) == ProxyMetrics(1.5, 3)
    assert parse_metrics(series(SYNC, IPv4=(0.0, 0)) + text) == ProxyMetrics(
        0.0, 0, full_sync_sum=0.0, full_sync_count=0, partial_sync_sum=0.0, partial_sync_count=0
    )


def test_the_moment_of_the_last_sync_is_told_for_each_family() -> None:
    text = (
        'kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 1\n'
        'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1\n'
        'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1.5e+09\n'
        'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} 1.6e+09\n'
    )
    found = parse_metrics(text)
    assert found.last_sync_utc_ns == 1_500_000_000_000_000_000
    assert found.last_sync6_utc_ns == 1_600_000_000_000_000_000
    without = text[: text.index("kubeproxy_sync_proxy_rules_last")]
    assert parse_metrics(without).last_sync_utc_ns is None
