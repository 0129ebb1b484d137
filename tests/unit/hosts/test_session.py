from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.clocks import estimate, ping
from proxybench.errors import CommandTimeoutError, ConnectionLostError
from proxybench.hosts.ssh import SshExecutor
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.hosts.base import Session
    from proxybench.hosts.connect import ConnectPolicy


@pytest.fixture
def node(server: Any, quick: ConnectPolicy) -> Iterator[SshExecutor]:
    with SshExecutor("node1", server.target, policy=quick) as executor:
        yield executor


def test_lines_go_both_ways(node: SshExecutor) -> None:
    session: Session = node.open(["cat"])
    session.send_line("grüße")
    session.send_line("")
    assert session.read_line(3) == "grüße"
    assert session.read_line(3) == ""
    session.close()


def test_a_line_of_megabytes_is_no_burden(node: SshExecutor) -> None:
    session = node.open([sys.executable, "-c", "print('x' * 8_000_000); [print(i) for i in range(100_000)]"])
    started = time.monotonic()
    assert session.read_line(10) == "x" * 8_000_000
    assert [session.read_line(5) for _ in range(100_000)] == [str(number) for number in range(100_000)]
    assert time.monotonic() - started < 5
    session.close()


def test_a_silent_command_runs_into_the_time_limit_and_goes_on(node: SshExecutor) -> None:
    session = node.open(["sh", "-c", "printf 'ha'; sleep 0.4; echo lf; read x"])
    with pytest.raises(CommandTimeoutError) as caught:
        session.read_line(0.1)
    assert str(caught.value) == (
        "node1: `sh -c 'printf '\"'\"'ha'\"'\"'; sleep 0.4; echo lf; read x'` said nothing within 0.1 s"
    )
    assert session.read_line(3) == "half"
    session.close()


def test_much_stderr_does_not_block_and_its_end_is_told(node: SshExecutor) -> None:
    noise = "import sys; sys.stderr.write('noise\\n' * 1_000_000 + 'a\\nb\\nthe reason\\n');"
    code = noise + "print('line'); print('cut', end='')"
    session = node.open([sys.executable, "-c", code])
    assert session.read_line(5) == "line"
    with pytest.raises(ConnectionLostError, match=r"ended with code 0: a \| b \| the reason$"):
        session.read_line(5)  # "cut" lacks its newline: it is no line
    session.close()


def test_writing_to_a_command_that_ended(node: SshExecutor) -> None:
    session = node.open(["sh", "-c", "echo bye >&2; exit 3"])
    with pytest.raises(ConnectionLostError, match=r"^node1: `sh -c 'echo bye >&2; exit 3'` ended with code 3: bye$"):
        session.read_line(3)
    with pytest.raises(ConnectionLostError, match=r"^node1: `sh -c 'echo bye >&2; exit 3'` ended with code 3: bye$"):
        session.send_line("x")
    assert session.ended == "ended with code 3"
    session.close()


def test_the_signal_that_ended_a_command_is_told_also_to_who_only_looks(node: SshExecutor) -> None:
    session = node.open(["sh", "-c", "read line; kill -KILL $$"])
    assert session.ended == ""
    session.send_line("now")
    deadline = time.monotonic() + 5
    while not session.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert session.ended == "was ended by SIGKILL"
    with pytest.raises(ConnectionLostError, match=r"\$\$'` was ended by SIGKILL$"):
        session.read_line(3)
    session.close()


def test_a_connection_that_drops(node: SshExecutor) -> None:
    session = node.open(["drop"])
    with pytest.raises(ConnectionLostError, match=r"^node1: `drop` is gone$"):
        session.read_line(3)
    with pytest.raises(ConnectionLostError, match=r"^node1: `drop` is gone$"):
        session.send_line("x")
    assert session.ended == "is gone"
    session.close()


def test_close_lets_a_command_end_by_itself(node: SshExecutor, server: Any, tmp_path: Path) -> None:
    session = node.open(["sh", "-c", f"cat; touch {tmp_path}/tidy"])
    session.close()
    session.close()
    assert (tmp_path / "tidy").exists()
    assert len(server.commands) == 1  # nobody had to be killed


def test_close_ends_a_command_that_does_not_listen(node: SshExecutor, tmp_path: Path) -> None:
    session = node.open(["sh", "-c", f"trap 'touch {tmp_path}/term; exit' TERM; echo up; sleep 60 & wait"])
    assert session.read_line(3) == "up"
    started = time.monotonic()
    session.close()
    assert 2 <= time.monotonic() - started < 5
    node.run(["sh", "-c", f"while ! test -e {tmp_path}/term; do sleep 0.02; done"], timeout=3)


def test_the_clock_over_a_real_session(node: SshExecutor) -> None:
    echo = "import sys,time\nfor _ in sys.stdin:\n print(time.monotonic_ns(),flush=True)"
    session = node.open([sys.executable, "-c", echo])

    def ask() -> int:
        session.send_line("")
        return int(session.read_line(5))

    offset = estimate(ping(ask, SystemClock()))
    session.close()
    assert abs(offset.value) <= offset.bound  # the same machine, hence the same clock
    assert offset.bound < 50_000_000
