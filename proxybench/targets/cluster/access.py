"""The cluster's API: by what it knows us, and what is asked of it before a run."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from proxybench.errors import ApiError, RunError, UsageError
from proxybench.home import expanded
from proxybench.kube.base import Kind, is_leaving
from proxybench.kube.kubeconfig import read_kubeconfig, seconds_of
from proxybench.kube.objects import MADE_BY_A_RUN, MANAGED_BY, NAMESPACE
from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.cluster.tokens import Token, Tokens, unheard
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proxybench.experiment.places import ClusterSpec
    from proxybench.kube.base import Object, ObjectApi, ServiceApi
    from proxybench.kube.kubeconfig import Credentials
    from proxybench.units import Clock

SERVICE_ACCOUNT: Final = "proxybench"
TOKEN_PATH: Final = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{SERVICE_ACCOUNT}/token"
_TOKEN_SECONDS: Final = 24 * 3600
REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_DELETION_S: Final = 120
_AGAIN_S: Final = 1.0
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


def credentials(spec: ClusterSpec) -> Credentials:
    """Read the kubeconfig that is named, or the usual one. Raises ExperimentError, UsageError."""
    first, *more = _files(spec)
    return read_kubeconfig(first, spec.context or None, more=more)


def again(first: Credentials, spec: ClusterSpec) -> Credentials:
    """Read the kubeconfig once more, for the context that was found first, whichever is current by now.

    Raises UsageError where that leads to another server, whose secrets are not for the first one; as ``credentials``.
    """
    found = credentials(spec.model_copy(update={"context": first.context}))
    now, before = _url(found), _url(first)
    if now != before:
        what = f'the kubeconfig\'s context "{first.context}" leads to {now} now, and led to {before} before'
        raise UsageError(f"{what}; have it lead to that again: no other cluster is touched")
    return found


def origin(spec: ClusterSpec) -> str:
    """Return the kubeconfig's whole path, of several as KUBECONFIG has them."""
    return os.pathsep.join(map(str, _files(spec)))


def _files(spec: ClusterSpec) -> list[Path]:
    """Return the files of a kubeconfig: of several, as in KUBECONFIG, those that are there, in their order."""
    named = spec.kubeconfig or os.environ.get("KUBECONFIG", "").strip(os.pathsep) or "~/.kube/config"
    whole = expanded(named).absolute()
    if os.pathsep not in named or _is_there(whole):
        return [whole]
    paths = [expanded(one).absolute() for one in dict.fromkeys(named.split(os.pathsep)) if one]
    return [path for path in paths if _is_there(path)] or paths[:1]


def _is_there(path: Path) -> bool:
    """Tell whether there is such a file, also one that may not be looked at: who reads it says so."""
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def first_access(found: Credentials, spec: ClusterSpec, say: Callable[[str], None] = unheard) -> ApiAccess:
    """Return the API as the kubeconfig reaches it; a token is read, or its plugin run, anew in time, as ``again``.

    ``say`` as in ``Tokens``.
    """
    url = _url(found)

    def anew() -> Token:
        other = again(found, spec)
        return Token(other.token, other.expires)

    return ApiAccess(
        url,
        spec.node_url or url,
        found.ca_pem,
        found.token,
        found.client_pem,
        spec.writes_per_second,
        Tokens(Token(found.token, found.expires), anew, say) if found.token else None,
    )


def _url(found: Credentials) -> str:
    return found.server.rstrip("/")


def own_access(
    api: ObjectApi,
    first: ApiAccess,
    again: Callable[[], AbstractContextManager[ObjectApi]],
    say: Callable[[str], None] = unheard,
) -> ApiAccess:
    """Return an access that may write in our namespace alone, by a token of our ServiceAccount.

    It is what the client node is given, whose agent writes; ``again`` connects for another one before it ends. Where
    there is no such account, a token of the kubeconfig is; a client certificate is given to no node. ``say`` as in
    ``Tokens``. Raises UsageError, ApiError.
    """

    def anew() -> Token:
        with again() as later:
            return _own_token(later)

    own = own_token(api, first)
    return replace(first, token=own.text, client_pem="", renew=Tokens(own, anew, say)) if own else first


def own_token(api: ObjectApi, first: ApiAccess, seconds: int = _TOKEN_SECONDS) -> Token | None:
    """Ask for a token of our ServiceAccount, good for so many seconds (ten minutes at least); nothing is stored.

    Returns None where there is no such account, and ``first``, by which we are known, has a token. Raises UsageError
    where it has none, ApiError.
    """
    try:
        return _own_token(api, seconds)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        if first.token:
            return None
        raise UsageError(
            "the API knows you by a certificate, which no node is given, and the agent that writes there needs a "
            "token: make our ServiceAccount with kubectl apply -f docs/cluster-rbac.yaml"
        ) from error


def _own_token(api: ObjectApi, seconds: int = _TOKEN_SECONDS) -> Token:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    status = api.ask("POST", TOKEN_PATH, body)["status"]
    return Token(str(status["token"]), seconds_of(status.get("expirationTimestamp")))


