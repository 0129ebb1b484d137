from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ProxierError
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.nodes.answers import Spawned, Stopped
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import Capability
from proxybench.subjects.kube_proxy import KubeProxyDriver
from proxybench.subjects.kube_proxy_config import render_config, render_kubeconfig
from proxybench.subjects.node_checks import ABLE
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import Run, done
from tests.unit.subjects.rig import (
    CLUSTER,
    FOLDER,
    NODE,
    STOP,
    FakeBinaries,
    ending,
    handle,
    make_binary,
    make_spec,
    spawn,
    together,
    unpack,
)

if TYPE_CHECKING:
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.subjects.driver import ProxyDriver

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUMMED = Run(["sha512sum", "/cache/kube-proxy"], done(f"{make_binary().sha512}  /cache/kube-proxy\n"))
ARGV = ["/cache/kube-proxy", f"--config={FOLDER}/config.yaml", "--v=2"]
SPAWN = spawn(ARGV, {"PATH": f"{FOLDER}/bin:{SYSTEM}", "TZ": "UTC"})
UNAME = Run(["uname", "-m"], done("x86_64\n"))


def links(program: str) -> dict[str, str]:
    names = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
    return {f"bin/{name}": program for name in names}


def bundle(spec: SubjectSpec, program: str) -> Bundle:
    files = {
        "token": "secret",
        "ca.pem": "the CA\n",
        "kubeconfig": render_kubeconfig(CLUSTER.api, f"{FOLDER}/ca.pem", f"{FOLDER}/token"),
        "config.yaml": render_config(spec, NODE, CLUSTER, f"{FOLDER}/kubeconfig"),
    }
    return Bundle(files, links(program))


def driver() -> KubeProxyDriver:
    return KubeProxyDriver(FakeBinaries(make_binary()), FakeClock())


def as_driver(one: KubeProxyDriver) -> ProxyDriver:
    return one  # mypy's word that it is one


def test_a_binary_is_got_once_and_tells_the_version() -> None:
    binaries = FakeBinaries(make_binary(version="v1.38.0-alpha.0.7+0123456789abcd"))
    one = as_driver(KubeProxyDriver(binaries, FakeClock()))
    spec = one.resolve(make_spec(version="", source=Path("/kubernetes")))
    assert spec.subject.version == "v1.38.0-alpha.0.7+0123456789abcd"
    assert one.resolve(spec) == spec
    assert one.resolve(make_spec(version="", source=Path("/kubernetes"), mode=Mode.IPVS)).mode is Mode.IPVS
    assert binaries.asked == ["/kubernetes"]


def test_what_was_not_resolved_cannot_be_started() -> None:
    node, _, _ = handle()
    with pytest.raises(ProxierError) as caught:
        driver().start(make_spec(), node, CLUSTER)
    assert str(caught.value) == "kube-proxy v1.37.2 iptables: was not resolved before it was started"


@pytest.mark.parametrize(("backend", "program"), [(Backend.LEGACY, "/x/legacy"), (Backend.NFT, "/x/nft")])
def test_it_is_started_with_the_backend_of_iptables_that_was_chosen(backend: Backend, program: str) -> None:
    one, spec = driver(), make_spec(iptables=backend)
    listing = Run([program, "iptables", "-w", "30", "-t", "nat", "-S", "KUBE-SERVICES"], done(""))
    node, executor, agent = handle([SUMMED, unpack(bundle(spec, program)), listing], [(SPAWN, Spawned(7, 123))])
    running = one.start(one.resolve(spec), node, CLUSTER)
    assert running.rule_ranks() == {}
    assert running.files() == {"kube-proxy.yaml": bundle(spec, program).files["config.yaml"]}
    assert "secret" not in "".join(running.files().values())
    executor.assert_done()
    agent.verify()


def test_the_binary_is_looked_for_once_on_a_node_and_sigterm_is_a_good_end() -> None:
    one, spec = driver(), make_spec(mode=Mode.NFTABLES, iptables=None)
    put = unpack(bundle(spec, "/x/legacy"))
    ends = Stopped(-15, killed=False, cgroup_removed=True)
    node, executor, agent = handle(
        [SUMMED, put, ending("a\n"), put, ending("b\n")],
        [(SPAWN, Spawned(7, 1)), (STOP, ends), (SPAWN, Spawned(7, 2)), (STOP, ends)],
    )
    for log in ("a\n", "b\n"):
        running = one.start(one.resolve(spec), node, CLUSTER)
        running.stop(20)
        assert running.log() == log
        assert running.syncs() == ()
    executor.assert_done()
    agent.verify()


def test_userspace_mode_may_open_a_file_for_every_service_and_logs_its_syncs() -> None:
    one = KubeProxyDriver(FakeBinaries(make_binary(version="v1.20.2")), FakeClock())
    spec = make_spec(version="v1.20.2", mode=Mode.USERSPACE)
    started = spawn(["sh", "-c", 'ulimit -n 262144; exec "$@"', "kube-proxy", *ARGV, "--vmodule=proxier=4"], SPAWN.env)
    node, executor, agent = handle([SUMMED, unpack(bundle(spec, "/x/legacy"))], [(started, Spawned(7, 123))])
    one.start(one.resolve(spec), node, CLUSTER)
    executor.assert_done()
    agent.verify()


def test_cleanup_uses_the_same_iptables() -> None:
    one, spec = driver(), make_spec(iptables=Backend.NFT)
    folder = "/run/pb/proxy-cleanup"
    argv = ["env", f"PATH={folder}/bin:{SYSTEM}", "TZ=UTC", "/cache/kube-proxy", "--cleanup", "--v=2"]
    node, executor, _ = handle([unpack(Bundle({}, links("/x/nft")), folder), SUMMED, Run(argv, done(code=1))])
    one.cleanup(one.resolve(spec), node)
    executor.assert_done()


def test_a_version_without_the_mode() -> None:
    one = KubeProxyDriver(FakeBinaries(make_binary(version="v1.28.3")), FakeClock())
    node, _, _ = handle()
    spec = one.resolve(make_spec(version="v1.28.3", mode=Mode.NFTABLES, iptables=None))
    assert one.check(spec, node) == Capability(
        supported=False,
        reason="kube-proxy v1.28.3 has no nftables mode: nftables came in 1.29",
        fix="use 1.29 or newer",
    )


def test_a_node_of_another_architecture() -> None:
    one = driver()
    node, _, _ = handle([Run(["uname", "-m"], done("aarch64\n"))])
    assert one.check(one.resolve(make_spec()), node) == Capability(
        supported=False,
        reason="node-a: this kube-proxy is built for amd64, the node is arm64",
        fix="give a kube-proxy that is built for arm64",
    )


def test_a_node_that_has_all() -> None:
    one = driver()
    argv = ["/x/legacy", "iptables", "-w", "10", "-t", "nat", "-S", "OUTPUT"]
    node, executor, _ = handle([UNAME, together([argv], ("", 0))])
    assert one.check(one.resolve(make_spec()), node) == ABLE
    executor.assert_done()
