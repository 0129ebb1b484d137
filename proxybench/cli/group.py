"""A group of verbs that are imported when they are used, so that help and completion stay fast."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from proxybench.cli.failure import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Verb:
    """Where a command is ("module:name"), and what it does in one line."""

    target: str
    summary: str


@dataclass
class Settings:
    """What the options before the verb say."""

    debug: bool = False


class LazyGroup(click.Group):
    """The top group: knows its verbs by name, and ends the process with our exit codes."""

    def __init__(self, *args: Any, verbs: dict[str, Verb], **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are registered: the order of use."""
        del ctx
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb."""
        del ctx
        verb = self._verbs.get(cmd_name)
        if verb is None:
            return None
        module, _, name = verb.target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; click, which knows none of ours before it is used, could not say what was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            near = get_close_matches(args[0], self._verbs, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._verbs[name].summary) for name in self.list_commands(ctx)])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> click.Context:
        """Read what stands before the verb, and print help; the same errors are kept from click."""
        with _kept():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - what the verb returns
        """Run the verb; keep click from taking some errors for its own."""
        with _kept():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> Any:  # noqa: ANN401 - click's own
        """Run as click does, but end with our own messages and exit codes."""
        settings = Settings()

        def call() -> object:
            try:
                return super(LazyGroup, self).main(
                    args, prog_name, complete_var, standalone_mode=False, obj=settings, **extra
                )
            except _KeptError as error:
                raise _cause(error) from None

        if not standalone_mode:
            return call()
        return _exit(settle(call, debug=lambda: settings.debug))


class _KeptError(Exception):
    """Carries an error through click as its cause."""


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _KeptError from error  # click would exit 1, which means a regression here
    except EOFError as error:
        raise _KeptError from error  # click would take it for Ctrl-C
    except KeyboardInterrupt as error:
        raise _KeptError from error  # click would forget by which signal


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error


def _exit(code: int) -> NoReturn:
    raise SystemExit(int(code))
