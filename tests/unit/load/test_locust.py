"""The real locust, forked off its real program, against real servers on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxybench.errors import CommandTimeoutError, MeasurementError
from proxybench.load.command import Part, build_request
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import parse
from proxybench.load.session import WarmLocust, run_together
from tests.unit.load.warm_program import PipeSession, ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Backend:
    """Accepts, says its line after ``delay`` seconds, and counts how connections ended."""

    def __init__(self, line: bytes, delay: float = 0.0) -> None:
        self.line, self.delay = line, delay
        self.accepted = self.resets = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def target(self) -> Target:
        return Target("127.0.0.1", self.listener.getsockname()[1], ("127.0.0.1",))

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.accepted += 1
                with sock:
                    time.sleep(self.delay)
                    try:
                        if self.line:
                            sock.sendall(self.line)
                            sock.recv(1)
                    except ConnectionResetError:
                        self.resets += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def make(line: bytes = b"127.0.0.1 127.0.0.1\n", delay: float = 0.0) -> Backend:
        made.append(Backend(line, delay))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipeSession]:
    home = tmp_path_factory.mktemp("home")  # of a user whose settings would make it the master of a worker
    (home / ".locust.conf").write_text("master = true\nexpect-workers = 1\n")
    (home / "locust.conf").write_text("tags = none\n")
    session = PipeSession(tmp_path_factory.mktemp("program"), HOME=str(home), LOCUST_MASTER="true", LOCUST_CSV="csv")
    yield session
    session.close()
    assert session.process.returncode == 0


@pytest.fixture(scope="module")
def other(program: PipeSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipeSession]:
    session = PipeSession(tmp_path_factory.mktemp("other"))
    yield session
    session.close()


@pytest.fixture(scope="module")
def third(program: PipeSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipeSession]:
    session = PipeSession(tmp_path_factory.mktemp("third"))
    yield session
    session.close()


@pytest.fixture(scope="module")
def locusts(program: PipeSession, other: PipeSession, third: PipeSession) -> tuple[WarmLocust, WarmLocust, WarmLocust]:
    made = (WarmLocust(program), WarmLocust(other), WarmLocust(third))
    for locust in made:
        locust.ready(60)
    return made


@pytest.fixture(scope="module")
def warm_locust(locusts: tuple[WarmLocust, WarmLocust, WarmLocust]) -> WarmLocust:
    return locusts[0]


def request(plan: LoadPlan, folder: Path, program: PipeSession, **changes: object) -> str:
    part = Part(str(program.folder))
    Path(part.plan).write_bytes(plan.to_json(str(folder / "out")))
    return json.dumps(json.loads(build_request(plan, part)) | changes)


def run_one(locust: WarmLocust, request: str, limit: float) -> None:
    run_together({"client": (locust, request)}, limit)


@pytest.fixture
def run(warm_locust: WarmLocust, program: PipeSession, tmp_path: Path) -> Callable[[LoadPlan], str]:
    def run(plan: LoadPlan) -> str:
        run_one(warm_locust, request(plan, tmp_path, program), 30)
        output = (program.folder / "log").read_text()
        assert "Traceback" not in output
        assert program.children() == []
        return output

    return run


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_user_s_settings_of_locust_are_not_read(
    backend: Callable[..., Backend], run: Callable[[LoadPlan], str], program: PipeSession, tmp_path: Path
) -> None:
    before = set(program.folder.iterdir())
    run(LoadPlan((backend().target(),), 10, 1, 0.5, 1000))
    assert len(parse((tmp_path / "out").read_text()).connect_ns) == 5
    assert {path.name for path in set(program.folder.iterdir()) - before} <= {"plan.json", "log", "__pycache__"}


def test_a_load_on_two_targets(backend: Callable[..., Backend], run: Callable[[LoadPlan], str], tmp_path: Path) -> None:
    first, second = backend(), backend()
    plan = LoadPlan((first.target(), second.target()), 10, 5, 1.5, 1000)
    started = time.monotonic()
    run(plan)
    assert time.monotonic() - started < 8  # it ends by itself, not at --run-time
    text = (tmp_path / "out").read_text()
    result = parse(text)
    assert result.failures == {}
    assert len(result.connect_ns) == 75
    assert (first.accepted + second.accepted, abs(first.accepted - second.accepted)) == (75, 1)
    assert first.resets + second.resets == 75  # closed with RST: no TIME_WAIT
    assert result.offered == 50
    assert 40 < result.achieved <= 50
    assert (result.connect_ns > 0).all()
    assert (result.connect_ns < result.first_byte_ns).all()
    assert (result.lag_ns >= 0).all()
    assert (result.intended_ns == result.lag_ns + result.first_byte_ns).all()
    intended = sorted(int(line.split(",")[1]) for line in text.splitlines()[1:-1])
    assert intended == [number * 20_000_000 for number in range(75)]  # users are shifted evenly


def test_waiting_behind_a_slow_answer_counts(
    backend: Callable[..., Backend], run: Callable[[LoadPlan], str], tmp_path: Path
) -> None:
    slow = backend(delay=0.15)
    plan = LoadPlan((slow.target(),), 10, 1, 1.0, 2000)
    run(plan)
    result = parse((tmp_path / "out").read_text())
    assert len(result.connect_ns) == 10
    service, response = result.first_byte_ns / 1e6, result.intended_ns / 1e6
    assert 150 <= np.median(service) < 250
    assert response[-1] >= 150 + 9 * 50  # each of ten started 50 ms later than it should have
    assert np.median(result.connect_ns) < 50e6


def test_failures_have_their_kinds(
    backend: Callable[..., Backend], run: Callable[[LoadPlan], str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = Target("127.0.0.1", free.getsockname()[1], ("127.0.0.1",))
    targets = (
        nobody,
        backend(b"10.9.9.9 x\n").target(),
        backend(b"").target(),
        backend(b"x" * 300).target(),
        backend(b"\n").target(),
        backend(delay=0.6).target(),
        backend().target(),
    )
    plan = LoadPlan(targets, 1, 7, 1.0, 400)
    output = run(plan)
    result = parse((tmp_path / "out").read_text())
    assert result.failures == {"closed": 1, "protocol": 2, "refused": 1, "timeout": 1, "wrong-endpoint": 1}
    assert (result.failed, len(result.connect_ns), result.timeout_ns) == (6, 1, 400_000_000)
    assert "wrong-endpoint" in output  # locust's own summary names them too


def test_more_than_can_be_served_is_not_forgotten(
    backend: Callable[..., Backend], run: Callable[[LoadPlan], str], tmp_path: Path
) -> None:
    slow = backend(delay=0.25)
    plan = LoadPlan((slow.target(),), 20, 1, 0.5, 300)
    run(plan)
    result = parse((tmp_path / "out").read_text())
    assert len(result.connect_ns) + result.failed == result.slots == 10
    assert result.failures["unserved"] >= 5


def test_a_load_that_a_signal_ends_early_is_no_load_whose_last_connections_were_not_served(
    backend: Callable[..., Backend], warm_locust: WarmLocust, program: PipeSession, tmp_path: Path
) -> None:
    calm = backend()
    plan = LoadPlan((calm.target(),), 20, 1, 20.0, 300)
    program.send_line(request(plan, tmp_path, program))
    wait_for(lambda: calm.accepted >= 3)
    (child,) = program.children()
    os.kill(child, signal.SIGTERM)
    assert json.loads(program.read_line(10))["code"] == 0
    with pytest.raises(MeasurementError, match=r"^locust of client 1 was told to end before its time, by a signal$"):
        parse((tmp_path / "out").read_text())


def test_a_load_that_stood_still_is_no_slow_one(
    backend: Callable[..., Backend], program: PipeSession, tmp_path: Path
) -> None:
    calm = backend()
    plan = LoadPlan((calm.target(),), 20, 1, 1.0, 300)
    program.send_line(request(plan, tmp_path, program))
    wait_for(lambda: calm.accepted >= 3)
    (child,) = program.children()
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(child, signal.SIGCONT)
    assert json.loads(program.read_line(10))["code"] == 0
    with pytest.raises(
        MeasurementError, match=r"^locust of client 1 stood still for a while: it got SIGSTOP and SIGCONT$"
    ):
        parse((tmp_path / "out").read_text())


def test_a_load_that_is_killed_is_told_by_its_signal(
    backend: Callable[..., Backend], warm_locust: WarmLocust, program: PipeSession, tmp_path: Path
) -> None:
    calm = backend()

    def kill() -> None:
        wait_for(lambda: calm.accepted >= 3)
        os.kill(program.children()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    plan = LoadPlan((calm.target(),), 20, 1, 20.0, 300)
    with pytest.raises(MeasurementError, match=r"^locust was ended by SIGKILL and said: "):
        run_one(warm_locust, request(plan, tmp_path, program), 30)
    killer.join()


def test_a_load_is_killed_at_its_limit_and_the_next_is_none_the_worse(
    backend: Callable[..., Backend],
    warm_locust: WarmLocust,
    program: PipeSession,
    run: Callable[[LoadPlan], str],
    tmp_path: Path,
) -> None:
    calm = backend()
    endless = LoadPlan((calm.target(),), 20, 1, 60.0, 300)
    started = time.monotonic()
    with pytest.raises(MeasurementError, match=r"^locust ended with code 124 and said: killed after 1\.5 s$"):
        run_one(warm_locust, request(endless, tmp_path, program, limit_s=1.5), 30)
    assert 1.5 <= time.monotonic() - started < 4
    assert calm.accepted > 0
    assert program.children() == []
    assert not (tmp_path / "out").exists()
    run(LoadPlan((calm.target(),), 20, 1, 0.5, 300))
    assert len(parse((tmp_path / "out").read_text()).connect_ns) == 10


def test_a_load_that_is_given_up_is_ended_and_the_next_is_none_the_worse(
    backend: Callable[..., Backend],
    warm_locust: WarmLocust,
    program: PipeSession,
    run: Callable[[LoadPlan], str],
    tmp_path: Path,
) -> None:
    calm = backend()
    endless = LoadPlan((calm.target(),), 20, 1, 60.0, 300)
    with pytest.raises(CommandTimeoutError):
        run_one(warm_locust, request(endless, tmp_path, program), 1)
    wait_for(lambda: program.children() == [])
    run(LoadPlan((calm.target(),), 20, 1, 0.5, 300))
    assert len(parse((tmp_path / "out").read_text()).connect_ns) == 10


def test_a_load_has_its_time_however_long_the_program_was_idle(
    backend: Callable[..., Backend], warm_locust: WarmLocust, program: PipeSession, tmp_path: Path
) -> None:
    plan = LoadPlan((backend().target(),), 20, 1, 0.2, 300)
    words = json.loads(request(plan, tmp_path, program))["argv"]
    words[words.index("--run-time") + 1] = "1s"
    time.sleep(1.5)
    run_one(warm_locust, request(plan, tmp_path, program, argv=words), 30)
    result = parse((tmp_path / "out").read_text())
    assert (len(result.connect_ns), result.failures) == (4, {})


def test_a_stop_that_comes_too_late_stops_nothing(
    backend: Callable[..., Backend], program: PipeSession, run: Callable[[LoadPlan], str], tmp_path: Path
) -> None:
    program.send_line("")
    run(LoadPlan((backend().target(),), 20, 1, 0.5, 300))
    assert len(parse((tmp_path / "out").read_text()).connect_ns) == 10


def test_two_requests_at_once_are_served_in_order(
    backend: Callable[..., Backend], warm_locust: WarmLocust, program: PipeSession, tmp_path: Path
) -> None:
    plan = LoadPlan((backend().target(),), 20, 1, 0.2, 300)
    good = request(plan, tmp_path, program)
    bad = request(plan, tmp_path, program, log="/nowhere/log")
    program.send_line(f"{good}\n{bad}")
    assert json.loads(program.read_line(20))["code"] == 0
    assert json.loads(program.read_line(20)) == {
        "code": 1,
        "said": "[Errno 2] No such file or directory: '/nowhere/log'",
    }


def test_why_locust_failed_is_told(warm_locust: WarmLocust, program: PipeSession, tmp_path: Path) -> None:
    plan = LoadPlan((Target("127.0.0.1", 1, ("127.0.0.1",)),), 20, 1, 0.2, 300)
    (tmp_path / "broken.py").write_text("raise ValueError('this is why')\n")
    argv = ["locust", "--headless", "--locustfile", str(tmp_path / "broken.py")]
    with pytest.raises(MeasurementError, match=r"^locust ended with code 1 and said: ValueError: this is why$"):
        run_one(warm_locust, request(plan, tmp_path, program, argv=argv), 30)
    (tmp_path / "broken.py").write_text("raise SystemExit('no more')\n")
    with pytest.raises(MeasurementError, match=r"^locust ended with code 1 and said: no more$"):
        run_one(warm_locust, request(plan, tmp_path, program, argv=argv), 30)
    assert program.children() == []


@pytest.fixture
def distributed(
    program: PipeSession,
    other: PipeSession,
    third: PipeSession,
    locusts: tuple[WarmLocust, WarmLocust, WarmLocust],
    tmp_path: Path,
) -> Callable[[LoadPlan], dict[str, tuple[WarmLocust, str]]]:
    """Give what begins a load of a master and two workers; their records become the files 0 and 1."""

    def requests(plan: LoadPlan) -> dict[str, tuple[WarmLocust, str]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        master = Part(str(program.folder), "master-", port, 2)
        Path(master.plan).write_bytes(plan.to_json("", 0, 2))
        made = {"master": (locusts[0], build_request(plan, master))}
        for place, (name, session) in enumerate({"one": other, "two": third}.items()):
            part = Part(str(session.folder), port=port)
            Path(part.plan).write_bytes(plan.to_json(str(tmp_path / str(place)), place, 2))
            made[name] = (locusts[place + 1], build_request(plan, part))
        return made

    return requests


def test_two_workers_of_a_master_share_one_grid(
    backend: Callable[..., Backend],
    distributed: Callable[[LoadPlan], dict[str, tuple[WarmLocust, str]]],
    tmp_path: Path,
) -> None:
    calm = backend()
    run_together(distributed(LoadPlan((calm.target(),), 10, 4, 1.0, 1000)), 40)
    texts = [(tmp_path / name).read_text() for name in ("0", "1")]
    result = parse(*texts)
    assert (len(result.connect_ns), result.failures, result.offered) == (40, {}, 40)
    assert (result.lag_ns >= 0).all()
    assert calm.accepted == 40
    for place, text in enumerate(texts):  # each took every other place of the one grid: 25 ms from one to the next
        words = (line.split(",") for line in text.splitlines()[1:-1])
        rows = sorted((int(slot), int(intended)) for slot, intended, *_ in words)
        assert rows == [(slot, slot * 25_000_000) for slot in range(place, 40, 2)]


def test_a_worker_that_dies_ends_the_load_and_is_named(
    backend: Callable[..., Backend],
    distributed: Callable[[LoadPlan], dict[str, tuple[WarmLocust, str]]],
    program: PipeSession,
    other: PipeSession,
    third: PipeSession,
) -> None:
    calm = backend()

    def kill() -> None:
        wait_for(lambda: calm.accepted >= 8)
        os.kill(third.children()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    started = time.monotonic()
    with pytest.raises(MeasurementError, match=r"^two: locust was ended by SIGKILL and said: nothing$"):
        run_together(distributed(LoadPlan((calm.target(),), 10, 4, 60.0, 1000)), 90)
    assert time.monotonic() - started < 30
    killer.join()
    wait_for(lambda: program.children() == other.children() == [])
    run_together(distributed(LoadPlan((calm.target(),), 10, 4, 0.5, 1000)), 40)  # the next is none the worse


def test_load_and_program_end_with_standard_input(
    backend: Callable[..., Backend], warm_locust: WarmLocust, other: PipeSession, tmp_path: Path
) -> None:
    calm = backend()
    other.send_line(request(LoadPlan((calm.target(),), 20, 1, 60.0, 300), tmp_path, other))
    wait_for(lambda: calm.accepted >= 1)
    (child,) = other.children()
    other.end_input()
    assert other.process.wait(5) == 0
    assert ends(child)
    assert other.process.stdout is not None
    assert other.process.stdout.read() == b""  # nobody listens


def test_a_load_ends_with_a_program_that_is_killed(
    backend: Callable[..., Backend], warm_locust: WarmLocust, third: PipeSession, tmp_path: Path
) -> None:
    calm = backend()
    third.send_line(request(LoadPlan((calm.target(),), 20, 1, 60.0, 300), tmp_path, third))
    wait_for(lambda: calm.accepted >= 1)
    (child,) = third.children()
    third.process.kill()
    assert ends(child)
