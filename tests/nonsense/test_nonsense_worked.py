"""Random lives of documents while a worker works: after every rest, what is answered is what there
is, in its newest version, and nothing else. Only with NONSENSE=all: it waits for the worker.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_engine import Caller, new_customer, worker_process
from fix_served import LONG, SEED, Served, serving
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from msgspec.structs import replace

from engine.config import Settings

pytestmark = [
    pytest.mark.skipif(not LONG, reason="a longer form: NONSENSE=all runs it"),
    pytest.mark.timeout(3_000),
]
DOOR = "/v1/convai/knowledge-base"
NTH = st.integers(0, 1_000)
WORDS = ("harbour", "lantern", "compass", "anchor", "rudder", "galley")
REST_TIMEOUT_S = 120.0


@pytest.fixture
def worked(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """An API with a worker."""
    limits = replace(settings.limits, poll_s=0.2, sweep_s=0.2)
    ours = replace(settings, limits=limits)
    with (
        serving(ours, log=tmp_path / "api.log") as running,
        worker_process(ours, log=tmp_path / "worker.log"),
    ):
        yield running


def text_of(word: str, version: int) -> str:
    return f"The {word} of ship number {version} is painted green. " * 12


class WorkedMachine(RuleBasedStateMachine):
    """`documents` holds what each document says now: its word and its version."""

    served: Served

    @initialize()
    def customer(self) -> None:
        token = new_customer(self.served.settings, "worked")
        self.caller = Caller(self.served.base_url, token=token)
        self.caller.headers["xi-api-key"] = token
        self.documents: dict[str, tuple[str, int]] = {}
        self.version = 0
        self.rag_id = ""

    def teardown(self) -> None:
        if hasattr(self, "caller"):
            self.caller.close()

    @rule(word=st.sampled_from(WORDS))
    def add(self, word: str) -> None:
        self.version += 1
        body = {"text": text_of(word, self.version), "name": word}
        made = self.caller.ok("POST", DOOR + "/text", json=body)
        self.documents[made["id"]] = (word, self.version)
        self.rag_id = self.rag_id or self.caller.ok("GET", "/rags")["result"][0]["id"]

    @rule(nth=NTH, word=st.sampled_from(WORDS))
    def write_anew(self, nth: int, word: str) -> None:
        if self.documents:
            key = list(self.documents)[nth % len(self.documents)]
            self.version += 1
            body = {"content": text_of(word, self.version)}
            self.caller.ok("PATCH", f"{DOOR}/{key}", json=body)
            self.documents[key] = (word, self.version)

    @rule(nth=NTH)
    def delete(self, nth: int) -> None:
        if self.documents:
            key = list(self.documents)[nth % len(self.documents)]
            self.caller.ok("DELETE", f"{DOOR}/{key}")
            del self.documents[key]

    @rule(nth=NTH)
    def refresh(self, nth: int) -> None:
        if self.documents:
            key = list(self.documents)[nth % len(self.documents)]
            self.caller.ok("POST", f"/rags/{self.rag_id}/sources/{key}/refresh")

    @rule()
    def rest(self) -> None:
        deadline = time.monotonic() + REST_TIMEOUT_S
        while not all(each["status"] in ("ready", "error") for each in self._sources()):
            assert time.monotonic() < deadline, self._sources()
            time.sleep(0.1)
        assert {each["id"]: each["status"] for each in self._sources()} == dict.fromkeys(
            self.documents, "ready"
        )
        for key, (word, version) in self.documents.items():
            text = self.caller.get(f"/rags/{self.rag_id}/sources/{key}/text").text
            assert text.strip() == text_of(word, version).strip()
            chunks = self._chunks(key)
            assert [each["ordinal"] for each in chunks] == list(range(len(chunks)))
            assert all(text[each["start"] : each["end"]] == each["text"] for each in chunks)

    @invariant()
    def no_answer_is_of_what_is_gone(self) -> None:
        if not self.rag_id:
            return
        body = {"query": "What colour is the harbour?", "top_k": 100}
        answer = self.caller.post(f"/rags/{self.rag_id}/query", json=body)
        assert answer.status_code in (200, 409), answer.text
        hits = answer.json().get("results", [])
        assert {hit["source_id"] for hit in hits} <= set(self.documents)
        assert len({hit["chunk_id"] for hit in hits}) == len(hits)

    def _sources(self) -> list[dict[str, Any]]:
        if not self.rag_id:
            return []
        found: list[dict[str, Any]] = self.caller.ok("GET", f"/rags/{self.rag_id}")["sources"]
        return found

    def _chunks(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            params = {"page_size": 1, **({"page_token": token} if token else {})}
            path = f"/rags/{self.rag_id}/sources/{key}/chunks"
            page = self.caller.ok("GET", path, params=params)
            found += page["result"]
            token = page["next_page_token"]
            if not token:
                return found


def test_what_is_answered_is_what_there_is(worked: Served, measured: list[str]) -> None:
    class Machine(WorkedMachine):
        pass

    Machine.served = worked
    bounded = settings(
        max_examples=8,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=SEED == 0,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run = seeded(SEED)(run_machine) if SEED else run_machine
    run(Machine, settings=bounded)
    assert worked.accidents() == []
    measured.append("state machine with a worker: 8 lives of up to 25 steps")
