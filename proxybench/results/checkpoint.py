"""What counts of a run that has not ended: its steps that are done, and the parts that hold their samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from pydantic import TypeAdapter, ValidationError

from proxybench.errors import ResultsError
from proxybench.results.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """Of ``checkpoint.json``: the indices of done steps, and of each part (by its file's name) the step.

    An older program wrote the parts' names alone.
    """

    completed: tuple[int, ...]
    parts: dict[str, int] | tuple[str, ...]

    def also(self, step: int, parts: Iterable[str]) -> Checkpoint:
        """Return it with one more step, and the parts that were added for it."""
        known = self.parts if isinstance(self.parts, dict) else dict.fromkeys(self.parts, _UNKNOWN)
        return Checkpoint(tuple(sorted({*self.completed, step})), {**known, **dict.fromkeys(parts, step)})

    def without(self, lost: Collection[str], path: Path) -> Checkpoint:
        """Return it without the steps of the parts that are ``lost``, which are to be taken again.

        Raises ResultsError, of a file called ``path``, where an older program did not note whose they were.
        """
        if not lost:
            return self
        steps = {self.parts.get(part, _UNKNOWN) if isinstance(self.parts, dict) else _UNKNOWN for part in lost}
        if _UNKNOWN in steps or not isinstance(self.parts, dict):
            raise ResultsError(
                f"{path}: does not say which step is lost with {', '.join(sorted(lost))}, which cannot be read; "
                "remove it to measure every step again"
            )
        kept = {part: step for part, step in self.parts.items() if step not in steps}
        return Checkpoint(tuple(step for step in self.completed if step not in steps), kept)

    def to_json(self) -> bytes:
        """Return the file's content."""
        return orjson.dumps({"completed": self.completed, "parts": self.parts})


_UNKNOWN = -1
_ADAPTER = TypeAdapter(Checkpoint)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; an empty one where there is no file. Raises ResultsError."""
    if not path.exists():
        return Checkpoint((), {})
    data = read_json(path)
    try:
        return _ADAPTER.validate_json(orjson.dumps(data), strict=True)
    except ValidationError:
        raise ResultsError(f"{path}: not a checkpoint; remove it to measure every step again") from None
