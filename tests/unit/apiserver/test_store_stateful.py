"""Whatever is done to the store: a watch replayed onto an earlier list gives the present list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.selectors import EVERYTHING, Selection, parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.sampled_from(["a", "b", "c", "d"])
COLOURS = st.sampled_from(["red", "green", None])
SELECTORS = st.sampled_from(["", "colour=red", "!colour", "colour in (red,green)"])
SPEC = {"clusterIP": "10.96.1.1", "ports": [{"port": 80}]}


def service(name: str, colour: str | None) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"colour": colour} if colour else {}}, "spec": dict(SPEC)}


class StoreMachine(RuleBasedStateMachine):
    watchers = Bundle("watchers")

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(log_capacity=1000)
        self.model: dict[str, str | None] = {}
        self.versions = [self.store.version]

    def refused(self, action: Callable[[], object]) -> int | None:
        try:
            action()
        except StatusError as error:
            return error.code
        return None

    @rule(target=watchers, selector=SELECTORS)
    def start_watch(self, selector: str) -> tuple[Selection, int, dict[str, bytes]]:
        selection = parse_selection(selector)
        found = self.store.select(SERVICES, "default", selection)
        return selection, self.store.version, {item.name: item.raw for item in found}

    @rule(name=NAMES, colour=COLOURS)
    def create(self, name: str, colour: str | None) -> None:
        code = self.refused(lambda: self.store.create(SERVICES, "default", service(name, colour)))
        assert code == (409 if name in self.model else None)
        self.model.setdefault(name, colour)

    @rule(name=NAMES, colour=COLOURS)
    def replace(self, name: str, colour: str | None) -> None:
        code = self.refused(lambda: self.store.replace(SERVICES, "default", name, service(name, colour)))
        assert code == (None if name in self.model else 404)
        if name in self.model:
            self.model[name] = colour

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        code = self.refused(lambda: self.store.delete(SERVICES, "default", name))
        assert code == (None if name in self.model else 404)
        self.model.pop(name, None)

    @rule(selector=SELECTORS)
    def delete_collection(self, selector: str) -> None:
        selection = parse_selection(selector)
        gone = {item.name for item in self.store.delete_collection(SERVICES, "default", selection)}
        expected = {
            name
            for name, colour in self.model.items()
            if selection.matches({"metadata.name": name}, {"colour": colour} if colour else {})
        }
        assert gone == expected
        for name in gone:
            del self.model[name]

    @rule(watcher=consumes(watchers))
    def replay(self, watcher: tuple[Selection, int, dict[str, bytes]]) -> None:
        selection, version, known = watcher
        for event in self.store.events_after(SERVICES, version):
            match event.seen_by("default", selection):
                case "ADDED":
                    assert event.now.name not in known
                    known[event.now.name] = event.now.raw
                case "MODIFIED":
                    assert event.now.name in known
                    known[event.now.name] = event.now.raw
                case "DELETED":
                    del known[event.now.name]
        found = self.store.select(SERVICES, "default", selection)
        assert known == {item.name: item.raw for item in found}

    @invariant()
    def the_list_is_the_model_in_order(self) -> None:
        found = self.store.select(SERVICES, "", EVERYTHING)
        assert [(item.name, item.labels.get("colour")) for item in found] == sorted(self.model.items())

    @invariant()
    def versions_only_grow(self) -> None:
        assert self.store.version >= self.versions[-1]
        self.versions.append(self.store.version)
        seen = [event.version for event in self.store.events_after(SERVICES, 1)]
        assert seen == sorted(set(seen))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
