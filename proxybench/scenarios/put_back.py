"""Between two rounds of changes: the Service that they are made on is put back as it was before the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import NAMESPACE
from proxybench.scenarios.quiet import settle

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class PutBack:
    """Not measured: no Service, its first endpoint, and a proxy that has nothing left to do."""

    name: ClassVar = "putting back"
    vital: ClassVar = False

    def run(self, step: StepContext) -> None:
        """Put it back, and wait until the proxy rests."""
        canary = step.canary
        told = canary.told()
        step.api.delete_many([Ref(Kind.SERVICE, NAMESPACE, canary.name), *map(Ref.of, told)])
        step.api.create_many(told)
        settle(step)
