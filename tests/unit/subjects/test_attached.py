from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.answers import ClockReading, HttpAnswer
from proxybench.nodes.requests import AskClocks, HttpGet, ReadFiles
from proxybench.subjects.attached import _LOG, _SEARCH, FIND, AttachedProcess, Found, parse_found
from proxybench.testing.hosts import Run, done
from proxybench.units import NS_PER_S
from tests.factories import DOMAIN
from tests.unit.subjects.rig import handle

POD = "/kubepods.slice/pod1/abc"
PRINTED = (
    f"pid 75\nname kube-proxy\ncgroup {POD}\nunit \nlog pipe:[123]\n"
    "member 75 1\nmember 80 75\nmember 81 80\nmember 82 \n"
)
FOUND = Found(75, f"/sys/fs/cgroup{POD}", "pipe:[123]")
SEARCH = Run(["sh", "-c", _SEARCH, "find", "/sys/fs/cgroup", "2809"], done(PRINTED))
UNIT = "/system.slice/k3s.service"
K3S = f"pid 75\nname k3s-server\ncgroup {UNIT}\nunit k3s.service\nlog socket:[5]\n"
SIZE = Run(["stat", "-L", "-c", "%s", "pipe:[123]"], done(code=1))
CLOCKS = (AskClocks(), ClockReading(5 * NS_PER_S, 1_700_000_000 * NS_PER_S))


def stat(start: str) -> tuple[ReadFiles, dict[str, str | None]]:
    fields = " ".join(["S", *map(str, range(4, 22)), start, "23"])
    return ReadFiles(("/proc/75/stat",)), {"/proc/75/stat": f"75 (kube proxy) {fields}\n" if start else None}


def test_what_the_search_prints_is_read() -> None:
    assert parse_found(PRINTED) == FOUND
    assert parse_found(PRINTED.replace(POD, "/")).cgroup == "/sys/fs/cgroup"
    assert SEARCH.argv == list(FIND)


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (
            PRINTED + "member 90 1\n",
            Found(
                75,
                None,
                "pipe:[123]",
                no_cpu=f"kube-proxy shares its cgroup {POD} with 1 other processes, such as 90",
            ),
        ),
        (
            "pid 75\nname kube-proxy\ncgroup \nunit kube-proxy.service\nlog /x\n",
            Found(
                75,
                None,
                "/x",
                "kube-proxy.service",
                "kube-proxy is in no cgroup of version 2, so that its CPU time cannot be told from others'",
            ),
        ),
        (
            K3S,
            Found(
                75, None, "socket:[5]", "k3s.service", "kube-proxy runs inside k3s-server, which does other work, too"
            ),
        ),
    ],
    ids=["shared", "no cgroup", "in another program"],
)
def test_one_whose_cpu_cannot_be_told_from_others_is_found_and_says_why(printed: str, found: Found) -> None:
    assert parse_found(printed) == found


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("", "no kube-proxy runs in its network namespace"),
        (PRINTED + PRINTED.replace("75", "76"), "2 kube-proxies run there: 75, 76"),
        (K3S + K3S.replace("75", "76"), "2 kube-proxies run there: 75, 76"),
    ],
)
def test_what_cannot_be_watched_says_why(printed: str, message: str) -> None:
    with pytest.raises(ProxierError) as caught:
        parse_found(printed)
    assert str(caught.value) == message


def test_it_is_watched_until_it_is_another_process() -> None:
    get = HttpGet("http://127.0.0.1:10249/x", 10.0, 1 << 24)
    node, _, _ = handle(
        [SEARCH, SIZE, Run(["sh", "-c", _LOG, "log", "pipe:[123]", "1", "1700000000", ""], done("the end\n"))],
        [CLOCKS, stat("1234"), (get, HttpAnswer(200, "yes")), stat("1234"), stat("99")],
    )
    process = AttachedProcess.attach(node)
    assert (process.cgroup, process.started_at.ns, process.started_at.domain) == (FOUND.cgroup, 5 * NS_PER_S, DOMAIN)
    assert process.get(10249, "/x") == "yes"
    process.check_alive()
    with pytest.raises(ProxierError) as caught:
        process.check_alive()
    assert str(caught.value) == (
        "node-a: the cluster's kube-proxy ended, or was started anew, while it was watched: the end"
    )
    process.stop(1)
    with pytest.raises(ProxierError, match=r"^node-a: the cluster's kube-proxy is not watched any more$"):
        process.get(10249, "/x")


