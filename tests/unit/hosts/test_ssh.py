from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import CommandFailedError, CommandTimeoutError, ConnectionLostError
from proxybench.hosts.fleet import together
from proxybench.hosts.ssh import SshExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxybench.hosts.base import Executor
    from proxybench.hosts.connect import ConnectPolicy


@pytest.fixture
def node(server: Any, quick: ConnectPolicy) -> Iterator[SshExecutor]:
    with SshExecutor("node1", server.target, policy=quick) as executor:
        yield executor


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_is_an_executor(node: SshExecutor) -> None:
    seam: Executor = node
    assert seam.name == "node1"


def test_run_gives_output_errors_code_and_time(node: SshExecutor) -> None:
    done = node.run(["sh", "-c", "sleep 0.1; echo out; echo err >&2; exit 3"], check=False)
    assert (done.stdout, done.stderr, done.code) == ("out\n", "err\n", 3)
    assert 0.1 <= done.seconds < 3


def test_run_feeds_stdin_and_ends_it(node: SshExecutor) -> None:
    assert node.run(["cat"], stdin="grüße\n").stdout == "grüße\n"


def test_without_stdin_a_command_reads_the_end_at_once(node: SshExecutor) -> None:
    assert node.run(["cat"], timeout=3).stdout == ""


def test_arguments_arrive_as_they_are(node: SshExecutor) -> None:
    words = ["a b", "$HOME", "`id`", "'", '"', "", "*", "\n", "-n", ";"]
    done = node.run([*python("import json,sys; print(json.dumps(sys.argv[1:]))"), *words])
    assert json.loads(done.stdout) == words


def test_ten_megabytes_on_all_three_streams_do_not_block(node: SshExecutor) -> None:
    size = 10_000_000
    code = (
        "import sys,threading;"
        f"t=threading.Thread(target=lambda: sys.stderr.write('e'*{size}));t.start();"
        f"sys.stdout.write('o'*{size});t.join();print(len(sys.stdin.read()))"
    )
    done = node.run(python(code), stdin="i" * size)
    assert done.stdout == "o" * size + f"{size}\n"
    assert done.stderr == "e" * size


def test_a_command_need_not_read_its_input(node: SshExecutor) -> None:
    assert node.run(["true"], stdin="x" * 5_000_000).code == 0


def test_bytes_that_are_not_utf8_are_shown(node: SshExecutor) -> None:
    assert node.run(["printf", r"a\377b"]).stdout == r"a\xffb"


def test_a_failed_command_says_what_and_why(node: SshExecutor) -> None:
    with pytest.raises(CommandFailedError) as caught:
        node.run(["sh", "-c", "echo one >&2; echo two >&2; exit 4"])
    assert str(caught.value) == ("node1: `sh -c 'echo one >&2; echo two >&2; exit 4'` ended with code 4: one | two")


def test_the_signal_that_ended_a_command_is_named(node: SshExecutor) -> None:
    with pytest.raises(CommandFailedError) as caught:
        node.run(["sh", "-c", "kill -SEGV $$"])
    assert str(caught.value) == "node1: `sh -c 'kill -SEGV $$'` was ended by SIGSEGV"
    assert node.run(["sh", "-c", "kill -KILL $$"], check=False).code == 137


def test_a_time_limit_kills_the_command(node: SshExecutor, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimeoutError) as caught:
        node.run(["sh", "-c", f"(sleep 1; touch {tmp_path}/late)& wait"], timeout=0.3)
    assert str(caught.value).startswith("node1: `sh -c '(sleep 1; touch ")
    assert str(caught.value).endswith("late)& wait'` did not end within 0.3 s")
    assert time.monotonic() - started < 0.9
    time.sleep(0.9)
    assert not (tmp_path / "late").exists()


def test_a_time_limit_holds_when_the_remote_hangs_silently(node: SshExecutor) -> None:
    with pytest.raises(CommandTimeoutError, match=r"^node1: `hang` did not end within 0\.2 s$"):
        node.run(["hang"], stdin="x" * 5_000_000, timeout=0.2)
    assert node.run(["echo", "still there"]).stdout == "still there\n"


def test_a_time_limit_holds_when_sshd_itself_does_not_answer(server: Any, quick: ConnectPolicy) -> None:
    with SshExecutor("node1", server.target, policy=replace(quick, kill=0.1)) as node:
        with pytest.raises(CommandTimeoutError, match=r"^node1: `deaf` did not end within 0\.2 s$"):
            node.run(["deaf"], timeout=0.2)
        with pytest.raises(CommandTimeoutError, match=r"^node1: `true` did not end within 0\.2 s$"):
            node.run(["true"], timeout=0.2)  # not even a channel opens now
        server.released.set()


def test_a_command_that_sshd_refuses(node: SshExecutor) -> None:
    with pytest.raises(ConnectionLostError, match=r"^node1: sshd did not start `refused` \(Channel closed\.\)$"):
        node.run(["refused"])


def test_a_connection_that_drops_while_running(node: SshExecutor) -> None:
    with pytest.raises(ConnectionLostError, match=r"^node1: the connection broke while `drop` was running$"):
        node.run(["drop"], check=False)
    with pytest.raises(ConnectionLostError, match=r"^node1: sshd opened no channel \("):
        node.run(["true"])


