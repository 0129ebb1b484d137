"""What a run writes to a cluster's API, taken back: at its end, or by whoever finishes one that was killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, RunError
from proxybench.kube.base import Kind
from proxybench.kube.objects import Pod, endpoint_slices, service
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG_MAP
from proxybench.targets.cluster.switch.undo import FILE
from tests.unit.targets.cluster.own_cluster import URL, admins_namespace, shop
from tests.unit.targets.cluster.test_pinned import in_a_run, switching

if TYPE_CHECKING:
    from proxybench.targets.cluster.switching import Switching
    from tests.unit.targets.cluster.own_cluster import Own


@pytest.mark.parametrize("there", [True, False])
def test_what_was_written_is_taken_back_and_the_namespace_only_if_a_run_made_it(own: Own, there: bool) -> None:
    shop(own)
    if there:
        admins_namespace(own.api)
    with own.target().open(1, own.said.append):
        own.api.ensure_namespace("proxybench")
        own.api.create_many([service("svc-00001", "10.96.1.1", 8080)])
        own.api.create_many(endpoint_slices("svc-00001", [Pod("192.0.2.13", "b1")], 18080, 0))
    spaces = {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}
    assert spaces == {"default", "shop", *(["proxybench"] if there else [])}
    assert [one["metadata"]["name"] for one in own.api.list(Kind.SERVICE)] == ["web"]
    assert own.api.list(Kind.ENDPOINT_SLICE) == []


BEING_DELETED = "the namespace proxybench is being deleted; waiting for up to 120 s until it is gone"


def test_a_namespace_that_an_earlier_run_s_end_deletes_is_waited_for_and_ours_is_another(own: Own) -> None:
    own.leaving = 3
    with own.target().open(1, own.said.append):
        own.api.ensure_namespace("proxybench")
        own.leaving = 0
    assert own.said == [BEING_DELETED, "starting a backend on b1, port 18080"]
    assert own.clock.slept == [1.0] * 3
    assert "proxybench" not in {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}


def test_one_that_does_not_go_is_an_error(own: Own) -> None:
    own.scripts, own.leaving = {}, 1_000
    with pytest.raises(RunError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "the namespace proxybench is still being deleted after 120 s; "
        "why, tells kubectl get namespace proxybench -o yaml"
    )
    assert (own.said, sum(own.clock.slept)) == ([BEING_DELETED], 120)
    own.assert_left()


REFUSED = "cannot reach the Kubernetes API: refused"
TRYING = f"{REFUSED}; trying for 60 s to remove what was written"
NOT_YET = TRYING.replace("60", "15")  # an API server that has been started anew, and has not read its roles yet


@pytest.mark.parametrize(("status", "told"), [(None, TRYING), (403, NOT_YET), (429, TRYING), (503, TRYING)])
def test_an_api_server_that_is_away_at_the_end_is_waited_for_and_told_once(
    own: Own, status: int | None, told: str
) -> None:
    with own.target().open(1, own.said.append):
        own.api.ensure_namespace("proxybench")
        own.api.create_many([service("svc-00001", "10.96.1.1", 8080)])
        own.away += [ApiError(REFUSED, status)] * 3
    assert own.said[1:] == [told]
    assert own.clock.slept == [5.0] * 3
    assert own.api.list(Kind.SERVICE) == []
    assert "proxybench" not in {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}
    own.assert_left()


@pytest.mark.parametrize(("status", "told", "waits"), [(None, [TRYING], 12), (403, [NOT_YET], 3), (404, [], 0)])
def test_one_that_stays_away_is_an_error_after_a_minute_and_a_refusal_sooner(
    own: Own, status: int | None, told: list[str], waits: int
) -> None:
    with pytest.raises(ApiError, match=f"^{REFUSED}$"), own.target().open(1, own.said.append):
        own.away += [ApiError(REFUSED, status)] * 99
    assert own.clock.slept == [5.0] * waits
    assert own.said[1:] == told


def test_the_namespace_of_a_run_that_was_killed_goes_with_the_next_run_s_end(own: Own) -> None:
    own.api.ensure_namespace("proxybench")
    with own.target().open(1, own.said.append):
        own.api.ensure_namespace("proxybench")
    assert "proxybench" not in {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}


def test_which_cluster_a_run_is_in_stands_in_its_folder_before_anything_is_written(own: Own) -> None:
    """Killed at any moment from there on, it can be finished by ``proxybench restore``; so can one that only looks."""
    target, folder = own.target(), own.folder / "run"
    folder.mkdir()
    target.place.began(folder)
    with target.open(1, own.said.append):
        header = json.loads((folder / FILE).read_text())
    assert header == {
        "server": URL,
        "kubeconfig": str(own.folder / "kubeconfig"),
        "context": "one",
        "inventory": target.file,
        "hosts": ["client c1", "measured n1", "backend b1"],
    }


def test_a_folder_that_cannot_be_written_ends_a_run_before_anything_is(own: Own) -> None:
    own.scripts = {}
    target = own.target()
    target.place.began(own.folder / "none")
    with pytest.raises(RunError) as caught, target.open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        f"{own.folder / 'none' / FILE}: cannot be written (No such file or directory); nothing is changed without it"
    )
    own.assert_left()


EDITED = (
    "edited by somebody else since, and left as it is: configmaps/kube-proxy data.config.conf "
    "(start kube-proxy anew when it says what you want); see {run}/undo.jsonl"
)


@pytest.mark.usefixtures("known_mark")
@pytest.mark.parametrize("body", [None, "a node is lost"])
def test_what_cannot_be_taken_back_hides_nothing_of_what_cannot_be_put_back(own: Own, body: str | None) -> None:
    switch = switching(own, "nftables")
    target, run = in_a_run(own, switch)
    with pytest.raises(RunError) as caught, target.open(1, own.said.append):
        in_the_run(own, switch, body)
    put_back, taken_back = str(caught.value).split("; put back: daemonsets")[0], str(caught.value).split("; ")[-1]
    assert put_back == "; ".join([*([body] if body else []), EDITED.format(run=run)])
    assert taken_back == "the collection is gone"


def in_the_run(own: Own, switch: Switching, error: str | None) -> None:
    """Switch; then somebody edits what was switched, and nothing of ours can be removed."""
    switch.to(Mode.NFTABLES)
    own.system.objects[CONFIG_MAP]["data"]["config.conf"] = "mode: ipvs\n"
    own.away += [ApiError("the collection is gone", 404)]
    if error:
        raise RunError(error)