def test_a_node_without_one_is_named() -> None:
    node, _, _ = handle([Run(SEARCH.argv, done(""))])
    with pytest.raises(ProxierError, match=r"^node-a: no kube-proxy runs in its network namespace$"):
        AttachedProcess.attach(node)


def search(port: int) -> subprocess.CompletedProcess[str]:
    """Search this machine; no process has this name, while other tests may run a kube-proxy."""
    script = _SEARCH.replace("-lsx kube-proxy", "-lsx nobody-s-proxy")
    assert script != _SEARCH
    argv = ["sh", "-c", script, "find", "/nowhere", f"{port:04X}"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_the_search_is_a_shell_s() -> None:
    """The script must be right, and end well, also where it finds nothing."""
    ended = search(0xFFFF)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_without_its_name_it_is_whoever_listens_on_its_port_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)), socket.create_connection(("127.0.0.1", port)):
            ended = search(port)
    lines = ended.stdout.splitlines()
    assert lines[:2] == [f"pid {os.getpid()}", f"name {Path('/proc/self/comm').read_text().strip()}"]
    assert [line.split(" ")[0] for line in lines[2:]] == ["cgroup", "unit", "log", "zone"]
    assert (parse_found(ended.stdout).cgroup, ended.stderr) == (None, "")


@pytest.mark.parametrize(
    ("unit", "asked"), [("k3s.service", "k3s.service"), ("", "kube-proxy")], ids=["of its unit", "of the usual one"]
)
def test_its_log_is_that_of_its_unit_where_it_is_no_file(tmp_path: Path, unit: str, asked: str) -> None:
    stand_in = tmp_path / "journalctl"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    argv = ["sh", "-c", _LOG, "log", "socket:[5]", "1", "1700000000", unit]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ended = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert ended.stdout == f"-u {asked} -o cat --no-pager --since @1700000000\n"


@pytest.mark.parametrize(("zone", "ahead"), [("CET-1", 3600), ("XXX3:30", -12600), ("UTC", 0)])
def test_the_time_zone_in_which_it_logs_is_its_own(zone: str, ahead: int) -> None:
    script = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={"TZ": zone},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        found = parse_found(search(int(other.stdout.readline())).stdout)
        other.communicate("\n")
    assert (found.pid, found.zone_s) == (other.pid, ahead)


def test_a_zone_that_nobody_tells_is_utc() -> None:
    assert parse_found("pid 7\nzone \n").zone_s == 0


LOGGED = 'I1127 12:00:00.000000       1 proxier.go:805] "SyncProxyRules complete" ipFamily="IPv4" elapsed="12.3ms"'


@pytest.mark.parametrize(
    "line",
    [
        f"2026-11-27T12:00:00.123456789Z stderr F {LOGGED}",
        json.dumps(
            {"log": f"{LOGGED}\n", "stream": "stderr", "time": "2026-11-27T12:00:00.123Z"}, separators=(",", ":")
        ),
        json.dumps({"log": LOGGED, "attrs": {"a": "b"}, "stream": "stderr"}, separators=(",", ":")),
    ],
    ids=["CRI", "Docker", "Docker, with attributes"],
)
def test_a_container_s_log_is_read_as_its_runtime_writes_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "kube-proxy-x_kube-system_kube-proxy-1.log").write_text(f"{line}\n")
    script = _LOG.replace("/var/log/containers", str(tmp_path))
    argv = ["sh", "-c", script, "log", "pipe:[5]", "1", "1700000000", ""]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{LOGGED}\n"


def test_where_there_is_no_log_it_is_empty() -> None:
    argv = ["sh", "-c", f"command() {{ return 1; }}\n{_LOG}", "log", "socket:[5]", "1", "1700000000", "k3s.service"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("", "")
