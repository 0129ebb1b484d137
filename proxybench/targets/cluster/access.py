"""The cluster's API: by what it knows us, and what is asked of it before a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from proxybench.errors import ApiError, UsageError
from proxybench.home import expanded
from proxybench.kube.kubeconfig import read_kubeconfig
from proxybench.kube.objects import MANAGED_BY, NAMESPACE
from proxybench.nodes.cluster import ApiAccess

if TYPE_CHECKING:
    from proxybench.experiment.places import ClusterSpec
    from proxybench.kube.base import Object, ObjectApi
    from proxybench.kube.kubeconfig import Credentials

SERVICE_ACCOUNT: Final = "proxybench"
TOKEN_PATH: Final = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{SERVICE_ACCOUNT}/token"
_TOKEN_SECONDS: Final = 24 * 3600
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403


def credentials(spec: ClusterSpec) -> Credentials:
    """Read the kubeconfig that is named, or the usual one. Raises ExperimentError, UsageError."""
    path, context = origin(spec)
    return read_kubeconfig(Path(path), context or None)


def origin(spec: ClusterSpec) -> tuple[str, str]:
    """Return the whole path of the kubeconfig, and the context that is named ("": the current one)."""
    usual = os.environ.get("KUBECONFIG", "").partition(":")[0] or "~/.kube/config"
    return str(expanded(spec.kubeconfig or usual).absolute()), spec.context or ""


def first_access(found: Credentials, spec: ClusterSpec) -> ApiAccess:
    """Return the API as the kubeconfig reaches it."""
    url = found.server.rstrip("/")
    return ApiAccess(url, spec.node_url or url, found.ca_pem, found.token, found.client_pem, spec.writes_per_second)


def own_access(api: ObjectApi, first: ApiAccess) -> ApiAccess:
    """Return an access that may write in our namespace alone, by a token of our ServiceAccount.

    It is what the client node is given, whose agent writes. Where there is no such account, a token of the kubeconfig
    is; a client certificate is given to no node. Raises UsageError, ApiError.
    """
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    try:
        token = str(api.ask("POST", TOKEN_PATH, body)["status"]["token"])
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        if first.token:
            return first
        raise UsageError(
            "the API knows you by a certificate, which no node is given, and the agent that writes there needs a "
            "token: make our ServiceAccount with kubectl apply -f docs/cluster-rbac.yaml"
        ) from error
    return ApiAccess(first.url, first.node_url, first.ca_pem, token, writes_per_second=first.writes_per_second)


def service_cidr(api: ObjectApi, spec: ClusterSpec) -> str:
    """Return the range of ClusterIPs of IPv4. Raises UsageError where nobody says it."""
    if spec.service_cidr:
        return spec.service_cidr
    try:
        cidrs = api.ask("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")["spec"]["cidrs"]
    except ApiError as error:
        raise UsageError(
            "the API does not say which range ClusterIPs are of; write target.cluster.service_cidr "
            "(--service-cluster-ip-range of kube-apiserver)"
        ) from error
    return next(str(cidr) for cidr in cidrs if ":" not in cidr)


def has_namespace(api: ObjectApi) -> bool:
    """Tell whether our namespace is there. Raises UsageError when one of that name is somebody else's."""
    try:
        found = api.ask("GET", f"/api/v1/namespaces/{NAMESPACE}")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    if (found["metadata"].get("labels") or {}).get(MANAGED_BY) != "proxybench":
        label = f"kubectl label namespace {NAMESPACE} {MANAGED_BY}=proxybench"
        raise UsageError(f"the namespace {NAMESPACE} is not marked as ours; if it is: {label}")
    return True


def list_pods(api: ObjectApi, namespace: str, selector: str) -> list[Object]:
    """Return the pods of a namespace that a label selector selects. Raises ApiError."""
    path = f"/api/v1/namespaces/{quote(namespace)}/pods?labelSelector={quote(selector)}"
    return list(api.ask("GET", path)["items"])


def internal_ip(node: Object) -> str:
    """Return a Node's InternalIP of IPv4, "" without one."""
    addresses = node.get("status", {}).get("addresses") or ()
    found = (one["address"] for one in addresses if one["type"] == "InternalIP" and ":" not in one["address"])
    return next(found, "")
