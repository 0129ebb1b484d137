from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refproxy
from proxybench.errors import ExperimentError
from proxybench.experiment.load import load_experiment
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[[str], Path]

HEAD = "version: 1\nname: s\nscale: {services: [10]}\nmeasure: {sync: true}\n"
COMMAND = "kind: command, name: c, mode: ipvs, start: [run], ready: [ask]"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = tmp_path / "e.yaml"
        path.write_text(HEAD + text, encoding="utf-8")
        return path.relative_to(tmp_path)

    return to_file


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides)
    return str(caught.value).splitlines()


def listed(*subjects: str) -> str:
    return "subjects:\n" + "".join(f"  - {{{subject}}}\n" for subject in subjects)


EXAMPLE = "[{kind: kube-proxy, version: v1.37.2, mode: nftables}]"
CURE = "change a setting, give it a name, or remove it"
REFERENCE = f"reference {refproxy.__version__}"
KUBE_PROXY = "kind: kube-proxy, version: v1.37.2"

REFUSED = {
    "no list": (
        "subjects: {kind: kube-proxy}\n",
        f"5:11: subjects: a mapping is not a list; write subjects: {EXAMPLE}",
    ),
    "empty": (
        "subjects: []\n",
        f"5:11: subjects: the list is empty; write at least one, such as {EXAMPLE}",
    ),
    "neither": (
        "",
        f'1:1: "subjects" is missing; write subjects: {EXAMPLE}, or modes: [iptables, ipvs]',
    ),
    "both": (
        "modes: [ipvs]\n" + listed("kind: reference, mode: ipvs"),
        "5:8: modes is the short form of subjects, and both are written; keep one",
    ),
    "no mapping": (
        "subjects: [reference]\n",
        '5:12: subjects, number 1: "reference" is not a mapping; write its keys below it: kind, mode, …',
    ),
    "no kind": (
        listed("mode: ipvs"),
        '6:5: "kind" is missing; write one of: kind: kube-proxy, reference, command, cluster',
    ),
    "misspelt kind": (
        listed("kind: kubeproxy, mode: ipvs"),
        '6:12: kind: "kubeproxy" is not a kind of subject; did you mean "kube-proxy"?',
    ),
    "unlike any kind": (
        listed("kind: [1], mode: ipvs"),
        "6:12: kind: a list is not a kind of subject; one of: kube-proxy, reference, command, cluster",
    ),
    "daemonset": (
        listed("kind: daemonset, mode: ipvs"),
        (
            '6:12: kind: "daemonset" is not a kind of subject; '
            "a cluster's own kube-proxy is kind: cluster, with target.cluster"
        ),
    ),
    "a cluster's own in a lab": (
        listed("kind: cluster, mode: ipvs"),
        "6:12: kind: cluster is the kube-proxy of target.cluster; write that, too",
    ),
    "ours in a cluster": (
        f"target: {{cluster: {{inventory: n.yaml}}}}\n{listed('kind: reference, mode: ipvs')}",
        "7:12: kind: target.cluster runs its own kube-proxy; write kind: cluster, not reference",
    ),
    "the short form in a cluster": (
        "target: {cluster: {inventory: n.yaml}}\nmodes: [ipvs]\n",
        ("6:8: modes: target.cluster runs its own kube-proxy; write subjects: [{kind: cluster, mode: iptables}]"),
    ),
    "settings of a cluster's own": (
        f"target: {{cluster: {{inventory: n.yaml}}}}\n{listed('kind: cluster, mode: ipvs, iptables: nft')}",
        "7:43: iptables: the cluster's own kube-proxy has its own; remove it",
    ),
    "an image without a release": (
        f"target: {{cluster: {{inventory: n.yaml}}}}\n{listed('kind: cluster, mode: ipvs, image: reg:5000/proxy')}",
        (
            '7:40: image: "reg:5000/proxy" has no tag that begins with an exact release; write one such as '
            "registry.k8s.io/kube-proxy:v1.37.2, or tag your own so: v1.37.2-mine"
        ),
    ),
    "a lab and a cluster": (
        f"target: {{lab: {{kind: netns}}, cluster: {{inventory: n.yaml}}}}\n{listed('kind: cluster, mode: ipvs')}",
        "5:15: lab: target names a cluster, too; keep one",
    ),
    "unknown key": (
        listed(f"{KUBE_PROXY}, mode: ipvs, vresion: v1.37.2"),
        '6:54: unknown key "vresion"; did you mean "version"?',
    ),
    "another kind's key": (
        listed("kind: reference, mode: ipvs, config: {}"),
        '6:35: unknown key "config"; known here: kind, name, mode, modes, iptables, settings',
    ),
    "unknown setting": (
        listed(f"{KUBE_PROXY}, mode: ipvs, settings: {{sync_perod: 1m}}"),
        '6:65: unknown key "sync_perod"; did you mean "sync_period"?',
    ),
    "misspelt mode": (
        listed("kind: reference, mode: iptable"),
        '6:29: mode: "iptable" is not a mode; did you mean "iptables"?',
    ),
    "no mode": (
        listed(KUBE_PROXY),
        '6:5: "mode" is missing; write one of: mode: iptables, ipvs, userspace, nftables',
    ),
    "mode and modes": (
        listed(f"{KUBE_PROXY}, mode: ipvs, modes: [iptables]"),
        "6:61: modes: mode is written too; keep one",
    ),
    "mode twice": (
        listed(f"{KUBE_PROXY}, modes: [ipvs, ipvs]"),
        '6:49: modes: "ipvs" is named twice; name it once',
    ),
    "misspelt backend": (
        listed(f"{KUBE_PROXY}, mode: ipvs, iptables: [nftables]"),
        '6:65: iptables, number 1: "nftables" is not a backend of iptables; one of: legacy, nft',
    ),
    "no backend": (
        listed(f"{KUBE_PROXY}, mode: ipvs, iptables: []"),
        "6:64: iptables: the list is empty; write at least one, such as [legacy, nft]",
    ),
    "backend of nftables": (
        listed(f"{KUBE_PROXY}, mode: nftables, iptables: nft"),
        "6:68: iptables: mode nftables does not run it; remove it",
    ),
    "version as a number": (
        listed("kind: kube-proxy, version: 1.37, mode: ipvs"),
        "6:33: version: 1.37 is not text; write version: v1.37.2",
    ),
    "no exact version": (
        listed('kind: kube-proxy, version: "1.37", mode: ipvs'),
        '6:33: version: "1.37" is no exact release; write all three numbers, such as v1.37.2',
    ),
    "no origin": (
        listed("kind: kube-proxy, mode: ipvs"),
        "6:5: kind kube-proxy needs one of version, path and source; write version: v1.37.2",
    ),
    "two origins": (
        listed(f"{KUBE_PROXY}, path: ./kube-proxy, mode: ipvs"),
        "6:48: path: version is written too; keep one",
    ),
    "path from home": (
        listed("kind: kube-proxy, path: ~/kube-proxy, mode: ipvs"),
        '6:30: path: "~/kube-proxy": ~ means nothing here; write the whole path',
    ),
    "version without the mode": (
        listed("kind: kube-proxy, version: v1.26.0, mode: userspace"),
        "6:48: kube-proxy 1.26 has no mode userspace: userspace was removed in 1.26; use 1.25 or older",
    ),
    "version without one of the modes": (
        listed("kind: kube-proxy, version: v1.28.9, modes: [ipvs, nftables]"),
        "6:56: kube-proxy 1.28.9 has no mode nftables: nftables came in 1.29; use 1.29 or newer",
    ),
    "too old": (
        listed("kind: kube-proxy, version: v1.19.16, mode: ipvs"),
        "6:49: kube-proxy 1.19.16 is older than what can be configured; write v1.20.0 or newer",
    ),
    "reference in nftables": (
        listed("kind: reference, mode: nftables"),
        "6:29: the reference proxier has no mode nftables; write kind: kube-proxy, or another mode",
    ),
    "otherwise in nftables": (
        listed(f"{KUBE_PROXY}, mode: nftables, otherwise: reference"),
        "6:48: otherwise: the reference proxier has no mode nftables; write otherwise: skip, or another mode",
    ),
    "otherwise something else": (
        listed(f"{KUBE_PROXY}, mode: ipvs, otherwise: nothing"),
        "6:65: otherwise: \"nothing\" is not known here; write 'reference' or 'skip'",
    ),
    "periods": (
        listed(f"{KUBE_PROXY}, mode: ipvs, settings: {{min_sync_period: 31s}}"),
        "6:82: min_sync_period: 31s is longer than sync_period (30s); make it shorter",
    ),
    "period without a unit": (
        listed(f"{KUBE_PROXY}, mode: ipvs, settings: {{sync_period: 5}}"),
        "6:78: sync_period: 5 has no unit; write a duration such as 5s or 5ms",
    ),
    "overlay sets the mode": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{mode: iptables}}"),
        "6:69: mode: write it beside config: mode: …",
    ),
    "overlay sets a period": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{ipvs: {{syncPeriod: 5s}}}}"),
        "6:82: ipvs.syncPeriod: write it in settings, so that it is checked and shown: settings: {sync_period: …}",
    ),
    "overlay sets what is ours": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{hostnameOverride: {{a: b}}}}"),
        "6:85: hostnameOverride.a: proxybench sets it itself; remove it",
    ),
    "overlay with a date": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{a: 2001-01-01}}"),
        "6:62: config: 2001-01-01 is a date; write it in quotes",
    ),
    "overlay with no number": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{a: [.nan]}}"),
        "6:62: config: nan is no number that JSON knows; write another",
    ),
    "overlay that holds itself": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: &c {{a: *c}}"),
        "6:69: *c stands within what it repeats",
    ),
    "overlay too long": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: {{a: [{'0, ' * 500}0]}}"),
        "6:62: config: more than 500 values; write only what differs from the usual configuration",
    ),
    "overlay no mapping": (
        listed(f"{KUBE_PROXY}, mode: ipvs, config: 3"),
        "6:62: config: 3 is not a mapping; write config: {ipvs: {scheduler: lc}}",
    ),
    "label": (
        listed("kind: reference, mode: ipvs, name: 'a=b'"),
        '6:41: name: "a=b" is no label; write at most 40 letters, digits, dots, dashes and blanks, such as mine',
    ),
    "command without a name": (
        listed("kind: command, mode: ipvs, start: [run], ready: [ask]"),
        '6:5: "name" is missing; write name: kube-router',
    ),
    "command without ready": (
        listed("kind: command, name: c, mode: ipvs, start: [run]"),
        "6:5: \"ready\" is missing; write ready: [curl, -sf, 'http://127.0.0.1:10256/healthz']",
    ),
    "command line as text": (
        listed("kind: command, name: c, mode: ipvs, start: run it, ready: [ask]"),
        "6:49: start: \"run it\" is not a list; write start: [/usr/bin/proxy, --kubeconfig, '{kubeconfig}']",
    ),
    "number as an argument": (
        listed(f"{COMMAND}, stop: [sleep, 5]"),
        "6:84: stop, number 2: 5 is not text; write it in quotes",
    ),
    "no program": (
        listed(f"{COMMAND}, stop: ['', -x]"),
        "6:76: stop: the program's name is empty; write it first, such as [/usr/bin/proxy, --now]",
    ),
    "NUL": (
        listed(f'{COMMAND}, stop: ["a\\0"]'),
        "6:77: stop, number 1: a text here cannot hold the character NUL; remove it",
    ),
    "twice": (
        listed("kind: reference, mode: ipvs", f"{KUBE_PROXY}, mode: ipvs", "kind: reference, modes: [iptables, ipvs]"),
        f"8:5: {REFERENCE} ipvs (iptables=legacy) is there already, as number 1; {CURE}",
    ),
    "twice by a stand-in": (
        listed(
            f"{KUBE_PROXY}, mode: ipvs, otherwise: reference",
            "kind: kube-proxy, version: v1.33.13, mode: ipvs, otherwise: reference",
        ),
        f"7:5: {REFERENCE} ipvs (iptables=legacy) is there already, as number 1; {CURE}",
    ),
    "proxier's kind beside subjects": (
        listed("kind: reference, mode: ipvs") + "proxier: {kind: reference}\n",
        "7:17: kind: each of subjects has its own; remove it",
    ),
    "proxier's version beside subjects": (
        listed("kind: reference, mode: ipvs") + "proxier: {version: v1.37.2}\n",
        "7:20: version: each of subjects has its own; remove it",
    ),
    "ipv6 in userspace mode": (
        listed("kind: kube-proxy, path: ./kp, mode: userspace") + "families: [ipv6]\n",
        "7:12: families: userspace mode has IPv4 only; write families: [ipv4], or another mode",
    ),
    "ipv6": (
        listed("kind: reference, mode: ipvs") + "families: [ipv4, ipv6]\n",
        "7:18: families: the reference proxier has IPv4 only; write families: [ipv4], or kind: kube-proxy",
    ),
    "kernel as a number": (
        listed("kind: reference, mode: ipvs") + "target: {lab: {kernel: 6.1}}\n",
        '7:24: kernel: 6.1 is not a kernel of the VM; did you mean "6.1"?',
    ),
    "kernel of namespaces": (
        listed("kind: reference, mode: ipvs") + 'target: {lab: {kind: netns, kernel: "6.12"}}\n',
        "7:37: kernel: namespaces have this machine's; write kind: vm, or remove kernel",
    ),
}


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_where_it_stands(write: Write, text: str, line: str) -> None:
    assert problems(write(text)) == [f"e.yaml:{line}"]


