"""Steps of two customers through both doors, each with its twin in the model.

Nobody works meanwhile, so that every status is known exactly.
"""

from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import rule
from resources_model import RagModel, SourceModel
from resources_seen import DOOR, NTH, WHO, SeenMachine

MODEL = "e5_mistral_7b_instruct"
NAMES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"]),
    min_size=1,
    max_size=12,
)
TEXTS = st.sampled_from(["a rope", "a knot", "a sail " * 40, "é\U0001f600"])


def text_file(name: str, text: str) -> tuple[str, bytes, str]:
    return (f"{name}.txt", text.encode(), "text/plain")


class ResourcesMachine(SeenMachine):
    """As SeenMachine, with everything that changes what is seen."""

    def furnish(self, who: str) -> None:
        self.create_folder(who=who, name="first", nth=0)
        self.create_folder(who=who, name="second", nth=1)
        self.create_text(who=who, name="note", text="a rope", nth=0)

    # RAGs and their sources

    @rule(who=WHO, name=NAMES, texts=st.lists(TEXTS, max_size=3), keyed=st.booleans())
    def create_rag(self, who: str, name: str, texts: list[str], keyed: bool) -> None:
        more: dict[str, Any] = {"data": {"name": name}}
        files = [("files", text_file(f"f{n}", text)) for n, text in enumerate(texts)]
        more = {"data": {"name": name}, "files": files} if files else {"json": {"name": name}}
        model = self.models[who]
        if keyed:
            more["headers"] = {"Idempotency-Key": f"{who} {len(model.rags)} {len(model.gone)}"}
        answer = self.ask(who, "POST", "/rags", **more)
        made = answer.json()
        sources = {}
        for source, text in zip(made["sources"], texts, strict=True):
            model.files[source["storage_file_id"]] = text.encode()
            sources[source["id"]] = SourceModel(source["name"], file_id=source["storage_file_id"])
        assert made["name"] == name
        model.rags[made["id"]] = RagModel(name, sources=sources)
        if keyed:
            self._replay(who, more, answer)

    def _replay(self, who: str, more: dict[str, Any], first: httpx.Response) -> None:
        """The same request once more changes nothing, and another one under its key is refused."""
        again = self.ask(who, "POST", "/rags", **more)
        assert again.json() == first.json()
        assert again.headers["idempotent-replayed"] == "true"
        other = {"headers": more["headers"], "json": {"name": "another request"}}
        self.ask(who, "POST", "/rags", 409, **other)
        # The other customer's keys are its own.
        stranger = "bob" if who == "ann" else "ann"
        made = self.ask(stranger, "POST", "/rags", **other).json()
        self.models[stranger].rags[made["id"]] = RagModel("another request")

    @rule(who=WHO, nth=NTH, name=NAMES, description=NAMES)
    def change_rag(self, who: str, nth: int, name: str, description: str) -> None:
        rag_id = self.pick(self.models[who].rags, nth)
        if rag_id is None:
            return
        body = {"name": name, "description": description}
        self.ask(who, "PUT", f"/rags/{rag_id}", json=body)
        rag = self.models[who].rags[rag_id]
        rag.name, rag.description = name, description

    @rule(who=WHO, nth=NTH)
    def delete_rag(self, who: str, nth: int) -> None:
        rag_id = self.pick(self.models[who].rags, nth)
        if rag_id is not None:
            self.ask(who, "DELETE", f"/rags/{rag_id}")
            self.models[who].remove_rag(rag_id)

    @rule(who=WHO, nth=NTH, file_nth=NTH, number=st.integers(0, 2))
    def add_sources(self, who: str, nth: int, file_nth: int, number: int) -> None:
        model = self.models[who]
        rag_id, file_id = self.pick(model.rags, nth), self.pick(model.files, file_nth)
        if rag_id is None or rag_id == model.home_id:
            return
        rag, url = model.rags[rag_id], f"https://example.com/{number}"
        body = {"source_urls": [url], "storage_file_ids": [file_id] if file_id else []}
        known = {each.url for each in rag.sources.values()}
        known |= {each.file_id for each in rag.sources.values() if each.file_id}
        if known & {url, file_id}:
            self.ask(who, "POST", f"/rags/{rag_id}/sources", 409, json=body)
            return
        made = self.ask(who, "POST", f"/rags/{rag_id}/sources", json=body).json()
        for source in made["sources"]:
            if source["id"] not in rag.sources:
                rag.sources[source["id"]] = SourceModel(
                    source["name"],
                    file_id=source.get("storage_file_id"),
                    url=source.get("source_url"),
                )

    @rule(who=WHO, nth=NTH)
    def delete_source(self, who: str, nth: int) -> None:
        model = self.models[who]
        source_id = self.pick(model.sources(), nth)
        if source_id is not None:
            rag_id = model.rag_of(source_id)
            self.ask(who, "DELETE", f"/rags/{rag_id}/sources/{source_id}")
            model.remove_source(source_id)

    @rule(who=WHO, nth=NTH)
    def refresh_source(self, who: str, nth: int) -> None:
        model = self.models[who]
        source_id = self.pick(model.sources(), nth)
        if source_id is not None:
            path = f"/rags/{model.rag_of(source_id)}/sources/{source_id}/refresh"
            self.ask(who, "POST", path)
            model.sources()[source_id].refreshes += 1

    @rule(who=WHO, nth=NTH)
    def query(self, who: str, nth: int) -> None:
        rag_id = self.pick(self.models[who].rags, nth)
        if rag_id is not None:
            self.ask(who, "POST", f"/rags/{rag_id}/query", 409, json={"query": "ropes"})

    # Files and keys

    @rule(who=WHO, name=NAMES, text=TEXTS)
    def upload(self, who: str, name: str, text: str) -> None:
        files = {"file": text_file("upload", text)}
        made = self.ask(who, "POST", "/storage_files", files=files, data={"name": name}).json()
        self.models[who].files[made["id"]] = text.encode()

    @rule(who=WHO, nth=NTH, force=st.booleans())
    def delete_file(self, who: str, nth: int, force: bool) -> None:
        model = self.models[who]
        file_id = self.pick(model.files, nth)
        if file_id is None:
            return
        path = f"/storage_files/{file_id}?force={str(force).lower()}"
        if model.uses(file_id) and not force:
            self.ask(who, "DELETE", path, 409)
        else:
            self.ask(who, "DELETE", path)
            model.remove_file(file_id)

    @rule(who=WHO, name=NAMES)
    def create_key(self, who: str, name: str) -> None:
        made = self.ask(who, "POST", "/accesskeys", json={"name": name}).json()
        self.models[who].keys[made["id"]] = name
        keys = {"Authorization": f"Bearer {made['token']}"}
        assert self.ask(who, "GET", "/customer", headers=keys).json()["name"] == who

    @rule(who=WHO, nth=NTH)
    def delete_key(self, who: str, nth: int) -> None:
        model = self.models[who]
        key_id = self.pick(list(model.keys)[1:], nth)  # the oldest is the one that asks
        if key_id is not None:
            self.ask(who, "DELETE", f"/accesskeys/{key_id}")
            model.keys.pop(key_id)

    # The second door

    @rule(who=WHO, name=NAMES, nth=NTH)
    def create_folder(self, who: str, name: str, nth: int) -> None:
        model = self.models[who]
        parent = self.pick([None, *model.folders], nth)
        body = {"name": name, "parent_folder_id": parent}
        made = self.ask(who, "POST", DOOR + "/folder", json=body).json()
        model.folders[made["id"]] = (name, parent)

    @rule(who=WHO, name=NAMES, text=TEXTS, nth=NTH)
    def create_text(self, who: str, name: str, text: str, nth: int) -> None:
        model = self.models[who]
        parent = self.pick([None, *model.folders], nth)
        body = {"text": text, "name": name, "parent_folder_id": parent}
        made = self.ask(who, "POST", DOOR + "/text", json=body).json()
        self._find_home(who)
        assert model.home_id is not None
        path = f"/rags/{model.home_id}/sources/{made['id']}"
        file_id = self.ask(who, "GET", path).json()["storage_file_id"]
        model.files[file_id] = text.encode()
        source = SourceModel(name, file_id=file_id, folder_id=parent)
        model.rags[model.home_id].sources[made["id"]] = source

    def _find_home(self, who: str) -> None:
        model = self.models[who]
        if model.home_id is not None:
            return
        listed = self.ask(who, "GET", "/rags?page_size=1").json()["result"]
        model.home_id = listed[0]["id"]
        assert model.home_id not in model.rags
        model.rags[model.home_id] = RagModel(listed[0]["name"], listed[0]["description"])

    @rule(who=WHO, nth=NTH, name=NAMES)
    def rename(self, who: str, nth: int, name: str) -> None:
        model = self.models[who]
        entry_id = self.pick([*model.sources(), *model.folders], nth)
        if entry_id is None:
            return
        told = self.ask(who, "PATCH", f"{DOOR}/{entry_id}", json={"name": name}).json()
        assert told["name"] == name
        if entry_id in model.folders:
            model.folders[entry_id] = (name, model.folders[entry_id][1])
        else:
            model.sources()[entry_id].name = name

    @rule(who=WHO, nth=NTH, to=NTH)
    def move(self, who: str, nth: int, to: int) -> None:
        model = self.models[who]
        entry_id = self.pick([*model.sources(), *model.folders], nth)
        target = self.pick([None, *model.folders], to)
        if entry_id is None:
            return
        path, body = f"{DOOR}/{entry_id}/move", {"move_to": target}
        if entry_id in model.folders and target in model.below(entry_id):
            self.ask(who, "POST", path, 400, json=body)
            return
        self.ask(who, "POST", path, json=body)
        assert self.ask(who, "GET", f"{DOOR}/{entry_id}").json()["folder_parent_id"] == target
        if entry_id in model.folders:
            model.folders[entry_id] = (model.folders[entry_id][0], target)
        else:
            model.sources()[entry_id].folder_id = target

    @rule(who=WHO, nth=NTH, force=st.booleans())
    def delete_entry(self, who: str, nth: int, force: bool) -> None:
        model = self.models[who]
        entry_id = self.pick([*model.sources(), *model.folders], nth)
        if entry_id is None:
            return
        path = f"{DOOR}/{entry_id}?force={str(force).lower()}"
        if entry_id not in model.folders:
            self.ask(who, "DELETE", path)
            model.remove_source(entry_id)
        elif model.children(entry_id) and not force:
            self.ask(who, "DELETE", path, 400)
        else:
            self.ask(who, "DELETE", path)
            model.remove_folder(entry_id)

    @rule(who=WHO, nth=NTH)
    def compute_index(self, who: str, nth: int) -> None:
        model = self.models[who]
        source_id = self.pick(model.sources(), nth)
        if source_id is None:
            return
        path = f"{DOOR}/{source_id}/rag-index"
        made = self.ask(who, "POST", path, json={"model": MODEL}).json()
        indexes = model.sources()[source_id].indexes
        assert not indexes or indexes == {made["id"]}  # asked for again it is the same
        indexes.add(made["id"])
        listed = self.ask(who, "GET", path).json()["indexes"]
        assert {each["id"] for each in listed} == indexes

    @rule(who=WHO, nth=NTH)
    def delete_index(self, who: str, nth: int) -> None:
        model = self.models[who]
        pairs = [(k, index) for k, each in model.sources().items() for index in each.indexes]
        found = self.pick(sorted(pairs), nth)
        if found is None:
            return
        source_id, index_id = found
        path = f"{DOOR}/{source_id}/rag-index/{index_id}"
        self.ask(who, "DELETE", path)
        self.ask(who, "DELETE", path, 404)
        model.sources()[source_id].indexes.remove(index_id)
