"""What two customers are shown, compared with the model of what must be seen: lists, counts, bytes,
and that what is another's or gone is unknown. The steps between are in resources_machine.py.
"""

from typing import Any

import httpx
from fix_engine import Caller, new_customer
from fix_served import Served
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from raw_wire import Answer, expect_plain
from resources_model import CustomerModel

DOOR = "/v1/convai/knowledge-base"
WHO = st.sampled_from(["ann", "bob"])
NTH = st.integers(0, 1_000)


class SeenMachine(RuleBasedStateMachine):
    """`served` is set by the test that runs it."""

    served: Served

    def __init__(self) -> None:
        super().__init__()
        self.callers: dict[str, Caller] = {}
        self.models: dict[str, CustomerModel] = {}

    @initialize()
    def customers(self) -> None:
        for who in ("ann", "bob"):
            token = new_customer(self.served.settings, who)
            self.callers[who] = Caller(self.served.base_url, token=token)
            self.callers[who].headers["xi-api-key"] = token
            model = CustomerModel()
            for key in self.ask(who, "GET", "/accesskeys").json()["result"]:
                model.keys[key["id"]] = key["name"]
            self.models[who] = model
            self.furnish(who)

    def furnish(self, who: str) -> None:
        """What a customer has from the start."""

    def teardown(self) -> None:
        for caller in self.callers.values():
            caller.close()

    def ask(self, who: str, method: str, path: str, code: int = 200, **more: Any) -> httpx.Response:
        answer = self.callers[who].request(method, path, **more)
        plain = Answer(answer.status_code, dict(answer.headers), answer.content)
        expect_plain(plain, path=path)
        assert answer.status_code == code, (method, path, more, answer.text)
        return answer

    def pick(self, found: Any, nth: int) -> Any:
        """One of several, None without any."""
        items = list(found)
        return items[nth % len(items)] if items else None

    @rule(who=WHO, nth=NTH)
    def what_is_anothers_or_gone_is_unknown(self, who: str, nth: int) -> None:
        model = self.models["bob" if who == "ann" else "ann"]
        theirs = {("rags", key) for key in model.rags}
        theirs |= {("storage_files", key) for key in model.files}
        theirs |= {("v1/convai/knowledge-base", key) for key in [*model.sources(), *model.folders]}
        found = self.pick(sorted(theirs | self.models[who].gone), nth)
        if found is not None:
            kind, key = found
            self.ask(who, "GET", f"/{kind}/{key}", 404)
            self.ask(who, "DELETE", f"/{kind}/{key}", 404)

    @rule(who=WHO, size=st.integers(1, 3))
    def pages_are_complete_and_in_order(self, who: str, size: int) -> None:
        model = self.models[who]
        newest_first = {
            "/rags": model.rags,
            "/storage_files": model.files,
            "/accesskeys": model.keys,
        }
        for path, known in newest_first.items():
            assert [each["id"] for each in self._pages(who, path, size)] == list(known)[::-1]
        for rag_id, rag in model.rags.items():
            listed = self._pages(who, f"/rags/{rag_id}/sources", size)
            assert [each["id"] for each in listed] == list(rag.sources)

    def _pages(self, who: str, path: str, size: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            params = {"page_size": size, **({"page_token": token} if token else {})}
            page = self.ask(who, "GET", path, params=params).json()
            assert len(page["result"]) <= size
            found += page["result"]
            token = page["next_page_token"]
            if not token:
                return found

    @rule(who=WHO, nth=NTH, size=st.integers(1, 3), sort_by=st.sampled_from(["name", "created_at"]))
    def a_folder_holds_what_was_put_into_it(
        self, who: str, nth: int, size: int, sort_by: str
    ) -> None:
        model = self.models[who]
        folder_id = self.pick(model.folders, nth)
        inside = {} if folder_id is None else {"parent_folder_id": folder_id}
        found: list[str] = []
        cursor = None
        while True:
            params = {"page_size": size, "sort_by": sort_by, **inside}
            params |= {"cursor": cursor} if cursor else {}
            page = self.ask(who, "GET", DOOR, params=params).json()
            found += [each["id"] for each in page["documents"]]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        everything = {*model.sources(), *model.folders}
        known = everything if folder_id is None else model.children(folder_id)
        assert sorted(found) == sorted(known)
        if folder_id is not None:
            told = self.ask(who, "GET", f"{DOOR}/{folder_id}").json()
            assert told["children_count"] == len(known)

    @rule(who=WHO, nth=NTH)
    def a_file_has_its_bytes(self, who: str, nth: int) -> None:
        model = self.models[who]
        file_id = self.pick(model.files, nth)
        if file_id is not None:
            served = self.ask(who, "GET", f"/storage_files/{file_id}/file")
            assert served.content == model.files[file_id]

    @rule(who=WHO, nth=NTH)
    def a_rag_shows_what_it_has(self, who: str, nth: int) -> None:
        model = self.models[who]
        rag_id = self.pick(model.rags, nth)
        if rag_id is None:
            return
        seen, rag = self.ask(who, "GET", f"/rags/{rag_id}").json(), model.rags[rag_id]
        assert (seen["name"], seen["description"]) == (rag.name, rag.description)
        assert seen["status"] == model.status(rag_id)
        counts = {"pending": len(rag.sources), "processing": 0, "ready": 0, "error": 0}
        assert seen["source_counts"] == {**counts, "total": len(rag.sources)}
        attempts = {each["id"]: each["attempt"] for each in seen["sources"]}
        assert attempts == {key: each.refreshes for key, each in rag.sources.items()}
        names = {each["id"]: each["name"] for each in seen["sources"]}
        assert names == {key: each.name for key, each in rag.sources.items()}

    @invariant()
    def usage_counts_what_there_is(self) -> None:
        for who, model in self.models.items():
            usage = self.ask(who, "GET", "/customer").json()["usage"]
            assert usage["rags"] == len(model.rags)
            assert usage["sources"] == len(model.sources()), usage
            assert usage["queued_sources"] == usage["sources"], usage
            assert usage["files"] == len(model.files), usage
            assert usage["file_bytes"] == sum(map(len, model.files.values())), usage
