"""Another mode in a kube-proxy's configuration: that and nothing else, told by YAML, or refused in one line."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from proxybench.errors import UsageError
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, TEXT, mode_change
from tests.unit.targets.cluster.kubeadm_api import CONFIG_TEXT, Api, switcher

if TYPE_CHECKING:
    from pathlib import Path

WHY = (
    "its mode cannot be changed by one line and nothing else with it; write YAML there, with a line such as "
    "mode: iptables that begins at its first column"
)
ODD = {
    "JSON": '{"apiVersion": "v1alpha1", "mode": ""}',
    "a quoted key": '"mode": iptables\nipvs: {}\n',
    "a blank before the colon": "mode : iptables\nipvs: {}\n",
    "a question mark": "? mode\n: iptables\n",
    "an indented document": "  kind: K\n  mode: iptables\n",
    "a folded mode": "kind: K\nmode: >-\n  iptables\nipvs: {}\n",
    "a mode in the next line": "mode:\n  iptables\n",
    "a quote over two lines": 'mode: "ip\n  tables"\n',
    "an anchor that is used": "mode: &its ipvs\nother: *its\n",
    "two modes": "mode: ipvs\nkind: K\nmode: iptables\n",
    "a line in a text": 'note: "what\nmode: ipvs\nsays"\n',
    "a text without its last line's end": "kind: K\nnote: |\n  a",
    "an ended document": "kind: K\n...\n",
    "two documents": "kind: K\n---\nkind: L\n",
    "a list": "- mode: ipvs\n",
    "no YAML": "kind: [\n",
    "a word": "iptables",
}


def after(config: str, mode: Mode = Mode.NFTABLES) -> str:
    return str(mode_change(CONFIG_MAP, CONFIG, config, mode).after)


@pytest.mark.parametrize("config", ODD.values(), ids=ODD)
def test_a_text_that_one_line_cannot_change_is_refused_before_anything_is_written(config: str, tmp_path: Path) -> None:
    api = Api()
    api.objects[CONFIG_MAP]["data"]["config.conf"] = config
    switch = replace(switcher(api, tmp_path), modes=lambda: {"n1": "iptables"})
    with pytest.raises(UsageError) as caught:
        switch.to(Mode.NFTABLES)
    what = "configmaps/kube-proxy data.config.conf"
    assert str(caught.value) == f"kube-proxy cannot be switched: {what}: {WHY}"
    assert (api.writes, list(tmp_path.iterdir())) == (0, [])


def test_a_host_s_file_is_named() -> None:
    with pytest.raises(UsageError, match=f"^kube-proxy cannot be switched: n1:/etc/p: {re.escape(WHY)}$"):
        mode_change("n1:/etc/p", TEXT, "{}", Mode.IPVS)


def test_a_mode_of_kubeadm() -> None:
    assert after(CONFIG_TEXT, Mode.IPVS) == CONFIG_TEXT.replace('\nmode: ""', "\nmode: ipvs")
    assert after("a: 1", Mode.IPVS) == "a: 1\nmode: ipvs\n"
    assert after("", Mode.IPVS) == "mode: ipvs\n"
    assert after("---\nkind: K\nmode: ~ # none\n") == "---\nkind: K\nmode: nftables\n"
    assert after("kind: K\r\nmode: ipvs\r\na: b\r\n") == "kind: K\r\nmode: nftables\na: b\r\n"


LINES = (
    "kind: K",
    "mode: ipvs",
    'mode: ""',
    "mode:",
    "mode: |",
    " mode: x",
    "  x",
    "- x",
    "{",
    "}",
    "ipvs:",
    "a: {b: 1,",
)
MORE = ('a: "b', 'c"', "'", "mode: &m ipvs", "n: *m", "<<: *m", "---", "...", "# mode: x", "? mode", ": x", "a: |+", "")
CONFIGS = st.text() | st.lists(st.sampled_from(LINES + MORE)).map("\n".join) | st.text(alphabet="mode:ip \n-|{}'\"#")


def loaded(text: str) -> Any:
    """Read YAML by the library alone."""
    return YAML(typ="safe", pure=True).load(text) or {}


@example(config="mode: >-\n  iptables\n", mode=Mode.IPVS)
@given(config=CONFIGS, mode=st.sampled_from(list(Mode)))
def test_a_mode_that_is_changed_is_that_mode_and_all_else_stays(config: str, mode: Mode) -> None:
    try:
        made = after(config, mode)
    except UsageError:
        return
    assert loaded(made) == {**loaded(config), "mode": str(mode)}
    assert after(made, mode) == made
