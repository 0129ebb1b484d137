"""By which policy the kernel schedules us, also where libc does not say: musl refuses sched_setscheduler(3) (ENOSYS).

POSIX has it act on a process, Linux on a thread; what pthread has for a thread works in both.
"""

from __future__ import annotations

import errno
import os

from proxybench.agent.node import small_file

PRIORITY = 1  # of the prober, real-time (SCHED_FIFO): it is never interrupted by what it waits for
POLICY = 38  # among the fields of /proc/PID/stat behind the program's name: policy, proc_pid_stat(5)


def policy() -> int:
    """Return this thread's policy, such as os.SCHED_OTHER."""
    try:
        return os.sched_getscheduler(0)
    except OSError:
        return kernels_policy()


def use(chosen: int, priority: int = 0) -> None:
    """Schedule this thread by another policy. Raises PermissionError, OSError."""
    try:
        os.sched_setscheduler(0, chosen, os.sched_param(priority))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        by_thread(chosen, priority)


def real_time() -> bool:
    """Try whether this thread may have the prober's priority; its policy is as before then."""
    before = policy()
    try:
        use(os.SCHED_FIFO, PRIORITY)
    except OSError:
        return False
    use(before)
    return True


def kernels_policy() -> int:
    """Return this thread's policy as the kernel tells it."""
    stat = small_file("/proc/thread-self/stat") or ""
    fields = stat.rpartition(")")[2].split()
    return int(fields[POLICY]) if len(fields) > POLICY else os.SCHED_OTHER


def by_thread(chosen: int, priority: int) -> None:
    """Do the same by pthread_setschedparam(3). Raises PermissionError, OSError."""
    import ctypes  # noqa: PLC0415 - not every Python has it, and few need it

    pthread = ctypes.CDLL(None)
    pthread.pthread_self.restype = ctypes.c_ulong
    myself, param = ctypes.c_ulong(pthread.pthread_self()), ctypes.c_int(priority)
    if code := pthread.pthread_setschedparam(myself, chosen, ctypes.byref(param)):
        raise OSError(code, os.strerror(code))
