from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from proxybench.agent import schedule

if TYPE_CHECKING:
    from collections.abc import Callable


def in_a_thread(call: Callable[[], object]) -> list[object]:
    """Return what a call returned in a thread of its own, whose policy goes with it."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found


def refused(*_details: object) -> None:
    """Refuse as musl does."""
    raise OSError(errno.ENOSYS, "Function not implemented")


def batched() -> tuple[int, int]:
    schedule.use(os.SCHED_BATCH)
    return schedule.policy(), schedule.kernels_policy()


@pytest.mark.parametrize("musl", [False, True])
def test_a_policy_is_the_kernel_s_by_either_libc(monkeypatch: pytest.MonkeyPatch, *, musl: bool) -> None:
    before = schedule.policy()
    if musl:
        for name in ("sched_getscheduler", "sched_setscheduler"):
            monkeypatch.setattr(os, name, refused)
    assert in_a_thread(batched) == [(os.SCHED_BATCH, os.SCHED_BATCH)]
    assert schedule.policy() == schedule.kernels_policy() == before  # of the thread alone


@pytest.mark.parametrize("musl", [False, True])
def test_a_refusal_is_told_as_the_kernel_does(monkeypatch: pytest.MonkeyPatch, *, musl: bool) -> None:
    if musl:
        monkeypatch.setattr(os, "sched_setscheduler", refused)
    with pytest.raises(OSError, match="Invalid argument"):
        schedule.use(os.SCHED_FIFO, 1000)


@pytest.mark.parametrize("allowed", [True, False])
def test_whether_probes_get_real_time_is_tried_and_given_back(
    monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    tried: list[tuple[int, int]] = []

    def decide(_pid: int, policy: int, param: os.sched_param) -> None:
        tried.append((policy, param.sched_priority))
        if not allowed:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", decide)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _pid: os.SCHED_BATCH)
    assert schedule.real_time() is allowed
    assert tried == [(os.SCHED_FIFO, 1), (os.SCHED_BATCH, 0)][: 1 + allowed]
