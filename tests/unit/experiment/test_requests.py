from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import refproxy
from proxybench.experiment.requests import Commands, SubjectSpec, fill, requests
from proxybench.experiment.spec import Experiment
from proxybench.experiment.subjects import Backend, tagged
from proxybench.model import Mode, Subject

HOME = Path("/folder")
VERSION = refproxy.__version__


def experiment(**words: object) -> Experiment:
    usual = {"version": 1, "name": "x", "scale": {"services": [10]}, "measure": {"sync": True}}
    return Experiment.model_validate({**usual, **words})


def asked(*subjects: dict[str, Any], **words: object) -> tuple[SubjectSpec, ...]:
    return requests(experiment(subjects=list(subjects), **words), HOME)


def test_a_release_in_nftables_mode_has_no_settings_of_its_own() -> None:
    assert asked({"kind": "kube-proxy", "version": "1.37.2", "mode": "nftables"}) == (
        SubjectSpec(Subject("kube-proxy", "v1.37.2", Mode.NFTABLES), 1.0, 30.0),
    )


def test_lists_of_modes_and_backends_make_one_subject_each() -> None:
    words = {"kind": "kube-proxy", "version": "v1.37.2", "iptables": ["nft", "legacy"]}
    found = asked({**words, "modes": ["ipvs", "nftables", "iptables"]})
    assert [(each.mode, each.iptables, each.subject.settings) for each in found] == [
        (Mode.IPVS, Backend.NFT, (("iptables", "nft"),)),
        (Mode.IPVS, Backend.LEGACY, (("iptables", "legacy"),)),
        (Mode.NFTABLES, None, ()),
        (Mode.IPTABLES, Backend.NFT, (("iptables", "nft"),)),
        (Mode.IPTABLES, Backend.LEGACY, (("iptables", "legacy"),)),
    ]


def test_paths_begin_at_the_experiment_file() -> None:
    file, checkout, far = asked(
        {"kind": "kube-proxy", "path": "./kube-proxy", "mode": "iptables"},
        {"kind": "kube-proxy", "source": "../kubernetes", "mode": "iptables"},
        {"kind": "kube-proxy", "path": "/opt/kube-proxy", "mode": "iptables", "name": "far"},
    )
    assert (file.path, file.source, file.subject.version) == (HOME / "kube-proxy", None, "")
    assert file.subject.settings == (("iptables", "legacy"), ("path", "./kube-proxy"))
    assert (checkout.path, checkout.source) == (None, HOME / "../kubernetes")
    assert checkout.subject.settings == (("iptables", "legacy"), ("source", "../kubernetes"))
    assert far.path == Path("/opt/kube-proxy")
    assert far.subject.settings == (("iptables", "legacy"), ("name", "far"))


def test_only_what_a_subject_changes_is_among_its_settings() -> None:
    words = {"kind": "kube-proxy", "version": "v1.37.2", "mode": "nftables"}
    plain, same, other = asked(
        words,
        {**words, "name": "same", "settings": {"min_sync_period": "500ms", "sync_period": "10m"}},
        {**words, "settings": {"min_sync_period": "0s", "sync_period": "1m"}},
        proxier={"min_sync_period": "500ms", "sync_period": "10m"},
    )
    assert (plain.min_sync_period, plain.sync_period, plain.subject.settings) == (0.5, 600.0, ())
    assert (same.min_sync_period, same.sync_period, same.subject.settings) == (0.5, 600.0, (("name", "same"),))
    assert (other.min_sync_period, other.sync_period) == (0.0, 60.0)
    assert other.subject.settings == (("min_sync_period", "0s"), ("sync_period", "1m"))


def test_each_value_of_an_overlay_is_among_the_settings() -> None:
    overlay = {"ipvs": {"scheduler": "lc", "strictARP": True}, "nodePortAddresses": ["primary"], "conntrack": {}}
    (found,) = asked({"kind": "kube-proxy", "version": "v1.37.2", "mode": "ipvs", "config": overlay})
    assert found.config == overlay
    assert found.subject.settings == (
        ("config.conntrack", "{}"),
        ("config.ipvs.scheduler", "lc"),
        ("config.ipvs.strictARP", "true"),
        ("config.nodePortAddresses", '["primary"]'),
        ("iptables", "legacy"),
    )


