from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.selectors import EVERYTHING, parse_selection, selectable_fields
from proxybench.targets.lab.apiserver.status import StatusError

LABELS = {"a": "1", "kubernetes.io/name": "x.y_z", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a", True),
        ("b", False),
        ("!a", False),
        ("!b", True),
        ("! b", True),
        ("a=1", True),
        ("a==1", True),
        ("a = 1", True),
        ("a=2", False),
        ("a!=1", False),
        ("a!=2", True),
        ("b!=2", True),
        ("empty=", True),
        ("a=", False),
        ("a in (1,2)", True),
        ("a in ( 3 , 1 )", True),
        ("a in (2)", False),
        ("b in (1)", False),
        ("a notin (2)", True),
        ("a notin (1,2)", False),
        ("b notin (1)", True),
        ("kubernetes.io/name=x.y_z", True),
        ("a=1,!b", True),
        ("a=1,b", False),
        ("a in (1,2),kubernetes.io/name", True),
        ("!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name", True),
        ("", True),
    ],
)
def test_label_selectors(selector: str, expected: bool) -> None:
    assert parse_selection(selector).matches({}, LABELS) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=svc", True),
        ("metadata.name=other", False),
        ("metadata.name!=other", True),
        ("metadata.namespace=ns", True),
        ("metadata.namespace=other", False),
        ("metadata.name=svc,metadata.namespace=ns", True),
        ("metadata.name=svc,metadata.namespace=other", False),
        ("metadata.name!=svc,metadata.name!=other", False),
        ("metadata.name!=one,metadata.name!=other", True),
    ],
)
def test_field_selectors(selector: str, expected: bool) -> None:
    assert parse_selection("", selector).matches({"metadata.name": "svc", "metadata.namespace": "ns"}, {}) is expected


def test_services_are_selected_by_address_and_type() -> None:
    obj = {"metadata": {"name": "a", "namespace": "ns"}, "spec": {"clusterIP": "None", "type": "ClusterIP"}}
    found = selectable_fields(SERVICES, obj)
    assert found == {
        "metadata.name": "a",
        "metadata.namespace": "ns",
        "spec.clusterIP": "None",
        "spec.type": "ClusterIP",
    }
    assert not parse_selection("", "spec.clusterIP!=None", SERVICES).matches(found, {})
    assert parse_selection("", "spec.clusterIP=None,spec.type=ClusterIP", SERVICES).matches(found, {})


@pytest.mark.parametrize(
    ("labels", "fields", "words"),
    [
        ("a b", "", 'unable to parse requirement: "a b"'),
        ("a in 1", "", 'unable to parse requirement: "a in 1"'),
        ("a=1,,b", "", 'unable to parse requirement: ""'),
        ("a>1", "", 'unable to parse requirement: "a>1"'),
        ("", "spec.type=x", "field label not supported: spec.type"),
        ("", "spec.nothing=x", "field label not supported: spec.nothing"),
        ("", "metadata.name", "invalid field selector: 'metadata.name'; can't understand 'metadata.name'"),
    ],
)
def test_nonsense_is_refused(labels: str, fields: str, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_selection(labels, fields)
    assert caught.value.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": words,
        "reason": "BadRequest",
        "code": 400,
    }


def test_no_selector_asks_nothing() -> None:
    assert parse_selection("") is EVERYTHING


KEYS = st.from_regex(r"[a-z0-9]([a-z0-9./-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda key: key not in {"in", "notin"}
)
VALUES = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?)?", fullmatch=True)


@given(labels=st.dictionaries(KEYS, VALUES, max_size=4), key=KEYS, value=VALUES)
def test_every_requirement_and_its_opposite_divide_the_world(labels: dict[str, str], key: str, value: str) -> None:
    def holds(selector: str) -> bool:
        return parse_selection(selector).matches({}, labels)

    assert holds(key) is (key in labels) is not holds(f"!{key}")
    assert holds(f"{key}={value}") is (labels.get(key) == value) is not holds(f"{key}!={value}")
    assert holds(f"{key} in ({value},zz)") is not holds(f"{key} notin ({value},zz)")
    assert all(holds(f"{name}={content}") for name, content in labels.items())
    if labels:
        assert holds(",".join(f"{name}={content}" for name, content in labels.items()))