def test_a_subject_from_the_command_line_has_its_place_there(write: Write) -> None:
    path = write(listed("kind: reference, mode: ipvs"))
    assert problems(path, "subjects=[{kind: kube-proxy, version: v1.37.2, mode: userspace}]") == [
        "--set subjects:1:45: kube-proxy 1.37.2 has no mode userspace: userspace was removed in 1.26; use 1.25 or older"
    ]


EVERYTHING = f"""\
target: {{lab: {{kind: vm, kernel: "6.12"}}}}
families: [ipv4]
proxier: {{min_sync_period: 2s, sync_period: 10m}}
{
    listed(
        "kind: kube-proxy, version: v1.37.2, modes: [iptables, nftables], iptables: [legacy, nft], otherwise: skip",
        "kind: kube-proxy, path: ./kp, mode: ipvs, config: {ipvs: {scheduler: lc}}, settings: {sync_period: 1m}",
        "kind: kube-proxy, source: ../k8s, mode: ipvs, name: mine 2",
        "kind: kube-proxy, version: v1.20.2, mode: userspace, otherwise: reference",
        "kind: reference, mode: iptables, iptables: nft",
        f"{COMMAND}, stop: [a], cleanup: [b], version: [c], synced: [d], clean: [e]",
    )
}"""


def test_subjects_that_were_dumped_can_be_loaded_again(write: Write) -> None:
    experiment = load_experiment(write(EVERYTHING))
    dumped = experiment.model_dump(mode="json")
    assert dumped["subjects"][4] == {"kind": "reference", "mode": "iptables", "iptables": ["nft"]}
    assert "modes" not in dumped
    assert Experiment.model_validate(json.loads(json.dumps(dumped))) == experiment
    assert [request.subject.label for request in requests(experiment)] == [
        "kube-proxy v1.37.2 iptables (iptables=legacy)",
        "kube-proxy v1.37.2 iptables (iptables=nft)",
        "kube-proxy v1.37.2 nftables",
        "kube-proxy ipvs (config.ipvs.scheduler=lc iptables=legacy path=./kp sync_period=1m)",
        "kube-proxy ipvs (iptables=legacy name='mine 2')",
        "kube-proxy v1.20.2 userspace (iptables=legacy)",
        f"{REFERENCE} iptables (iptables=nft)",
        "command ipvs (iptables=legacy name=c)",
    ]