def test_a_stand_in_goes_by_its_own_name() -> None:
    (found,) = asked(
        {
            "kind": "kube-proxy",
            "version": "v1.20.2",
            "mode": "userspace",
            "name": "old",
            "otherwise": "reference",
            "config": {"ipvs": {"scheduler": "lc"}},
            "settings": {"sync_period": "10m"},
        }
    )
    assert found.otherwise == SubjectSpec(
        Subject("reference", VERSION, Mode.USERSPACE, (("iptables", "legacy"), ("sync_period", "10m"))),
        1.0,
        600.0,
        Backend.LEGACY,
    )


def test_a_command_brings_its_argument_lists() -> None:
    (found,) = asked(
        {
            "kind": "command",
            "name": "kube-router",
            "mode": "ipvs",
            "iptables": "nft",
            "start": ["router", "--kubeconfig={kubeconfig}"],
            "ready": ["check"],
            "version": ["router", "--version"],
        }
    )
    assert found == SubjectSpec(
        Subject("command", "", Mode.IPVS, (("iptables", "nft"), ("name", "kube-router"))),
        1.0,
        30.0,
        Backend.NFT,
        commands=Commands(
            start=("router", "--kubeconfig={kubeconfig}"), ready=("check",), version=("router", "--version")
        ),
    )


@pytest.mark.parametrize(
    ("proxier", "subject"),
    [
        ({}, Subject("reference", VERSION, Mode.IPVS, (("iptables", "legacy"),))),
        ({"kind": "reference"}, Subject("reference", VERSION, Mode.IPVS, (("iptables", "legacy"),))),
        (
            {"kind": "kube-proxy", "version": "v1.33.13"},
            Subject("kube-proxy", "v1.33.13", Mode.IPVS, (("iptables", "legacy"),)),
        ),
    ],
)
def test_the_short_form_is_one_subject_per_mode(proxier: dict[str, str], subject: Subject) -> None:
    found = requests(experiment(modes=["ipvs"], proxier={**proxier, "sync_period": "10m"}))
    assert found == (SubjectSpec(subject, 1.0, 600.0, Backend.LEGACY),)


def test_placeholders_are_filled_once_and_other_braces_stay() -> None:
    values = {"mode": "ipvs", "node": "{mode}", "kubeconfig": "/k c"}
    argv = ("a", "--kubeconfig={kubeconfig}", "{node}/{mode}", "{print $1} ${HOME} {{mode}}")
    assert fill(argv, values) == ("a", "--kubeconfig=/k c", "{mode}/ipvs", "{print $1} ${HOME} {ipvs}")
    with pytest.raises(KeyError, match="workdir"):
        fill(("{workdir}",), values)


def test_what_may_be_left_out_is_marked() -> None:
    words = {"kind": "kube-proxy", "version": "v1.37.2", "mode": "nftables"}
    left, needed = asked({**words, "otherwise": "skip"}, {**words, "name": "needed"})
    assert (left.optional, left.otherwise, needed.optional, needed.otherwise) == (True, None, False, None)


def test_an_image_of_a_cluster_s_own_has_the_version_of_its_tag() -> None:
    target = {"cluster": {"inventory": "n.yaml"}}
    words = {"kind": "cluster", "mode": "ipvs"}
    image = "reg.example:5000/k8s/kube-proxy:1.36.3-mine@sha256:0123"
    own, other = asked(words, {**words, "image": image}, target=target)
    assert own == SubjectSpec(Subject("cluster", "", Mode.IPVS), 1.0, 30.0, optional=True)
    subject = Subject("cluster", "v1.36.3", Mode.IPVS, (("image", image),))
    assert other == SubjectSpec(subject, 1.0, 30.0, optional=True, image=image)


@pytest.mark.parametrize(
    "image", ["kube-proxy", "kube-proxy:latest", "reg:5000/kube-proxy", "a:v1.37", "a:v1.37.2x", ""]
)
def test_an_image_whose_tag_tells_no_release_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="has no tag that begins with an exact release; write one such as registry"):
        tagged(image)


def test_a_cluster_with_pods_is_written_as_it_was_read_and_one_without_them_as_ever() -> None:
    words = {"kind": "cluster", "mode": "ipvs"}
    pods = {"selector": "app=web", "namespace": "default"}
    for own in ({"inventory": "n.yaml"}, {"inventory": "n.yaml", "pods": pods}):
        found = experiment(subjects=[words], target={"cluster": own}).model_dump(mode="json")["target"]["cluster"]
        assert {name: value for name, value in found.items() if name in {"inventory", "pods"}} == own
