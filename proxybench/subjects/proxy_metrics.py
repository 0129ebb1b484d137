"""Reading a Service proxy's own metrics. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from proxybench.errors import ProxierError
from proxybench.subjects.driver import ProxyMetrics
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

_SYNC = "kubeproxy_sync_proxy_rules_duration_seconds"
_FULL = "kubeproxy_sync_full_proxy_rules_duration_seconds"
_PARTIAL = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
_PROGRAMMING = "kubeproxy_network_programming_duration_seconds"
_LAST = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
_LAST6 = f"{_LAST} of IPv6"
_PENDING = "kubeproxy_sync_proxy_rules_{kind}_changes_pending"


def parse_metrics(text: str) -> ProxyMetrics:
    """Read kube-proxy's totals, and the reference proxier's split where there is one, from the Prometheus text format.

    Series of one name are added up, whatever their labels say: since 1.33 there is one of each for IPv4 and for IPv6.
    The moments of the last sync, which cannot be added, are kept apart.
    A histogram that was never observed is left out by kube-proxy. 1.30 has those of full and partial syncs in nftables
    mode too, but never counts one: that is no count of 0. Raises ProxierError when the one of the syncs is missing
    (nothing was synced yet) or the text is no such format.
    """
    values = _totals(text)
    if f"{_SYNC}_count" not in values:
        raise ProxierError(f"the metrics lack {_SYNC}: nothing was synced yet")
    kinds = (_FULL, _PARTIAL)
    if values[f"{_SYNC}_count"] and not any(values.get(f"{kind}_count") for kind in kinds):
        values = {name: value for name, value in values.items() if not name.startswith(kinds)}
    return ProxyMetrics(
        sync_sum=values[f"{_SYNC}_sum"],
        sync_count=int(values[f"{_SYNC}_count"]),
        programming_sum=values.get(f"{_PROGRAMMING}_sum", 0.0),
        programming_count=int(values.get(f"{_PROGRAMMING}_count", 0)),
        full_sync_sum=values.get(f"{_FULL}_sum"),
        full_sync_count=_whole(values.get(f"{_FULL}_count")),
        partial_sync_sum=values.get(f"{_PARTIAL}_sum"),
        partial_sync_count=_whole(values.get(f"{_PARTIAL}_count")),
        build=values.get("proxybench_sync_build_seconds_total"),
        tool=values.get("proxybench_sync_tool_seconds_total"),
        kernel=values.get("proxybench_sync_kernel_seconds_total"),
        wait=values.get("proxybench_sync_wait_seconds_total"),
        relay_cpu=values.get("proxybench_relay_cpu_seconds_total"),
        last_sync_utc_ns=_moment(values.get(_LAST)),
        last_sync6_utc_ns=_moment(values.get(_LAST6)),
        pending=sum(int(values.get(_PENDING.format(kind=kind), 0)) for kind in ("service", "endpoint")),
    )


def _totals(text: str) -> Mapping[str, float]:
    """Return the sum of all series of each name, buckets left out."""
    sums: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name
                if name == _LAST and sample.labels.get("ip_family") == "IPv6":
                    name = _LAST6
                if not name.endswith("_bucket"):
                    sums[name] = sums.get(name, 0.0) + sample.value
    except ValueError as error:
        raise ProxierError(f"the metrics cannot be read: {error}") from error
    return sums


def _moment(seconds: float | None) -> int | None:
    return round(seconds * NS_PER_S) if seconds else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
