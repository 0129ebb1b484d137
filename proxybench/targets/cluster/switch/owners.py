"""Who else writes kube-proxy's objects: controllers that keep them as they were, as their metadata tells. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxybench.kube.base import Object
    from proxybench.targets.cluster.switch.changes import Field

# Labels and annotations, as the tools' documentation has them; "" for any value.
_KEEPERS: Final = {
    "addonmanager.kubernetes.io/mode": "Reconcile",
    "app.kubernetes.io/managed-by": "",
    "argocd.argoproj.io/instance": "",
    "argocd.argoproj.io/tracking-id": "",
    "helm.toolkit.fluxcd.io/name": "",
    "k0s.k0sproject.io/stack": "",
    "kapp.k14s.io/app": "",
    "kustomize.toolkit.fluxcd.io/name": "",
    "objectset.rio.cattle.io/owner-name": "",
}


def keeper(obj: Object) -> str:
    """Return the first label or annotation that names who keeps an object as it is, "name: value"; "" for none."""
    notes = {**(obj["metadata"].get("annotations") or {}), **(obj["metadata"].get("labels") or {})}
    there = ((name, notes.get(name, ""), value) for name, value in _KEEPERS.items())
    return next((f"{name}: {found}" for name, found, value in there if found and value in {"", found}), "")


def last_writer(obj: Object, field: Field) -> str:
    """Return who has written an object's field last, as the API server notes it; "somebody" where it does not."""
    entries = [one for one in obj.get("metadata", {}).get("managedFields") or () if _holds(one.get("fieldsV1"), field)]
    entries.sort(key=lambda one: str(one.get("time", "")))
    return str((entries or [{}])[-1].get("manager") or "somebody")


def _holds(fields: Object | None, field: Field) -> bool:
    here = fields
    for name in field:
        if here is None:
            return False
        here = here.get(f"f:{name}", here.get(f'k:{{"name":"{name}"}}'))
    return here is not None
