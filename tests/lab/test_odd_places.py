"""A run for real with everything odd at once: where it is, what its user has set, and what else is on its machine.

Nothing of it may reach a process of the lab, and `proxybench doctor` names what could.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from proxybench.cache import cache_folder
from proxybench.targets.lab import artifacts
from tests.lab.binaries import kube_proxy
from tests.lab.labs import descendants, eventually, processes_naming

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

ROOT = Path(__file__).parents[2]
ODD = ("a blank", "100%s", 'it\'s "quoted" \\ [1]', "\u00fcml\u00e4ut, $HOME", "x" * 200)
LIMIT = 240
EXPERIMENT = """\
version: 1
name: odd
target: {lab: {kind: netns}}
subjects:
  - {kind: kube-proxy, path: kube proxy 100%, mode: nftables}
  - {kind: reference, mode: iptables}
scale: {services: [5]}
repetitions: 1
measure:
  sync: {scenarios: [add-one]}
load: {rate: 20, users: 2, duration: 1s}
"""
# In namespaces of its own: what firewalld, docker and another kube-proxy have in a machine's network, an alternative
# `iptables` that notes who asks it, and an sshd that lets nobody in: root's password is locked, hosts.deny names all.
# Nothing of the lab's may pass one of these rules.
MACHINE = """\
set -e
ip link set lo up
xtables-legacy-multi iptables -t nat -N DOCKER
xtables-legacy-multi iptables -t nat -N KUBE-SERVICES
xtables-legacy-multi iptables -t nat -A PREROUTING -j KUBE-SERVICES
xtables-legacy-multi iptables -t nat -A KUBE-SERVICES -d 10.96.0.0/16 -p tcp -j DNAT --to-destination 192.0.2.1:9
xtables-legacy-multi iptables -P FORWARD DROP
nft -f - <<'END'
table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy drop;
    }
}
table ip kube-proxy {
    chain nat-prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr 10.96.0.0/16 tcp dport 1-65535 dnat to 192.0.2.1:9
    }
}
END
cp -a /etc "$1"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sfn "$2" "$1/alternatives/$name"
done
echo 'root:!:19000::::::' > "$1/shadow"
echo 'ALL: ALL' > "$1/hosts.deny"
mount --bind "$1" /etc
rules() { nft list ruleset; xtables-legacy-multi iptables-save | grep '^-'; }
before=$(rules)
shift 2
code=0
ulimit -n 256
LD_PRELOAD=/no/such/library.so "$@" || code=$?
[ "$(rules)" = "$before" ] || { echo "the machine's own rules have changed" >&2; exit 99; }
exit $code
"""
NOTER = """\
import os, sys
with open({path!r}, "a", encoding="utf-8") as file:
    file.write(os.path.basename(sys.orig_argv[1]) + "\\n")
