from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxybench.errors import ExperimentError
from proxybench.experiment.events import SoakSpec
from proxybench.experiment.load import load_experiment
from proxybench.experiment.matrix import expand
from proxybench.experiment.profile import LEAST_PROBED, Profile, ServiceType, Shape, read_profile

PROFILE = """\
version: 1
nodes: {count: 40, shares: [0.01, 0.02, 0.025, 0.03, 0.1]}
shapes:
  - {services: 60, type: ClusterIP, ports: {tcp: 1}, endpoints: {0: 5, 1: 20, 2: 35}, slices: {1: 60}, unready: 3}
  - services: 3
    type: LoadBalancer
    ports: {udp: 1, tcp: 2}
    external_traffic_policy: Local
    load_balancer_ip: true
    endpoints: {2: 2, 250: 1}
    slices: {1: 2, 3: 1}
  - {services: 7, type: Headless}
churn:
  watched: 1m
  endpoint_slices: {changed: 12.5}
"""
EXPERIMENT = """\
version: 1
name: shape
modes: [iptables]
scale: {profile: cluster.yaml}
measure: {sync: true}
"""


HOME = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(PROFILE)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


def problems(folder: Path, *overrides: str) -> list[str]:
    """Return what is wrong, without the folder's name."""
    with pytest.raises(ExperimentError) as caught:
        load_experiment(folder / "experiment.yaml", overrides)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def rewrite(folder: Path, old: str, new: str, name: str = "cluster.yaml") -> None:
    text = (folder / name).read_text()
    assert text.count(old) == 1
    (folder / name).write_text(text.replace(old, new))


def test_a_profile_says_how_many_there_are(folder: Path) -> None:
    profile = read_profile(folder / "cluster.yaml")
    assert (profile.services, profile.endpoints, profile.endpoints_each) == (70, 20 + 70 + 254, 5)
    assert (profile.probed, profile.size) == (LEAST_PROBED, 79)
    assert profile.node_ports == 3 * (3 + 1)  # each port, and the health check's of Local
    assert [shape.type for shape in profile.shapes] == [
        ServiceType.CLUSTER_IP,
        ServiceType.LOAD_BALANCER,
        ServiceType.HEADLESS,
    ]


def test_one_of_a_hundred_services_of_a_large_replay_is_our_own() -> None:
    words = {"services": 2_050, "type": "ClusterIP", "ports": {"tcp": 1}, "endpoints": {1: 2_050}, "slices": {1: 2_050}}
    assert Profile.model_validate({"version": 1, "shapes": [words]}).probed == 20


def test_its_size_and_its_digest_are_those_of_the_cells(folder: Path) -> None:
    experiment = load_experiment(folder / "experiment.yaml")
    digest = read_profile(folder / "cluster.yaml").digest
    assert len(digest) == 12
    assert {
        (step.cell.services, step.cell.endpoints_per_service, step.cell.profile) for step in expand(experiment)
    } == {(79, 5, digest)}


def test_the_digest_is_of_what_is_replayed(folder: Path) -> None:
    before = read_profile(folder / "cluster.yaml").digest
    rewrite(folder, "changed: 12.5", "changed: 13")
    rewrite(folder, "version: 1", "# another comment\nversion: 1")
    rewrite(folder, "{udp: 1, tcp: 2}", "{tcp: 2, udp: 1, sctp: 0}")
    assert read_profile(folder / "cluster.yaml").digest == before
    rewrite(folder, "{0: 5, 1: 20, 2: 35}", "{0: 5, 1: 21, 2: 34}")
    assert read_profile(folder / "cluster.yaml").digest != before


def test_a_run_s_record_holds_the_whole_profile_but_not_what_is_usual(folder: Path) -> None:
    scale = load_experiment(folder / "experiment.yaml").model_dump(mode="json")["scale"]
    assert scale["profile"]["shapes"][1] == {
        "services": 3,
        "type": "LoadBalancer",
        "ports": {"tcp": 2, "udp": 1},
        "external_traffic_policy": "Local",
        "load_balancer_ip": True,
        "endpoints": {"2": 2, "250": 1},
        "slices": {"1": 2, "3": 1},
    }
    assert Profile.model_validate(scale["profile"]) == read_profile(folder / "cluster.yaml")


