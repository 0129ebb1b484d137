"""A systemd unit's way to run kube-proxy: the unit kube-proxy on each host, with a configuration file.

Found by what ``systemctl show`` tells of it. The file is replaced by a new one that is moved over it, after its owner,
mode and labels were copied, and only while it holds what was read before; then the unit is restarted.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from proxybench.errors import CommandFailedError, ConnectionLostError, HostError, RunError, UsageError
from proxybench.targets.cluster.switch.changes import TEXT, mode_change
from proxybench.targets.cluster.switch.way import START_SECONDS, hosts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.kube.base import Object
    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.switch.way import Written

UNIT: Final = "kube-proxy"
SHOW: Final = ("systemctl", "show", UNIT, *(f"--property={name}" for name in ("LoadState", "ActiveState", "ExecStart")))
_TELL: Final = f"""\
systemctl show {UNIT} --property=ActiveState --property=Result
journalctl --unit={UNIT} --no-pager --output=cat --lines=100
"""
HOW: Final = ("sh", "-c", _TELL)
"""Asks what systemd says of the unit, then what that said last."""
RESTART: Final = ("systemctl", "restart", UNIT)
_LIMIT: Final = 60.0
_RESTART_LIMIT: Final = 150.0
_POLL: Final = 1.0
_EDITED: Final = 9
_STOPPED: Final = {"inactive", "deactivating"}
# klog's errors, without what is of no use to people; then cobra's.
_FAULT: Final = re.compile(r"^(?:[EF]\d{4} .*?\] |[Ee]rror: )(.*?)(?: logger=.*)?$", re.MULTILINE)
_SHOWN: Final = 300
# $1 path, $2 SHA-256 of what it holds, $3 bytes of what comes; that comes by the standard input. Cut off anywhere, the
# file is the old one or the new one. Between the comparison and the move lie some microseconds.
_PUT: Final = r"""
new=$(mktemp -- "$1.proxybench.XXXXXX") || exit 1
trap 'rm -f -- "$new"' EXIT
cp -a -- "$1" "$new" && cat > "$new" && [ "$(wc -c < "$new")" -eq "$3" ] && sync -- "$new" || exit 1
[ "$(sha256sum < "$1")" = "$2  -" ] || exit 9
mv -f -- "$new" "$1" && sync -- "$(dirname -- "$1")"
"""
# $1 path. Whoever goes on with the above without the new file moves nothing any more.
_SETTLE: Final = 'rm -f -- "$1".proxybench.??????'


@dataclass(frozen=True)
class Unit:
    """Where a host's unit has its configuration; ``why`` it cannot be switched, "" when it can."""

    config: str
    why: str = ""


