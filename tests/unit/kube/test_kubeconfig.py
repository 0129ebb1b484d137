from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.config.kube_config import KubeConfigLoader

from proxybench.errors import ExperimentError, UsageError
from proxybench.kube.kubeconfig import Credentials, read_kubeconfig, run_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
DATA = base64.b64encode(PEM.encode()).decode()
USUAL = f"""\
apiVersion: v1
kind: Config
current-context: one
contexts:
- name: one
  context: {{cluster: c, user: token}}
- name: two
  context: {{cluster: c, user: cert}}
- name: three
  context: {{cluster: c, user: plugin}}
- name: lost
  context: {{cluster: d, user: token}}
clusters:
- name: c
  cluster:
    server: https://192.0.2.1:6443
    certificate-authority-data: {DATA}
users:
- name: token
  user: {{token: s3cret}}
- name: cert
  user: {{client-certificate: crt, client-key-data: {DATA}}}
- name: plugin
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./get-token
      args: [--now]
      env: [{{name: WHO, value: me}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "crt").write_text(PEM)
    path = tmp_path / "config"
    path.write_text(USUAL)
    return path


def known(context: str, **more: Any) -> Credentials:
    return Credentials(context, **{"server": "https://192.0.2.1:6443", "ca_pem": PEM, **more})


def test_the_current_context_with_a_token(file: Path) -> None:
    found = read_kubeconfig(file)
    assert found == known("one", token="s3cret")
    assert "s3cret" not in repr(found)


def test_a_client_certificate_from_a_file_beside(file: Path) -> None:
    assert read_kubeconfig(file, "two") == known("two", client_pem=f"{PEM}\n{PEM}")


def test_an_exec_plugin_is_asked(file: Path) -> None:
    asked: list[Any] = []

    def plugin(argv: Sequence[str], environment: Mapping[str, str]) -> str:
        asked.append((list(argv), environment["WHO"], json.loads(environment["KUBERNETES_EXEC_INFO"])["apiVersion"]))
        return json.dumps({"status": {"token": "fresh"}})

    assert read_kubeconfig(file, "three", plugin) == known("three", token="fresh")
    assert asked == [([f"{file.parent}/get-token", "--now"], "me", "client.authentication.k8s.io/v1")]
    certificate = json.dumps({"status": {"clientCertificateData": "A", "clientKeyData": "B"}})
    assert read_kubeconfig(file, "three", lambda *_: certificate) == known("three", client_pem="A\nB")
    with pytest.raises(UsageError, match=r"^the kubeconfig's plugin .*/get-token printed no ExecCredential$"):
        read_kubeconfig(file, "three", lambda *_: "{}")


def test_when_a_token_of_a_plugin_ends(file: Path) -> None:
    status = {"token": "fresh", "expirationTimestamp": "1970-01-01T00:15:00Z"}
    assert read_kubeconfig(file, "three", lambda *_: json.dumps({"status": status})).expires == 900
    with pytest.raises(UsageError, match=r"printed no ExecCredential$"):
        read_kubeconfig(file, "three", lambda *_: json.dumps({"status": {**status, "expirationTimestamp": "soon"}}))


def asked_of(file: Path) -> Any:
    """Return what a plugin is asked for."""
    asked: list[Any] = []

    def plugin(_argv: Sequence[str], environment: Mapping[str, str]) -> str:
        asked.append(json.loads(environment["KUBERNETES_EXEC_INFO"])["spec"])
        return json.dumps({"status": {"token": "fresh"}})

    read_kubeconfig(file, "three", plugin)
    (spec,) = asked
    return spec


def test_a_plugin_that_wants_to_is_told_of_the_cluster(file: Path) -> None:
    assert asked_of(file) == {"interactive": False}
    wants = USUAL.replace("command: ./get-token", "command: ./get-token\n      provideClusterInfo: true")
    file.write_text(wants)
    cluster = {"server": "https://192.0.2.1:6443", "certificate-authority-data": DATA}
    assert asked_of(file) == {"interactive": False, "cluster": cluster}
    extensions = (
        "extensions: [{name: other, extension: 1}, {name: client.authentication.k8s.io/exec, extension: {audience: a}}]"
    )
    file.write_text(wants.replace(f"certificate-authority-data: {DATA}", extensions))
    assert asked_of(file)["cluster"] == {"server": "https://192.0.2.1:6443", "config": {"audience": "a"}}


def test_without_an_authority_the_system_s_vouch_for_the_server(file: Path) -> None:
    file.write_text(USUAL.replace(f"certificate-authority-data: {DATA}", "extensions: []"))
    assert read_kubeconfig(file) == known("one", token="s3cret", ca_pem="")


def test_who_is_impersonated_is_not_left_out(file: Path) -> None:
    file.write_text(USUAL.replace("{token: s3cret}", '{token: s3cret, as: "", as-groups: []}'))
    assert read_kubeconfig(file) == known("one", token="s3cret")
    file.write_text(USUAL.replace("{token: s3cret}", "{token: s3cret, as-groups: [readers]}"))
    with pytest.raises(ExperimentError, match=r"as-groups is not supported"):
        read_kubeconfig(file)


def test_base64_may_be_broken_into_lines(file: Path) -> None:
    broken = "\n".join(f"      {DATA[start : start + 20]}" for start in range(0, len(DATA), 20))
    file.write_text(USUAL.replace(f"certificate-authority-data: {DATA}", f"certificate-authority-data: |\n{broken}"))
    assert read_kubeconfig(file) == known("one", token="s3cret")


def test_of_several_files_the_first_that_has_a_name_counts(file: Path, tmp_path: Path) -> None:
    """The official client of Python, other than kubectl, takes the last one's current context."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "crt").write_text("another")
    more = folder / "config"
    more.write_text(
        USUAL.replace("current-context: one", "current-context: two")
        .replace("192.0.2.1", "192.0.2.2")
        .replace("s3cret", "another")
        .replace("name: lost", "name: four")
        .replace("cluster: d, user: token", "cluster: c, user: own")
        .replace("- name: cert", "- name: own")
        .replace("user: cert", "user: own")
    )
    assert read_kubeconfig(file, None, more=[more]) == known("one", token="s3cret")
    assert read_kubeconfig(file, "two", more=[more]) == known("two", client_pem=f"{PEM}\n{PEM}")
    assert read_kubeconfig(file, "four", more=[more]) == known("four", client_pem=f"another\n{PEM}")
    file.write_text("kind: Config\n")
    assert read_kubeconfig(file, None, more=[more]).context == "two"
    more.write_text("contexts: {\n")
    with pytest.raises(ExperimentError) as caught:
        read_kubeconfig(file, None, more=[more])
    assert str(caught.value).startswith(f"{more}:")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no >&2; exit 3", "ended with 3: no"),
        ("exit 1", "ended with 1: it said nothing"),
        (None, "cannot be run: No such file or directory"),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, script: str | None, message: str) -> None:
    program = tmp_path / "plugin"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    with pytest.raises(UsageError) as caught:
        run_plugin([str(program)], {})
    assert str(caught.value) == f"the kubeconfig's plugin {program} {message}"


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("current-context: one\n", "", "1:1", "no context is current; name one: context: …"),
        ("context: one", "context: four", "1:1", 'there is no context "four"; there are one, two, three, lost'),
        ("context: one", "context: lost", "12:22", 'there is no cluster "d"; there are c'),
        (
            "https:",
            "http:",
            "16:13",
            'server: "http://192.0.2.1:6443" is not https; a token would be read by anyone on the way',
        ),
        (
            "    server",
            "    insecure-skip-tls-verify: true\n    server",
            "16:31",
            "insecure-skip-tls-verify is refused; remove it, and give certificate-authority-data",
        ),
        (
            "    server",
            "    proxy-url: x\n    server",
            "16:16",
            "proxy-url is not supported; name the server by an address that it answers at",
        ),
        (
            f"certificate-authority-data: {DATA}",
            "certificate-authority-data: '#'",
            "17:33",
            "certificate-authority-data is not PEM in base64",
        ),
        ("{token: s3cret}", "{}", "20:9", "the user has no token, client certificate or exec plugin"),
        (
            "{token: s3cret}",
            "{token: s3cret, as: viewer}",
            "20:29",
            "as is not supported; name a context whose own user may do what is needed",
        ),
        ("{token: s3cret}", "{tokenFile: /none}", "20:21", "/none cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_says_where(file: Path, old: str, new: str, place: str, message: str) -> None:
    assert old in USUAL
    file.write_text(USUAL.replace(old, new, 1))
    with pytest.raises(ExperimentError) as caught:
        read_kubeconfig(file)
    assert str(caught.value) == f"{file}:{place}: {message}"


def test_the_official_loader_reads_the_same(file: Path) -> None:
    """The official client is a dependency of tests alone; what it makes of a file is what we do."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - read here only

    class Found:
        host = ssl_ca_cert = ""
        api_key: dict[str, str]

    found = Found()
    found.api_key = {}
    loader = KubeConfigLoader(YAML(typ="safe").load(USUAL), config_base_path=str(file.parent))
    loader.load_and_set(found)
    ours = read_kubeconfig(file)
    assert (found.host, *found.api_key.values()) == (ours.server, f"Bearer {ours.token}")
    with open(found.ssl_ca_cert) as stream:  # noqa: PTH123 - a name, not a path of ours
        assert stream.read() == ours.ca_pem


def test_a_plugin_prints_what_it_is_asked_for_and_knows_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    program.write_text('#!/bin/sh\necho "$1 $WHO"\ncat\n')
    program.chmod(0o755)
    assert run_plugin([str(program), "--now"], {"WHO": "me"}) == "--now me\n"


def test_a_plugin_on_the_path_is_left_to_the_path_and_one_without_a_name_is_refused(file: Path) -> None:
    asked: list[str] = []

    def plugin(argv: Sequence[str], environment: Mapping[str, str]) -> str:
        asked.extend(argv)
        return json.dumps({"status": {"token": environment["WHO"]}})

    file.write_text(USUAL.replace("./get-token", "get-token"))
    assert read_kubeconfig(file, "three", plugin) == known("three", token="me")
    assert asked == ["get-token", "--now"]
    file.write_text(USUAL.replace("command: ./get-token", "command: ''"))
    with pytest.raises(ExperimentError, match=r'"command" is missing$'):
        read_kubeconfig(file, "three", plugin)
    assert len(asked) == 2


def test_a_file_that_is_no_kubeconfig_says_so(file: Path) -> None:
    file.write_text("[]\n")
    with pytest.raises(ExperimentError, match=r"/config:1:1: holds no mapping; "):
        read_kubeconfig(file)


def test_entries_that_are_none_are_passed_over(file: Path) -> None:
    file.write_text(USUAL.replace("contexts:\n", "contexts:\n- 7\n- name: bare\n"))
    assert read_kubeconfig(file) == known("one", token="s3cret")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: is empty; a kubeconfig begins with apiVersion: v1"),
        ("- 1\n", "1:1: holds no mapping; a kubeconfig begins with apiVersion: v1"),
        ("%YAML 1.1\n---\na: b\n", "1:1: %YAML 1.1 is not supported; remove the line, kubeconfigs are YAML 1.2"),
        ("#" * (1 << 20) + "\n", "1:1: is larger than 1024 KiB; name the file of a kubeconfig"),
        (
            f"users: [{'[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], ' * 1_900}]\n",
            "1:73213: more than 25,000 values, with what aliases repeat; a kubeconfig holds some hundreds",
        ),
    ],
)
def test_what_is_no_kubeconfig_is_not_told_to_be_an_experiment(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(ExperimentError) as caught:
        read_kubeconfig(file)
    assert str(caught.value) == f"{file}:{problem}"


def test_the_kubeconfig_of_many_clusters_is_read(file: Path) -> None:
    authority = base64.b64encode(b"x" * 1_100).decode()
    more = "".join(
        f"- name: k{number}\n  cluster: {{server: 'https://k{number}.test', certificate-authority-data: {authority}}}\n"
        for number in range(400)
    )
    file.write_text(USUAL.replace("users:\n", f"{more}users:\n"))
    assert file.stat().st_size > 500_000
    assert read_kubeconfig(file, "one") == known("one", token="s3cret")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("args: [--now]", "args: 5", "args: write a list of words"),
        ("args: [--now]", 'args: ["a\\0"]', "args: write a list of words"),
        ("env: [{name: WHO, value: me}]", "env: 1.5", "env: write a list of {name: …, value: …}"),
        ("env: [{name: WHO, value: me}]", "env: [true]", "env: write a list of {name: …, value: …}"),
        ("env: [{name: WHO, value: me}]", "env: [{name: A}]", "env: write a list of {name: …, value: …}"),
        ("env: [{name: WHO, value: me}]", "env: [{name: A=B, value: c}]", "env: write a list of {name: …, value: …}"),
        (
            "https://192.0.2.1:6443",
            "https://[::1",
            'server: "https://[::1" is no address; write one such as https://192.0.2.1:6443',
        ),
        (
            "https://192.0.2.1:6443",
            "https://a:70000",
            'server: "https://a:70000" is no address; write one such as https://192.0.2.1:6443',
        ),
    ],
)
def test_words_of_another_kind_are_refused_in_one_line(file: Path, old: str, new: str, problem: str) -> None:
    assert old in USUAL
    file.write_text(USUAL.replace(old, new))
    with pytest.raises(ExperimentError) as caught:
        read_kubeconfig(file, "three", lambda _argv, _environment: pytest.fail("it was asked"))
    assert [one.message for one in caught.value.problems] == [problem]


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ('{token: "two\\nlines"}', "what is given as a token is none: it is not one word"),
        ("{tokenFile: crt}", "what is given as a token is none: it is not one word"),
        ("{client-certificate-data: ümläut}", "client-certificate-data is not PEM in base64"),
        (
            "{tokenFile: ~nobody-of-that-name/token}",
            "~nobody-of-that-name/token cannot be read: No such file or directory",
        ),
        ('{tokenFile: "a\\0"}', "cannot be read: it is no text"),
    ],
)
def test_what_a_user_is_known_by_is_what_it_should_be(file: Path, user: str, problem: str) -> None:
    file.write_text(USUAL.replace("{token: s3cret}", user))
    with pytest.raises(ExperimentError) as caught:
        read_kubeconfig(file)
    (found,) = caught.value.problems
    assert found.message.endswith(problem)


def test_a_token_of_a_plugin_is_one_word(file: Path) -> None:
    with pytest.raises(UsageError, match=r"printed a token that is none$"):
        read_kubeconfig(file, "three", lambda _argv, _environment: json.dumps({"status": {"token": "a\nb: c"}}))