"""


class House:
    """Folders of a user: ``checkout``, ``venv``, ``cache``, ``tmp``, ``work``, all below odd ones."""

    def __init__(self, home: Path) -> None:
        self.home = home.joinpath(*ODD)
        for name in ("checkout", "cache/proxybench", "tmp", "work", "python"):
            (self.home / name).mkdir(parents=True)
        self.asked = home / "asked"
        self.noted = home / "noted"
        self.program = self._install()
        self._litter()

    def _install(self) -> Path:
        for package in ("proxybench", "refproxy"):
            shutil.copytree(ROOT / package, self.home / "checkout" / package)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.home / "venv"], check=True, timeout=60)
        (site,) = (self.home / "venv/lib").glob("python3*/site-packages")
        lines = ["../../../../checkout", str(Path(click.__file__).parents[1])]  # of ASCII, both
        (site / "odd.pth").write_text("\n".join(lines) + "\n")
        program = self.home / "venv/bin/proxybench"
        program.write_text("from proxybench.cli.main import entry\nentry()\n")
        artifacts.ensure(None)
        shutil.copytree(cache_folder() / "sshd", self.home / "cache/proxybench/sshd", symlinks=True)
        shutil.copy2(kube_proxy(), self.home / "work/kube proxy 100%")
        return program

    def _litter(self) -> None:
        """Leave lying about what must not be taken."""
        work = self.home / "work"
        (work / "odd.yaml").write_text(EXPERIMENT)
        (work / "json.py").write_text("raise SystemExit('the json of the current folder')\n")
        (work / "matplotlibrc").write_text("axes.facecolor: red\ntext.usetex: True\n")
        (work / "netrc").write_text("default login me password secret\n")
        (self.home / "python/sitecustomize.py").write_text(NOTER.format(path=str(self.noted)))
        noter = self.home / "iptables"
        noter.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.asked}\nexit 1\n')
        noter.chmod(0o755)

    def environment(self) -> dict[str, str]:
        nowhere = "http://127.0.0.1:9"
        return {
            "PATH": os.environ["PATH"],
            "HOME": "/proc/no-home",  # that not even root can write
            "TMPDIR": str(self.home / "tmp"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **dict.fromkeys(("LC_ALL", "LANG"), "C"),
            **dict.fromkeys(("PYTHONUTF8", "PYTHONCOERCECLOCALE"), "0"),
            "PYTHONPATH": str(self.home / "python"),
            "COLUMNS": "20",
            "TZ": "Asia/Kathmandu",
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"), nowhere),
            "NETRC": str(self.home / "work/netrc"),
            "LOCUST_MASTER": "true",
            "GIT_DIR": "/nowhere/.git",
            "MPLBACKEND": "module://no_such_backend",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program without a terminal, on a machine with other people's rules."""
        etc = str(self.home.parents[len(ODD) - 1] / f"etc-{arguments[0]}")
        machine = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", MACHINE, "machine"]
        return subprocess.Popen(
            [*machine, etc, self.home / "iptables", self.home / "venv/bin/python", self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.home / "work",
            env=self.environment(),
            umask=0o077,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


def marked(pid: int) -> set[str]:
    """Return the command lines of a program's descendants that have its user's environment."""
    found = set()
    for child, command in descendants(pid).items():
        try:
            environ = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if any(one.startswith((b"LD_PRELOAD=", b"PYTHONPATH=", b"http_proxy=", b"TZ=Asia")) for one in environ):
            found.add(command)
    return found


def test_a_run_with_everything_odd_at_once(house: House) -> None:
    running = house.start("run", "odd.yaml")
    seen, of_the_user = set(), set()
    until = time.monotonic() + LIMIT
    while running.poll() is None and time.monotonic() < until:
        seen |= set(descendants(running.pid).values())
        of_the_user |= marked(running.pid)
        time.sleep(0.1)
    output, errors = running.communicate(timeout=5)
    assert running.returncode == 0, output + errors
    assert "Traceback" not in errors
    (run,) = house.home.glob("work/results/odd/2*")
    manifest = json.loads((run / "manifest.json").read_bytes())
    assert manifest["state"] == "complete"
    assert {step["state"] for step in manifest["matrix"]} == {"done"}
    assert (run / "report.html").stat().st_mode & 0o777 == 0o600
    parts = ("lab.supervisor", "apiserver.server", "sshd", "agent", " backend ", "warm.py", "kube proxy 100% --config=")
    for part in parts:
        assert [command for command in seen if part in command] != [], f"{part} was not seen"
        assert [command for command in of_the_user if part in command and "odd.yaml" not in command] == []
    # The user's PYTHONPATH was heeded by the program, once more in its UTF-8 mode, and by nothing that it starts.
    assert house.noted.read_text().splitlines() == ["proxybench", "-X"]
    assert not house.asked.exists()
    assert eventually(lambda: processes_naming(str(house.home / "tmp"))) == {}
    assert list((house.home / "tmp").iterdir()) == []


def test_doctor_names_what_could_reach_a_measurement(house: House) -> None:
    asked = house.start("doctor", "odd.yaml", "--json")
    output, errors = asked.communicate(timeout=LIMIT)
    assert asked.returncode == 0, output + errors
    named = {influence["what"] for influence in json.loads(output)["influences"]}
    assert named >= {
        *(
            f"rules of {owner} in this machine's own network namespace"
            for owner in ("kube-proxy", "docker", "firewalld")
        ),
        "the alternative iptables of this machine is legacy",
        "ALL_PROXY, HTTP_PROXY, http_proxy, https_proxy in the environment",
        "LD_PRELOAD in the environment",
        "programs of this shell may open 256 files",
        "PYTHONCOERCECLOCALE, PYTHONPATH, PYTHONUTF8 in the environment",
    }