def parse_unit(shown: str) -> Unit:
    """Read what ``systemctl show`` printed. Pure."""
    words = dict(line.partition("=")[::2] for line in shown.splitlines())
    if words.get("LoadState") != "loaded":
        return Unit("", f"no systemd unit {UNIT} is loaded there")
    if words.get("ActiveState") in _STOPPED:  # a restart would start it, perhaps beside the one that runs there
        return Unit("", f"the unit {UNIT} is stopped; what runs there, if anything, is another kube-proxy")
    command = words.get("ExecStart", "").partition("argv[]=")[2].partition(" ; ignore_errors=")[0]
    try:
        argv = shlex.split(command)
    except ValueError:
        argv = []
    places = [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    places += [after for word, after in pairwise(argv) if word == "--config"]
    if not places and "$" in command:
        return Unit("", f"the arguments of the unit {UNIT} come from its environment")
    if not places:
        return Unit("", f"the unit {UNIT} starts it without --config")
    if not places[-1].startswith("/"):
        return Unit("", f"--config of the unit {UNIT} is no whole path: {places[-1]}")
    return Unit(places[-1])


def read_unit(executor: Executor) -> Unit:
    """Ask a host for its unit; the path is that of the file itself, whatever links lead there. Raises HostError."""
    shown = executor.run(SHOW, check=False, timeout=_LIMIT)
    unit = parse_unit(shown.stdout) if shown.code == 0 else Unit("", "it has no systemd")
    if unit.why:
        return unit
    found = executor.run(["readlink", "-e", "--", unit.config], check=False, timeout=_LIMIT)
    if found.code:
        return Unit("", f"{unit.config}, which the unit {UNIT} names, is not there")
    return Unit(found.stdout.rstrip("\n"))


class UnitWay:
    """Implements Way on the hosts that run kube-proxy, by name.

    ``modes`` asks them in which mode it runs, "" where it does not answer; ``start_s`` is as ``START_SECONDS``.
    """

    def __init__(self, hosts: Fleet, modes: Callable[[], Mapping[str, str]], start_s: float = START_SECONDS) -> None:
        self._hosts = hosts
        self._modes = modes
        self._start_s = start_s

    def settle(self, path: str) -> None:
        """Remove the new files that are to replace a host's: a shell may outlive who began it, or end halfway."""
        host, _, file = path.partition(":")
        self._host(host).run(["sh", "-c", _SETTLE, "settle", file], timeout=_LIMIT)

    def get(self, path: str) -> Object:
        """Return a host's file as an object. Raises HostError; UsageError for what is no text."""
        host, _, file = path.partition(":")
        data = self._host(host).get(file)
        try:
            return {TEXT[0]: data.decode()}
        except UnicodeDecodeError:
            raise UsageError(f"{path} is no text") from None

    def put(self, path: str, found: Object, made: Object) -> bool:
        """Replace a host's file, unless it no longer holds what was found. Raises HostError."""
        host, _, file = path.partition(":")
        old, new = (one[TEXT[0]].encode() for one in (found, made))
        argv = ["sh", "-c", _PUT, "put", file, hashlib.sha256(old).hexdigest(), str(len(new))]
        done = self._host(host).run(argv, stdin=new.decode(), check=False, timeout=_LIMIT)
        if done.code not in {0, _EDITED}:
            raise CommandFailedError(f"{path} cannot be written: {' '.join(done.stderr.split()) or 'cut short'}")
        return done.code == 0

    def plan(self, mode: Mode, image: str, mark: str) -> tuple[Change, ...]:
        """Return what a switch would change: a line of each host's file. Raises UsageError, HostError."""
        del mark
        if image:
            raise UsageError(f"kube-proxy runs as a systemd unit here, which has no image; leave out image: {image}")
        found = self._hosts.fan_out(read_unit, timeout=_LIMIT)
        if lacking := {host: unit.why for host, unit in found.items() if unit.why}:
            host, why = next(iter(lacking.items()))
            more = f", and {len(lacking) - 1} further hosts lack such a thing" if len(lacking) > 1 else ""
            raise UsageError(f"kube-proxy cannot be switched: {host}: {why}{more}: it is observed only")
        return tuple(self._change(f"{host}:{unit.config}", mode) for host, unit in found.items())

    def _change(self, path: str, mode: Mode) -> Change:
        return mode_change(path, TEXT, str(self.get(path)[TEXT[0]]), mode)

    def warnings(self) -> tuple[str, ...]:
        """Say nothing: a file does not tell who else writes it."""
        return ()

    def start_anew(self, written: Written) -> tuple[str, ...]:
        """Restart the unit where the file is as it is to be: what runs may have read another. Raises HostError."""
        hosts = hosts_of((*written.made, *written.right))
        if not hosts:
            return ()
        self._hosts.fan_out(_restart, timeout=_RESTART_LIMIT, nodes=hosts)
        return (f"restarted {UNIT} on {', '.join(hosts)}",)

    def await_running(self, limit_s: float, sleep: Callable[[float], None]) -> None:
        """Wait until every host's kube-proxy answers. Raises RunError, with what it said; HostError.

        A unit that has failed is not waited for: systemd starts it no more.
        """
        limit = min(limit_s, self._start_s)
        end = time.monotonic() + limit
        while silent := [host for host, mode in self._modes().items() if not mode]:
            how = self._hosts.fan_out(_ask_how, timeout=_LIMIT, nodes=silent)
            failed = [f"{host} ({words})" for host, (active, words) in how.items() if active == "failed"]
            if failed:
                raise RunError(f"kube-proxy does not run after its restart: {', '.join(failed)}")
            if time.monotonic() > end:
                shown = ", ".join(f"{host} ({words})" if words else host for host, (_, words) in how.items())
                raise RunError(f"kube-proxy does not answer within {limit:g} s of its restart: {shown}")
            sleep(_POLL)

    def _host(self, name: str) -> Executor:
        if name not in set(self._hosts):
            raise ConnectionLostError(f"{name} was not reached")
        return self._hosts[name]


def parse_how(text: str) -> tuple[str, str]:
    """Return the state of a unit and how it is, with its last error, in words for people; "" for what is not told."""
    shown = dict(line.partition("=")[::2] for line in text.splitlines()[:2])
    active, result = shown.get("ActiveState", ""), shown.get("Result", "")
    faults = _FAULT.findall(text)
    words = [active, result if result != "success" else "", f"its log: {faults[-1][:_SHOWN]}" if faults else ""]
    return active, "; ".join(filter(None, words))


def _ask_how(executor: Executor) -> tuple[str, str]:
    return parse_how(executor.run(HOW, check=False, timeout=_LIMIT).stdout)


def _restart(executor: Executor) -> None:
    try:
        executor.run(RESTART, timeout=_RESTART_LIMIT)
    except HostError as error:
        raise CommandFailedError(f"{error}; its log: journalctl -u {UNIT}") from error
