"""Objects per second through HTTP: our bulk client against the official client one by one, and the server's memory.

Usage: python benchmarks/api_objects.py [--services 10000] [--one-by-one 500]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from kubernetes import client as official

from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, SELECTOR, AddressPlan, Population
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from proxybench.units import NS_PER_S

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--one-by-one", type=int, default=500)
    arguments = parser.parse_args()
    with ApiServerProcess() as server:
        print(f"server, empty: {resident_mib(server.pid):.0f} MiB")
        with KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api:
            ours = bulk(api, server.pid, arguments.services)
        theirs = one_by_one(server, arguments.one_by_one)
    print(f"ours / official: {ours / theirs:.1f} times as fast")


def bulk(api: KubernetesServiceApi, pid: int, count: int) -> float:
    """Create, list and delete ``count`` Services and EndpointSlices; return objects created per second."""
    population = Population(PLAN, endpoints_per_service=2)
    now = time.time_ns()
    services = [population.service(index) for index in range(count)]
    slices = [part for index in range(count) for part in population.endpoint_slices(index, now)]
    objects = [*services, *slices]
    api.ensure_namespace(NAMESPACE)
    created = api.create_many(objects)
    rate = report("create", len(objects), (created.ended_ns - created.started_ns) / NS_PER_S)
    print(f"server, full: {resident_mib(pid):.0f} MiB")
    started = time.monotonic()
    listed = len(api.list(Kind.SERVICE, NAMESPACE)) + len(api.list(Kind.ENDPOINT_SLICE, NAMESPACE))
    report("list", listed, time.monotonic() - started)
    replaced = api.replace_many(slices)
    report("replace (unchanged)", len(slices), (replaced.ended_ns - replaced.started_ns) / NS_PER_S)
    half = [Ref.of(found) for found in services]
    deleted = api.delete_many(half)
    report("delete", len(half), (deleted.ended_ns - deleted.started_ns) / NS_PER_S)
    started = time.monotonic()
    api.delete_collection(Kind.ENDPOINT_SLICE, NAMESPACE, SELECTOR)
    report("delete collection", len(slices), time.monotonic() - started)
    print(f"server, after: {resident_mib(pid):.0f} MiB (peak {resident_mib(pid, 'VmHWM'):.0f})")
    return rate


def one_by_one(server: ApiServerProcess, count: int) -> float:
    """Do the same with the official client's typed calls; return objects created per second."""
    configuration = official.Configuration(host=server.url)
    configuration.api_key = {"authorization": f"Bearer {server.token}"}
    population = Population(PLAN, endpoints_per_service=2)
    with tempfile.TemporaryDirectory() as folder:
        authority = Path(folder) / "ca.pem"
        authority.write_text(server.ca_pem)
        configuration.ssl_ca_cert = str(authority)
        client = official.ApiClient(configuration)
        core, discovery = official.CoreV1Api(client), official.DiscoveryV1Api(client)
        started = time.monotonic()
        for index in range(count):
            core.create_namespaced_service(NAMESPACE, population.service(index))
            for part in population.endpoint_slices(index, time.time_ns()):
                discovery.create_namespaced_endpoint_slice(NAMESPACE, part)
        return report("official client, create", 2 * count, time.monotonic() - started)


def report(what: str, objects: int, seconds: float) -> float:
    """Print and return a rate."""
    rate = objects / seconds
    print(f"{what}: {objects} objects in {seconds:.2f} s: {rate:.0f} per second")
    return rate


def resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's memory from /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no {field}")


if __name__ == "__main__":
    main()