def service_cidr(api: ObjectApi, spec: ClusterSpec) -> str:
    """Return the range of ClusterIPs of IPv4. Raises UsageError where nobody says it, or there is none; ApiError."""
    if spec.service_cidr:
        cidrs = [spec.service_cidr]
    else:
        try:
            cidrs = api.ask("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")["spec"]["cidrs"]
        except ApiError as error:
            # An older API has none, another one keeps it to itself.
            if error.status not in {_NOT_FOUND, _FORBIDDEN}:
                raise
            raise UsageError(
                "the API does not say which range ClusterIPs are of; write target.cluster.service_cidr "
                "(--service-cluster-ip-range of kube-apiserver)"
            ) from error
    if found := [str(cidr) for cidr in cidrs if ":" not in cidr]:
        return found[0]
    raise UsageError(
        f"ClusterIPs are of IPv6 alone ({', '.join(cidrs)}); IPv4 is needed: a dual-stack cluster has both"
    )


def taken(services: Iterable[Object]) -> tuple[str, ...]:
    """Return the ClusterIPs that Services of others have, of both families. Pure."""
    specs = [one["spec"] for one in services if one["metadata"].get("namespace") != NAMESPACE]
    # A headless Service says "None", one of the type ExternalName nothing; clusterIPs are there since Kubernetes 1.20.
    found = [address for spec in specs for address in spec.get("clusterIPs") or [spec.get("clusterIP")]]
    return tuple(str(address) for address in found if address and address != "None")


def settle_namespace(api: ObjectApi, clock: Clock, report: Callable[[str], None]) -> None:
    """Wait until our namespace, if it is there, is not being deleted any more: nothing can be made in it then.

    Raises RunError when that takes too long, and as ``has_namespace``.
    """
    end, told = clock.monotonic_ns() + _DELETION_S * NS_PER_S, False
    while (found := _namespace(api)) and is_leaving(found):
        if clock.monotonic_ns() >= end:
            how = f"kubectl get namespace {NAMESPACE} -o yaml"
            raise RunError(f"the namespace {NAMESPACE} is still being deleted after {_DELETION_S} s; why, tells {how}")
        if not told:
            report(f"the namespace {NAMESPACE} is being deleted; waiting for up to {_DELETION_S} s until it is gone")
            told = True
        clock.sleep(_AGAIN_S)


def has_namespace(api: ObjectApi) -> bool:
    """Tell whether our namespace is there. Raises UsageError when one of that name is somebody else's."""
    return _namespace(api) is not None


def is_being_deleted(api: ObjectApi) -> bool:
    """Tell whether our namespace is there and will be no more. Raises as ``has_namespace``."""
    found = _namespace(api)
    return found is not None and is_leaving(found)


def made_by_a_run(api: ObjectApi) -> bool:
    """Tell whether our namespace is there since a run, this one or one before, has made it. Raises ApiError."""
    found = _namespace(api) or {"metadata": {}}
    return (found["metadata"].get("annotations") or {}).get(MADE_BY_A_RUN) == "true"


def _namespace(api: ObjectApi) -> Object | None:
    try:
        found = api.ask("GET", f"/api/v1/namespaces/{NAMESPACE}")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise
    if (found["metadata"].get("labels") or {}).get(MANAGED_BY) != "proxybench":
        label = f"kubectl label namespace {NAMESPACE} {MANAGED_BY}=proxybench"
        raise UsageError(f"the namespace {NAMESPACE} is not marked as ours; if it is: {label}")
    return found


class Right(NamedTuple):
    """Something that may be done in our namespace, in the words of a role."""

    verb: str
    group: str
    resource: str


def forbidden(api: ObjectApi, rights: Iterable[Right]) -> list[str]:
    """Ask which of these rights we lack; return a line for each, nothing where an API cannot tell. Raises ApiError."""
    found = []
    for right in rights:
        spec = {"resourceAttributes": {**right._asdict(), "namespace": NAMESPACE}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        try:
            allowed = api.ask("POST", REVIEWS, body)["status"]["allowed"]
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return []
        if not allowed:
            what = f"{right.verb} {right.resource} in the namespace {NAMESPACE}"
            found.append(f"the API forbids you to {what}; docs/cluster-rbac.yaml has the roles")
    return found


def list_pods(api: ObjectApi, namespace: str, selector: str) -> list[Object]:
    """Return the pods of a namespace that a label selector selects. Raises ApiError."""
    path = f"/api/v1/namespaces/{quote(namespace)}/pods?labelSelector={quote(selector)}"
    return list(api.ask("GET", path)["items"] or ())


def node_addresses(api: ServiceApi) -> dict[str, str]:
    """Return each Node's InternalIP of IPv4, "" without one, by its name. Raises ApiError."""
    return {str(node["metadata"]["name"]): internal_ip(node) for node in api.list(Kind.NODE)}


def internal_ip(node: Object) -> str:
    """Return a Node's InternalIP of IPv4, "" without one."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    found = (one["address"] for one in addresses if one["type"] == "InternalIP" and ":" not in one["address"])
    return next(found, "")
