from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import UsageError
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import HostWords, SshConfig

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".ssh" / "more").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


def write(home: Path, **files: str) -> None:
    for name, text in files.items():
        (home / ".ssh" / name.replace("__", "/")).write_text(text)


def target(home: Path, host: str, **words: str) -> SshTarget:
    return SshConfig(Secrets({}, lambda _: None), home=home).target(HostWords(host, **words))  # type: ignore[arg-type]


def test_included_files_count_where_they_stand(home: Path) -> None:
    """Relative to ~/.ssh, by patterns and by turns; what follows an Include belongs to the block in which it stands."""
    write(
        home,
        config="Include more/*.conf nowhere ~/.ssh/last # three\nHost a b\n  Include more/in-a-block\n  Port 24\n",
        more__1_conf="",
    )
    (home / ".ssh/more/1.conf").write_text("Host a\n  User first\n")
    (home / ".ssh/more/2.conf").write_text('Host a b\n  User second\nInclude "more/of two"\n')
    (home / ".ssh/more/of two").write_text("HostName 192.0.2.%h\n")
    (home / ".ssh/last").write_text("Port = 22\n")
    (home / ".ssh/more/in-a-block").write_text("IdentityAgent /a\nHost b\n  IdentityAgent /b\nHost c\n  User never\n")
    assert [(target(home, host).user, target(home, host).host) for host in ("a", "b")] == [
        ("first", "192.0.2.a"),
        ("second", "192.0.2.b"),
    ]
    assert [target(home, host).agent for host in ("a", "b", "c")] == ["/a", "/a", ""]
    assert target(home, "c", user="me").host == "c"  # the second file's Include stands in its block
    (home / ".ssh/last").unlink()
    assert [target(home, host, user="me").port for host in ("a", "b", "c")] == [24, 24, 22]


@pytest.mark.parametrize(
    ("outer", "inner", "hosts"),
    [
        ("Host a*", "Host *b", ["ab", "axb"]),
        ("Host a* !ab", "Host *b", ["axb"]),
        ("Host a*", "Match all", ["ab", "ac", "axb"]),
        ("Match all", "Host *b", ["ab", "axb", "b"]),
        ("Match originalhost a* host *b", "Match !originalhost ab", ["axb"]),
        ("Host a*", "Match Host=ab", ["ab"]),
    ],
)
def test_a_block_of_an_included_file_counts_within_the_block_that_includes_it(
    home: Path, outer: str, inner: str, hosts: list[str]
) -> None:
    write(home, config=f"{outer}\n Include more/one\n", more__one=f"{inner}\n  Port 24\n")
    assert [name for name in ("ab", "ac", "axb", "b") if target(home, name, user="me").port == 24] == hosts


def test_a_block_is_compared_once_and_again_only_for_match_final(home: Path) -> None:
    write(
        home,
        config="Match host a\n Include one\n Port 24\nMatch user u final host 192.0.2.*\n User late\n"
        "Match exec 'test %n-%h-%p = a-192.0.2.1-24'\n HostKeyAlias Ran\nHost 192.0.2.1\n IdentityAgent none\nUser u\n"
        "ProxyJump #\n",
        one="HostName 192.0.2.1\n",
    )
    found = target(home, "a")
    assert (found.host, found.port, found.user, found.alias) == ("192.0.2.1", 24, "u", "ran")
    write(home, config="Match user u final\n HostKeyAlias one\nHost *\n User u\n")
    assert target(home, "a").alias == "one"


