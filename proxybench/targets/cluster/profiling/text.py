"""A profile as the file that people read before they give it away. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxybench.experiment.profile import Profile

_HEAD: Final = """\
# The shape of a cluster's Services, by proxybench profile: numbers, and the words of Kubernetes' API. There is no name,
# namespace, label, annotation, address or port number in it. Numbers above 10 are rounded, but for how many Services
# there are of a shape. docs/profile.md says what each word means.
"""


def as_yaml(profile: Profile) -> str:
    """Return the file."""
    words = profile.model_dump(mode="json")
    lines = [_HEAD, f"version: {words['version']}\n"]
    if "nodes" in words:
        lines.append(f"nodes: {_flow(words['nodes'])}\n")
    lines.append("shapes:\n")
    for shape in words["shapes"]:
        for number, (name, value) in enumerate(shape.items()):
            lines.append(f"  {'-' if number == 0 else ' '} {name}: {_flow(value)}\n")
    if "churn" in words:
        lines.append("churn:\n")
        lines += [f"  {name}: {_flow(value)}\n" for name, value in words["churn"].items()]
    return "".join(lines)


def _flow(value: Any) -> str:  # noqa: ANN401 - what a profile's dump holds: numbers, words, lists and mappings of them
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