_NEEDED: dict[str, dict[str, Any]] = {
    "kube-proxy": {"version": "v1.37.2"},
    "reference": {},
    "command": {"name": "c", "start": ["run"], "ready": ["ask"]},
}
_PERIODS = st.fixed_dictionaries({}, optional={"sync_period": st.sampled_from(["30s", "1m"])})
_SUBJECTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(list(_NEEDED)),
        "modes": st.lists(st.sampled_from(["ipvs", "iptables"]), min_size=1, unique=True),
    },
    optional={
        "name": st.sampled_from(["a", "b"]),
        "iptables": st.sampled_from(["legacy", "nft", ["nft", "legacy"]]),
        "settings": _PERIODS,
    },
)


@given(drawn=st.lists(_SUBJECTS, min_size=1, max_size=4))
def test_no_two_subjects_of_an_experiment_share_a_key(
    drawn: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-subjects.yaml"
    words = [{**_NEEDED[subject["kind"]], **subject} for subject in drawn]
    path.write_text(HEAD + f"subjects: {json.dumps(words)}\n", encoding="utf-8")
    asked: list[Any] = []
    try:
        asked = [request.subject for request in requests(load_experiment(path))]
    except ExperimentError as error:
        assert all("is there already" in problem.message for problem in error.problems)  # noqa: PT017
    assert len(set(asked)) == len(asked)