def test_commands_run_side_by_side(node: SshExecutor) -> None:
    started = time.monotonic()
    threads = [threading.Thread(target=node.run, args=(["sleep", "0.4"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 1.2


def test_put_and_get_keep_every_byte(node: SshExecutor, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096 + b"\xff\x00\r\n"
    path = tmp_path / "a 'file' $x"
    node.put(data, str(path), mode=0o640)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o640
    assert node.get(str(path)) == data
    assert [entry.name for entry in tmp_path.iterdir() if "part" in entry.name] == []


def test_put_replaces_a_file_and_keeps_secrets_private(node: SshExecutor, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    node.put(b"", str(tmp_path / "f"))
    assert (tmp_path / "f").read_bytes() == b""
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o600


def test_a_put_that_is_cut_short_leaves_the_old_file(node: SshExecutor, server: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    server.loses_half = True
    with pytest.raises(CommandFailedError, match=r"^node1: cannot write .*/f: cut short$"):
        node.put(b"new content", str(tmp_path / "f"))
    assert (tmp_path / "f").read_text() == "old"
    assert list(tmp_path.glob("f.*")) == []


def test_put_and_get_say_why_not(node: SshExecutor) -> None:
    with pytest.raises(CommandFailedError, match=r"^node1: cannot write /nowhere/f: .*[Dd]irectory"):
        node.put(b"x", "/nowhere/f")
    with pytest.raises(CommandFailedError, match=r"^node1: cannot read /nowhere/f: .*No such file"):
        node.get("/nowhere/f")


def test_another_host_key_is_named_and_refused(
    server: Any, new_server: Callable[[], Any], quick: ConnectPolicy
) -> None:
    other = new_server()
    target = replace(server.target, host_key=other.target.host_key)
    with pytest.raises(ConnectionLostError) as caught:
        SshExecutor("node1", target, policy=quick)
    assert str(caught.value) == (
        f"node1: 127.0.0.1:{target.port} showed another host key: "
        f"expected ssh-ed25519 {other.key.fingerprint}, found ssh-ed25519 {server.key.fingerprint}"
    )
    assert server.connections == 1  # a wrong key is no reason to try again
    assert server.commands == []


@pytest.mark.parametrize("line", [" ", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "what AAAAB3Nz"])
def test_a_host_key_that_is_none(server: Any, line: str) -> None:
    target = replace(server.target, host_key=line)
    with pytest.raises(ConnectionLostError, match=r"host key given for 127\.0\.0\.1:\d+ is not a public key$"):
        SshExecutor("node1", target)


def test_another_identity_is_refused(server: Any, other_identity: Path, quick: ConnectPolicy) -> None:
    target = replace(server.target, identity=other_identity)
    with pytest.raises(
        ConnectionLostError, match=rf"^node1: 127\.0\.0\.1:\d+ refused root with the key in {other_identity}$"
    ):
        SshExecutor("node1", target, policy=quick)
    assert server.connections == 1


@pytest.mark.parametrize("content", [None, "", "no key"])
def test_an_identity_that_is_none(server: Any, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConnectionLostError, match=rf"^node1: cannot use {path} as an identity: "):
        SshExecutor("node1", replace(server.target, identity=path))


def test_nobody_listens(server: Any, quick: ConnectPolicy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        ConnectionLostError, match=rf"^node1: cannot connect to 127\.0\.0\.1:{port}: Connection refused$"
    ):
        SshExecutor("node1", replace(server.target, port=port), policy=quick)


def test_a_listener_that_says_nothing(server: Any, quick: ConnectPolicy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = replace(server.target, port=mute.getsockname()[1])
        with pytest.raises(ConnectionLostError, match=r": no answer within 0\.3 s$"):
            SshExecutor("node1", target, policy=replace(quick, step=0.3))


def test_a_refused_connection_is_tried_again(new_server: Callable[..., Any], quick: ConnectPolicy) -> None:
    late = new_server(late=0.3)
    with SshExecutor("node1", late.target, policy=replace(quick, attempts=50)) as node:
        assert node.run(["echo", "at last"]).stdout == "at last\n"
    assert late.connections == 1


def test_trying_again_has_an_end(server: Any, quick: ConnectPolicy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match=r"Connection refused$"):
        SshExecutor("node1", replace(server.target, port=port), policy=replace(quick, attempts=500, total=0.3))
    assert time.monotonic() - started < 0.6


def test_text_in_error_messages_is_bounded(node: SshExecutor) -> None:
    with pytest.raises(CommandFailedError) as caught:
        node.run(["false", "x" * 500])
    assert re.fullmatch(r"node1: `false x{154}…` ended with code 1", str(caught.value))


def test_commands_on_one_host_take_turns(node: SshExecutor, tmp_path: Path) -> None:
    """Twelve at once, of which four run at a time; who waits for longer than it may is told so."""
    folder = tmp_path / "running"
    folder.mkdir()
    count = 'touch "$1/$2"; ls "$1" | wc -l; sleep 0.15; rm "$1/$2"'
    jobs = {
        str(number): (lambda number=number: int(node.run(["sh", "-c", count, "x", str(folder), str(number)]).stdout))
        for number in range(12)
    }
    assert max(together(jobs, 20).values()) <= 4
    busy = [threading.Thread(target=node.run, args=(["sleep", "1"],)) for _ in range(4)]
    for one in busy:
        one.start()
    time.sleep(0.3)
    with pytest.raises(CommandTimeoutError, match=r"^node1: `true` did not end within 0\.1 s$"):
        node.run(["true"], timeout=0.1)
    for one in busy:
        one.join()