def test_ssh_itself_reads_it_so(home: Path) -> None:
    """What OpenSSH says of the same files, with our own words beside it."""
    write(
        home,
        config="Host a\n Include ~/.ssh/one\n Port 24\nHost *\n User last\n",
        one="HostName 192.0.2.9\nHost b\n  User never\nMatch originalhost a\n  User me\n",
    )
    # ssh takes the user's home from passwd, and paths in a file that -F names from there, too.
    (home / ".ssh/config.abs").write_text(f"Host a\n Include {home}/.ssh/one\n Port 24\nHost *\n User last\n")
    for name in ("a", "b"):
        said = subprocess.run(
            ["ssh", "-G", "-F", str(home / ".ssh/config.abs"), name], capture_output=True, text=True, check=True
        )
        words = dict(line.partition(" ")[::2] for line in said.stdout.splitlines())
        found = target(home, name)
        assert (found.host, str(found.port), found.user) == (words["hostname"], words["port"], words["user"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Include more/round", "/more/round:1: files that include each other, or more than 16 deep"),
        ("\nInclude %d/x", "/config:2: Include %d/x is not understood; write it without % and ${}"),
        ("Include more", "/more: cannot be read: Is a directory"),
        ('Host "a', '/config:1: a quotation without its end: "a'),
        ("Match host", "/config:1: Match host needs a value"),
        ("word", "/config:1: word is no keyword with a value"),
    ],
)
def test_what_is_no_configuration_is_named_with_its_line(home: Path, text: str, message: str) -> None:
    write(home, config=text, more__round="Include more/round\n")
    with pytest.raises(UsageError) as caught:
        target(home, "a")
    assert str(caught.value) == f"{home}/.ssh{message}"


@pytest.mark.parametrize(
    "words", ["tagged x", "localnetwork 192.0.2.0/24", "!tagged x", "version OpenSSH_*", "host a tagged x"]
)
def test_a_condition_that_is_not_understood_is_refused_where_it_would_count(home: Path, words: str) -> None:
    write(
        home,
        config=f"Host b\n  Port 24\nHost c\n Port 25\nMatch !originalhost c {words}\n  Port 26\n Compression yes\n",
    )
    name = words.split()[-2 if "x" in words else 0]
    with pytest.raises(UsageError) as caught:
        target(home, "a")
    assert str(caught.value) == (
        f"a: {home}/.ssh/config:5: Match {name.split()[0]} is not understood; host, originalhost, user and exec are"
    )
    assert target(home, "b", user="me").port == 24  # it was set before
    assert target(home, "c", user="me").port == 25  # it is not asked for


@pytest.mark.parametrize("inner", ["Host a", "Match originalhost a", "Match originalhost a tagged y"])
def test_a_file_that_is_included_where_a_condition_is_not_understood(home: Path, inner: str) -> None:
    write(home, config="Match tagged x\n  Include more/one\n", more__one=f"{inner}\n  User other\n")
    with pytest.raises(UsageError, match=r"^a: .*/config:1: Match tagged is not understood; "):
        target(home, "a")
    assert target(home, "b", user="me").port == 22


def test_what_cannot_be_followed_is_one_line(home: Path) -> None:
    write(home, config="CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\n")
    with pytest.raises(UsageError, match=r"^a: ~/\.ssh/config: it has no canonical name: a$"):
        target(home, "a")


@given(st.text(alphabet=st.sampled_from('ahost Match include\n"#=!%,*\0all')))
def test_any_text_is_a_configuration_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any_config"
    file.write_text(text, encoding="utf-8")
    with suppress(UsageError):
        SshConfig(Secrets({}), file, file.parent).target(HostWords("a", user="me"))


@pytest.mark.parametrize(
    ("text", "user"),
    [
        (r"CORP\me", r"CORP\me"),
        (r"CORP\\me", r"CORP\me"),
        (r'"CORP\me"', r"CORP\me"),
        (r"'CORP\me' # mine", r"CORP\me"),
        (r'"CO RP\"x"', 'CO RP"x'),
        (r"a\ b", "a b"),
        (r'"a\ b"', r"a\ b"),
        (r"'a\'b'", "a'b"),
        ("end\\", "end\\"),
    ],
)
def test_a_backslash_is_read_as_ssh_reads_it(home: Path, text: str, user: str) -> None:
    write(home, config=f"User {text}\n")
    said = subprocess.run(["ssh", "-F", home / ".ssh/config", "-G", "a"], check=True, capture_output=True, text=True)
    assert f"\nuser {user}\n" in f"\n{said.stdout}"
    assert target(home, "a").user == user


def test_a_name_that_a_shell_would_read_more_in_is_in_no_command_of_a_match(home: Path) -> None:
    write(home, config=f"Match exec 'touch {home}/%n'\n User u\nMatch exec 'true'\n Port 24\n")
    with pytest.raises(UsageError) as caught:
        target(home, "a;id", user="me")
    assert str(caught.value) == "a;id: ';' in 'a;id' would be read by Match exec's shell; rename it"
    assert target(home, "a", user="me").port == 24
