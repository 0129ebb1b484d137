"""The one place where what went wrong becomes lines on standard error and an exit code.

A verb returns None (0) or an exit code, or raises. See ``proxybench.errors`` for the codes.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from proxybench.cli.terminal import forget, tell
from proxybench.errors import ExitCode, ExperimentError, ProxybenchError
from proxybench.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


_PATHS = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)
"""What is the matter with a path itself: another one is right."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def settle(call: Callable[[], object], *, debug: Callable[[], bool]) -> int:
    """Call it and return the exit code. ``debug`` is asked afterwards: it is itself read by the call."""
    try:
        code = _settle(call, debug=debug)
    except BrokenPipeError:
        code = ExitCode.CLOSED_PIPE
    except OSError:  # what went wrong cannot be told: the terminal is gone, or the disk full
        code = ExitCode.RUN_FAILED
    _flush()
    return code


def _settle(call: Callable[[], object], *, debug: Callable[[], bool]) -> int:
    """Do so; raises BrokenPipeError where nobody reads on, be it what was asked for or what went wrong."""
    try:
        result = call()
    except (KeyboardInterrupt, click.Abort) as error:
        return _explain_end(error)
    except click.ClickException as error:
        _explain_usage(error)
        return ExitCode.USAGE
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last stop of every error; it must end in a known exit code
        if debug():
            traceback.print_exception(error, file=sys.stderr)
        return _explain(error, debug=debug())
    return result if isinstance(result, int) else ExitCode.PASS


def _explain_end(error: BaseException) -> int:
    cause = error if isinstance(error, Interrupted) else error.__cause__
    ended = cause if isinstance(cause, Interrupted) else Interrupted()
    if sys.stderr.isatty():
        tell("")  # behind the ^C
    tell(f"error: {ended}")
    return ended.exit_code


def _explain(error: Exception, *, debug: bool) -> int:
    if isinstance(error, ExperimentError):
        # file:line:col: first, so that editors and CI find the place.
        click.echo(str(error), err=True)
        return error.exit_code
    if isinstance(error, ProxybenchError):
        for line in (str(error) or type(error).__name__).splitlines():
            click.echo(f"error: {line}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.filename and error.strerror:  # a path of the user's, most likely
        click.echo(f"error: {os.fsdecode(error.filename)}: {error.strerror}", err=True)
        return ExitCode.USAGE if error.errno in _PATHS else ExitCode.RUN_FAILED
    if isinstance(error, OSError) and error.errno in _FULL:  # without a file's name: what was printed
        click.echo(f"error: standard output: {error.strerror}", err=True)
        return ExitCode.RUN_FAILED
    hint = "" if debug else " (proxybench --debug … shows where)"
    reason = str(error).splitlines()
    what = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
    click.echo(f"error: unexpected {what}{hint}", err=True)
    return ExitCode.RUN_FAILED


def _explain_usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    click.echo(f"error: {error.format_message()}", err=True)
    if context is not None:
        click.echo(f"{context.get_usage()}\nhelp: {context.command_path} -h", err=True)


def _flush() -> None:
    """Write what is left; when nobody reads it any more, the verb has done its work all the same."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            forget(stream)
