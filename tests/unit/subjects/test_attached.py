from __future__ import annotations

import subprocess

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.answers import ClockReading, HttpAnswer
from proxybench.nodes.requests import AskClocks, HttpGet, ReadFiles
from proxybench.subjects.attached import _LOG, _SEARCH, AttachedProcess, Found, parse_found
from proxybench.testing.hosts import Run, done
from proxybench.units import NS_PER_S
from tests.factories import DOMAIN
from tests.unit.subjects.rig import handle

POD = "/kubepods.slice/pod1/abc"
PRINTED = f"pid 75\ncgroup {POD}\nlog pipe:[123]\nmember 75 1\nmember 80 75\nmember 81 80\nmember 82 \n"
FOUND = Found(75, f"/sys/fs/cgroup{POD}", "pipe:[123]")
FIND = Run(["sh", "-c", _SEARCH, "find", "/sys/fs/cgroup"], done(PRINTED))
SIZE = Run(["stat", "-L", "-c", "%s", "pipe:[123]"], done(code=1))
CLOCKS = (AskClocks(), ClockReading(5 * NS_PER_S, 1_700_000_000 * NS_PER_S))


def stat(start: str) -> tuple[ReadFiles, dict[str, str | None]]:
    fields = " ".join(["S", *map(str, range(4, 22)), start, "23"])
    return ReadFiles(("/proc/75/stat",)), {"/proc/75/stat": f"75 (kube proxy) {fields}\n" if start else None}


def test_what_the_search_prints_is_read() -> None:
    assert parse_found(PRINTED) == FOUND
    assert parse_found(PRINTED.replace(POD, "/")).cgroup == "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("", "no kube-proxy runs in its network namespace"),
        (PRINTED + PRINTED.replace("75", "76"), "2 kube-proxies run there: 75, 76"),
        (
            "pid 75\ncgroup \nlog /x\n",
            "kube-proxy is in no cgroup of version 2, so that its CPU time cannot be told from others'",
        ),
        (
            PRINTED + "member 90 1\n",
            f"kube-proxy shares its cgroup {POD} with 1 other processes, such as 90",
        ),
    ],
)
def test_what_cannot_be_watched_says_why(printed: str, message: str) -> None:
    with pytest.raises(ProxierError) as caught:
        parse_found(printed)
    assert str(caught.value) == message


def test_it_is_watched_until_it_is_another_process() -> None:
    get = HttpGet("http://127.0.0.1:10249/x", 10.0, 1 << 24)
    node, _, _ = handle(
        [FIND, SIZE, Run(["sh", "-c", _LOG, "log", "pipe:[123]", "1", "1700000000"], done("the end\n"))],
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
    node, _, _ = handle([Run(FIND.argv, done(""))])
    with pytest.raises(ProxierError, match=r"^node-a: no kube-proxy runs in its network namespace$"):
        AttachedProcess.attach(node)


def test_the_search_is_a_shell_s() -> None:
    """No process has this name, while other tests may run a kube-proxy; the script must be right, and end well."""
    script = _SEARCH.replace("-lsx kube-proxy", "-lsx nobody-s-proxy")
    assert script != _SEARCH
    ended = subprocess.run(["sh", "-c", script, "find", "/nowhere"], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("", "")
