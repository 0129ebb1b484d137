"""What a run wrote to a cluster's API, taken back."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxybench.errors import ApiError, ProxybenchError, RunError, UsageError
from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.targets.cluster import access
from proxybench.targets.cluster.place import to_finish
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from proxybench.kube.base import ClusterApi
    from proxybench.units import Clock

    Leave = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]

_PATIENCE_S: Final = 60
_FORBIDDEN_S: Final = 15
"""An API server that was started anew answers so until it has read its roles, and any other for good."""
_AGAIN_S: Final = 5.0


def take_back(
    connect: Callable[[], AbstractContextManager[ClusterApi]],
    clock: Clock,
    report: Callable[[str], None],
    run: Path | None = None,
) -> None:
    """Do as ``clean``; wait a while for an API server that is away, or has just been started anew.

    ``run`` is the run's folder, None where there is none yet. Raises ApiError, and UsageError at once where the
    kubeconfig leads to no cluster, or another one, by now.
    """
    began, told = clock.monotonic_ns(), False
    while True:
        try:
            with connect() as api:
                clean(api)
        except ApiError as error:
            patience = _FORBIDDEN_S if error.status == HTTPStatus.FORBIDDEN else _PATIENCE_S
            if not error.away or clock.monotonic_ns() - began >= patience * NS_PER_S:
                raise
            if not told:
                report(f"{error}; trying for {patience} s to remove what was written")
                told = True
            clock.sleep(_AGAIN_S)
        except UsageError as error:
            raise to_finish(error, run) from error
        else:
            return


def hiding_nothing(undo: Callable[[], object]) -> Leave:
    """Return ``undo`` as an ExitStack's ``push`` takes it: where it fails after something else has, both are told.

    It then raises RunError, in one line; else as ``undo``.
    """

    def leave(_kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            undo()
        except ProxybenchError as own:
            if not isinstance(error, ProxybenchError) or str(error) == str(own):
                raise
            raise RunError(f"{error}; {own}") from own

    return leave


def clean(api: ClusterApi) -> bool:
    """Remove what we wrote to the API; return whether the namespace, too, since a run had made it. Raises ApiError."""
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
        api.delete_collection(kind, NAMESPACE, SELECTOR)
    if made := access.made_by_a_run(api):
        api.delete_many([Ref(Kind.NAMESPACE, "", NAMESPACE)])
    return made
