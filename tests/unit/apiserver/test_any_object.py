"""Objects of any shape are stored or refused with a reason; nothing else happens."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxybench.kube.resources import RESOURCES, Resource
from proxybench.targets.lab.apiserver.selectors import parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store

Object = dict[str, Any]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=3) | st.sampled_from(["10.1.1.1", "None"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    [
        *("type", "clusterIP", "clusterIPs", "ports", "ipFamilies", "ipFamilyPolicy", "sessionAffinity"),
        *("sessionAffinityConfig", "clientIP", "port", "nodePort", "addresses", "conditions", "labels"),
        *("selector", "name", "protocol", "ip"),
    ]
)
OBJECTS = st.recursive(
    st.dictionaries(FIELDS, JSON, max_size=4) | JSON,
    lambda inner: st.dictionaries(FIELDS, inner | st.lists(inner, max_size=2), max_size=3),
    max_leaves=6,
)
PARTS = st.sampled_from(["metadata", "spec", "status", "ports", "endpoints", "addressType", "subsets"])


@settings(deadline=None)
@given(
    resource=st.sampled_from(RESOURCES),
    parts=st.dictionaries(PARTS, OBJECTS | st.lists(OBJECTS, max_size=2), max_size=4),
    twice=st.booleans(),
)
def test_whatever_is_sent_is_stored_or_refused_with_reason(resource: Resource, parts: Object, twice: bool) -> None:
    store = Store()
    namespace = "default" if resource.namespaced else ""
    if isinstance(parts.setdefault("metadata", {}), dict):
        parts["metadata"]["name"] = "a"
    code, stored = 0, []
    try:
        stored.append(store.create(resource, namespace, copy.deepcopy(parts)))
        if twice:
            stored.append(store.replace(resource, namespace, "a", copy.deepcopy(parts)))
    except StatusError as error:
        code = error.code
    assert code in ({0, 409, 422} if stored else {400, 422})
    assert [item.name for item in stored] == ["a"] * len(stored)
    assert store.page(resource, namespace, parse_selection("x!=y,z notin (y)")).version == store.version
