from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import CommandFailedError, CommandTimeoutError
from proxybench.hosts.base import Completed
from proxybench.hosts.batch import run_together, script, split
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.factories import MARK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENDING = "printf '\\n%s%s %d\\n' 01234567 89abcdef \"$?\""


class LocalExecutor(FakeExecutor):
    """Runs commands on this machine, as SshExecutor does on another: by a shell's exec, and with its decoding."""

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        raw = subprocess.run(argv, input=(stdin or "").encode(), capture_output=True, timeout=timeout, check=False)
        if check and raw.returncode != 0:
            raise CommandFailedError(f"{self.name}: ended with code {raw.returncode}")
        stdout, stderr = (data.decode(errors="backslashreplace") for data in (raw.stdout, raw.stderr))
        return Completed(stdout, stderr, raw.returncode, 0.0)


def local(*commands: Sequence[str]) -> list[tuple[str, int]]:
    return [(one.stdout, one.code) for one in run_together(LocalExecutor("here"), commands, timeout=10)]


def test_each_command_has_its_own_output_and_code() -> None:
    assert local(["echo", "one"], ["sh", "-c", "echo two; exit 3"], ["true"], ["printf", "no newline"]) == [
        ("one\n", 0),
        ("two\n", 3),
        ("", 0),
        ("no newline", 0),
    ]


def test_what_fails_or_dies_or_is_missing_stops_no_other() -> None:
    assert local(["false"], ["sh", "-c", "kill -KILL $$"], ["proxybench-no-such-program"], ["echo", "on"]) == [
        ("", 1),
        ("", 137),
        ("", 127),
        ("on\n", 0),
    ]


def test_a_builtin_of_the_shell_is_not_run() -> None:
    assert local(["exit", "0"], ["echo", "on"]) == [("", 127), ("on\n", 0)]


def test_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    words = ["", "a b", "it's", '"$HOME"', "`id`", "line\nbreak", "*", "\\n", "-n", "é"]
    assert local(["printf", "%s|", *words]) == [("|".join(words) + "|", 0)]
    assert local(["ls", str(tmp_path)], ["touch", f"{tmp_path}/x; y"], ["ls", str(tmp_path)]) == [
        ("", 0),
        ("", 0),
        ("x; y\n", 0),
    ]


def test_any_bytes_may_be_printed() -> None:
    # The second is the first half of a character: what comes behind it must not be taken for its other half.
    assert local(["printf", "\\377\\000\\r\\n\\n"], ["printf", "\\303"], ["printf", "\\n\\n"]) == [
        ("\\xff\0\r\n\n", 0),
        ("\\xc3", 0),
        ("\n\n", 0),
    ]


def test_a_command_that_prints_the_script_does_not_print_the_mark() -> None:
    (shown, code), last = local(["sh", "-c", "cat /proc/$PPID/cmdline"], ["echo", "on"])
    assert "printf" in shown
    assert code == 0
    assert last == ("on\n", 0)


def test_no_command_reads_the_input_of_another() -> None:
    assert local(["cat"], ["cat"]) == [("", 0), ("", 0)]


def test_errors_are_told_together() -> None:
    first, second = run_together(
        LocalExecutor("here"), [["sh", "-c", "echo a >&2"], ["sh", "-c", "echo b >&2"]], timeout=10
    )
    assert first.stderr == second.stderr == "a\nb\n"


def test_one_exec_whatever_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count: MARK if count == 16 else "")
    text = f"(exec echo 'a b' </dev/null); {ENDING}\n(exec false </dev/null); {ENDING}"
    answer = Completed(f"a b\n\n{MARK} 0\n\n{MARK} 1\n", "words", 0, 0.4)
    executor = FakeExecutor("node-a", [Run(["sh", "-c", text], answer)])
    assert run_together(executor, [["echo", "a b"], ["false"]], timeout=5) == [
        Completed("a b\n", "words", 0, 0.4),
        Completed("", "words", 1, 0.4),
    ]
    executor.assert_done()


def test_nothing_to_run_asks_for_nothing() -> None:
    assert run_together(FakeExecutor("node-a"), [], timeout=5) == []


@pytest.mark.usefixtures("known_mark")
def test_a_shell_that_did_not_get_to_the_end_is_told() -> None:
    commands = [["echo"], ["true"]]
    argv = ["sh", "-c", script(commands, MARK)]
    executor = FakeExecutor("node-a", [Run(argv, done(f"\n\n{MARK} 0\n")), Run(argv, done(code=137))])
    with pytest.raises(CommandFailedError) as caught:
        run_together(executor, commands, timeout=5)
    assert str(caught.value) == "node-a: 1 of 2 commands were run to their end"
    with pytest.raises(CommandFailedError, match=r"ended with code 137$"):
        run_together(executor, commands, timeout=5)


@pytest.mark.usefixtures("known_mark")
def test_the_time_limit_is_that_of_all() -> None:
    limits = []

    class Slow(FakeExecutor):
        def run(
            self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
        ) -> Completed:
            limits.append(timeout)
            return super().run(argv, stdin=stdin, timeout=timeout, check=check)

    late = CommandTimeoutError("node-a: too late")
    executor = Slow("node-a", [Run(["sh", "-c", script([["true"]], MARK)], late)])
    with pytest.raises(CommandTimeoutError, match=r"^node-a: too late$"):
        run_together(executor, [["true"]], timeout=7)
    assert limits == [7]


@given(st.lists(st.tuples(st.text(), st.integers(0, 255))))
def test_whatever_was_printed_is_split_as_it_was(pieces: list[tuple[str, int]]) -> None:
    mark = "mark that hypothesis does not find"
    assert split("".join(f"{text}\n{mark} {code}\n" for text, code in pieces), mark) == pieces