def test_a_profile_is_seen_from_the_experiment_s_folder_and_an_override_from_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "other.yaml").write_text(PROFILE.replace("services: 7,", "services: 8,"))
    (line,) = problems(folder, "scale.profile=other.yaml")
    assert line.startswith('--set scale.profile:1:1: profile: "other.yaml" is no file that is there; name one that')
    monkeypatch.chdir(folder / "sub")
    found = load_experiment(folder / "experiment.yaml", ["scale.profile=other.yaml"]).scale.profile
    assert found is not None
    assert found.services == 71


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("version: 1", "version: 2", "1:10: version: 2 is no format of profiles that this proxybench reads; write 1"),
        ("services: 7,", "", '12:5: "services" is missing; write services: …'),
        ("udp: 1,", "upd: 1,", '7:13: unknown key "upd"; did you mean "udp"?'),
        (
            "type: Headless",
            "type: Headles",
            '12:25: type: "Headles" is not a type of Service; did you mean "Headless"?',
        ),
        (
            "{0: 5, 1: 20, 2: 35}",
            "{0: 5, 1: 20, 2: 36}",
            "4:65: endpoints: its counts are of 61 Services, and there are 60; make them equal",
        ),
        (
            "{0: 5, 1: 20, 2: 35}",
            "{0: 5, one: 20, 2: 35}",
            '4:65: endpoints: "one" is no number that a Service can have; write a whole number, such as 2: 40',
        ),
        (
            "slices: {1: 60}",
            "slices: {1: -60}",
            "4:95: slices: -60 is no number of Services; write at least 1, such as 1: 40",
        ),
        (
            "unready: 3",
            "unready: 3000",
            "4:65: endpoints: 3000 unready and 0 terminating are more than there are (90); write fewer",
        ),
        (
            "unready: 3}",
            "source_ranges: true}",
            "4:119: source_ranges: only a LoadBalancer has it; remove it",
        ),
        (
            "unready: 3}",
            "external_traffic_policy: Local}",
            "4:129: external_traffic_policy: Local needs a NodePort, a LoadBalancer or external_ips: true; remove it",
        ),
        (
            "external_traffic_policy: Local",
            "external_traffic_policy: local",
            "8:30: external_traffic_policy: \"local\" is not known here; write 'Cluster' or 'Local'",
        ),
        ("ports: {tcp: 1},", "", "4:5: ports: a Service of type ClusterIP has at least one; write ports: {tcp: 1}"),
    ],
)
def test_what_is_wrong_in_a_profile_is_told_with_its_place(folder: Path, old: str, new: str, found: str) -> None:
    rewrite(folder, old, new)
    (line,) = problems(folder)
    assert line == f"cluster.yaml:{found}"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (
            "{profile: cluster.yaml}",
            "{profile: cluster.yaml, services: [10]}",
            "4:42: services: the profile says how many there are; remove it, or profile",
        ),
        (
            "cluster.yaml",
            "[10]",
            "4:18: profile: a list is no file that is there; name one that proxybench profile wrote",
        ),
        (
            "cluster.yaml",
            "clusters.yaml",
            '4:18: profile: "clusters.yaml" is no file that is there; name one that proxybench profile wrote',
        ),
        (
            "modes: [iptables]",
            "subjects: [{kind: kube-proxy, version: v1.37.2, mode: iptables}]\nfamilies: [ipv6]",
            "4:11: families: a profile is replayed over IPv4 only; write families: [ipv4]",
        ),
        (
            "{sync: true}",
            "{forwarding: {paths: [cluster_ip@far]}}\nproxier: {nodes: all}",
            "5:32: paths: cluster_ip@far is not measured in the replay of a profile; leave it out",
        ),
    ],
)
def test_what_does_not_go_with_a_profile_is_told(folder: Path, old: str, new: str, found: str) -> None:
    rewrite(folder, old, new, "experiment.yaml")
    assert problems(folder) == [f"experiment.yaml:{found}"]


@pytest.mark.parametrize(
    ("old", "new", "soak", "pace"),
    [
        ("", "", "{duration: 10s}", 12.0),  # 12.5 slices a minute, 2.5 with each change
        ("", "", "{duration: 10s, pace: 1s}", 1.0),
        ("{changed: 12.5}", "{added: 10, changed: 20, deleted: 20}", "true", 3.0),
        ("{changed: 12.5}", "{changed: 130}", "true", 1.154),
        ("{changed: 12.5}", "{changed: 99000}", "true", 0.1),
        ("{changed: 12.5}", "{changed: 0.01}", "true", 600.0),
        ("{changed: 12.5}", "{changed: 0}", "true", 1.0),
        ("churn:\n  watched: 1m\n  endpoint_slices: {changed: 12.5}\n", "", "true", 1.0),
    ],
)
def test_a_soak_changes_as_many_slices_as_the_cluster_did(
    folder: Path, old: str, new: str, soak: str, pace: float
) -> None:
    if old:
        rewrite(folder, old, new)
    rewrite(folder, "{sync: true}", f"{{soak: {soak}}}\nlimits: {{cell: 10m}}", "experiment.yaml")
    experiment = load_experiment(folder / "experiment.yaml")
    assert experiment.measure.soak is not None
    assert experiment.measure.soak.pace == pace
    assert SoakSpec.model_validate(experiment.measure.soak.model_dump(mode="json")) == experiment.measure.soak


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (
            "{services: 16000, type: Headless}",
            "16,160 Services (160 of them proxybench's own) are more than the lab has room for; at most 16,000",
        ),
        (
            "{services: 10, type: ClusterIP, ports: {tcp: 1}, endpoints: {7000: 10}, slices: {70: 10}}",
            "133,000 endpoints are more than the lab has room for; at most 60,000",
        ),
        (
            "{services: 10, type: NodePort, ports: {tcp: 2000}, endpoints: {1: 10}, slices: {1: 10}}",
            "20,000 ports of the node are more than the lab has room for; at most 15,000",
        ),
    ],
)
def test_a_cluster_that_the_lab_cannot_hold_is_refused(folder: Path, shape: str, what: str) -> None:
    (folder / "cluster.yaml").write_text(f"version: 1\nshapes:\n  - {shape}\n")
    assert problems(folder) == [f"experiment.yaml:4:18: profile: {what} are replayed"]


def test_the_file_in_the_document_is_right(tmp_path: Path) -> None:
    page = (HOME / "docs/profile.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "whole.yaml").write_text(block)
    assert read_profile(tmp_path / "whole.yaml").services == 201
    words = {name for model in (Profile, Shape) for name in model.model_fields} - {"version"}
    table = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert [name for name in sorted(words) if f"`{name}`" not in table] == []


def test_the_profile_that_comes_with_proxybench_is_of_2000_services() -> None:
    profile = load_experiment(HOME / "experiments/profile.yaml").scale.profile
    assert profile is not None
    assert (profile.services, profile.probed) == (2_001, 20)
    assert {shape.type for shape in profile.shapes} == set(ServiceType)
