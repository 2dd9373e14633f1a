"""Callers who plant, edit, refresh, delete and ask at the same time, and a book of what is gone.

Every answer to a request that began after the 200 of a delete is searched for ids and words of
what was deleted. What plays here is in test_faults_deletes.py and long_deletes.py.
"""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
from fix_corpus import CHUNK_TOKENS
from fix_hands import Site

DOOR = "/v1/convai/knowledge-base"
OF_MODEL = "?embedding_model=e5_mistral_7b_instruct"
TOKEN = re.compile(r"\bmark\d{6}\b|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FOLDER, LIBRARY = "folder ", "library"
ALIVE_MAX = 30
NO_ROOM_S = 0.1
WAYS = 5  # to what was deleted, of all there are, each time


class Doc:
    """One acknowledged source: its id, the words that only it holds, and where it lies."""

    def __init__(self, source_id: str, *, marks: Iterable[str], place: str) -> None:
        self.id = source_id
        self.marks = list(marks)
        self.place = (
            place  # a RAG's id, or for documents of the second door a folder or the library
        )


class Book:
    """What lives, and what is gone since which moment."""

    def __init__(self) -> None:
        self.alive: dict[str, Doc] = {}
        self.places: dict[str, list[str]] = {}  # every mark that was ever sent to this place
        self.gone: dict[str, int] = {}
        self.marks = 0

    def mark(self, place: str) -> str:
        self.marks += 1
        mark = f"mark{self.marks:06d}"
        self.places.setdefault(place, []).append(mark)
        return mark

    def rags(self) -> list[str]:
        return [place for place in self.places if not place.startswith((FOLDER, LIBRARY))]

    def folders(self) -> list[str]:
        return [place for place in self.places if place.startswith(FOLDER)]

    def plant(self, doc: Doc) -> None:
        """It was acknowledged; but its place may have been deleted meanwhile."""
        if doc.place in self.gone:
            self.bury([doc])
        else:
            self.alive[doc.id] = doc

    def bury(self, docs: Iterable[Doc]) -> None:
        for doc in docs:
            self.alive.pop(doc.id, None)
            for token in (doc.id, *doc.marks):
                self.gone.setdefault(token, len(self.gone))

    def bury_place(self, place: str) -> list[Doc]:
        """A RAG or a folder with all that is in it, acknowledged or still under way."""
        docs = [doc for doc in self.alive.values() if doc.place == place]
        for token in (place, place.removeprefix(FOLDER), *self.places.pop(place, [])):
            self.gone.setdefault(token, len(self.gone))
        self.bury(docs)
        return docs

    def now(self) -> int:
        return len(self.gone)

    def back(self, body: str, *, since: int) -> set[str]:
        """What an answer holds of all that was gone when its request began."""
        return {token for token in TOKEN.findall(body) if self.gone.get(token, since) < since}


class Crowd:
    """Several callers of one customer, all driven by one seed."""

    def __init__(self, site: Site, *, token: str, seed: int) -> None:
        self.site = site
        self.book = Book()
        self.dice = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.violations: list[str] = []
        self.queries = self.hits = 0
        self.client = httpx.AsyncClient(
            base_url=site.settings.base_url,
            headers={"Authorization": f"Bearer {token}", "xi-api-key": token},
            timeout=60.0,
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def ask(self, method: str, path: str, *, gone: bool = False, **more: Any) -> Any:
        """Send it and search the answer. `gone`: it must be a 404. Returns the JSON of a 200."""
        since = self.book.now()
        if (answer := await self.send(method, path, **more)) is None:
            return None
        self.queries += 1
        named = set(TOKEN.findall(path)) if answer.status_code == 404 else set()
        back = self.book.back(answer.text, since=since) - named
        if back or (gone and answer.status_code != 404):
            self.violations.append(f"{method} {path} {answer.status_code}: {sorted(back)}")
        if answer.status_code in {404, 409}:  # another caller was faster
            return None
        assert answer.status_code == 200, (method, path, answer.text)
        if method == "POST" and path.endswith("/query"):
            self.hits += len(answer.json()["results"])
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.json() if is_json else answer.text

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """None where the engine was away, which only a crowd of stronger nerves allows for."""
        return await self.client.request(method, path, **more)

    def room(self) -> bool:
        return len(self.book.alive) < ALIVE_MAX

    # Planting -----------------------------------------------------------------------------------

    async def plant(self) -> None:
        """One more RAG, folder, source or document, or a change of one."""
        if not self.room():
            await asyncio.sleep(NO_ROOM_S)
            return
        acts = (self._new_rag, self._new_source, self._new_source, self._new_text, self._folder)
        await self.dice.choice((*acts, self._refresh, self._edit))()

    async def _new_rag(self) -> None:
        name = "a knowledge base"
        rag = await self.ask("POST", "/rags", json={"name": name, "chunk_tokens": CHUNK_TOKENS})
        if rag:
            self.book.places.setdefault(rag["id"], [])

    async def _new_source(self) -> None:
        rags = self.book.rags()
        if not rags:
            return await self._new_rag()
        rag_id = self.dice.choice(rags)
        marks = [self.book.mark(rag_id) for _ in range(self.dice.choice((1, 2)))]
        files = [("files", (f"{mark}.md", _text(mark), "text/markdown")) for mark in marks]
        rag = await self.ask("POST", f"/rags/{rag_id}/sources", files=files)
        for source in rag["sources"] if rag else ():
            if (mark := source["name"].removesuffix(".md")) in marks:
                self.book.plant(Doc(source["id"], marks=[mark], place=rag_id))

    async def _folder(self) -> None:
        folder = await self.ask("POST", f"{DOOR}/folder", json={"name": "a folder"})
        if folder:
            self.book.places.setdefault(f"{FOLDER}{folder['id']}", [])
            await self._new_text()

    async def _new_text(self) -> None:
        place = self.dice.choice([*self.book.folders(), LIBRARY])
        mark = self.book.mark(place)
        body = {"text": _text(mark), "name": mark}
        if place != LIBRARY:
            body["parent_folder_id"] = place.removeprefix(FOLDER)
        if added := await self.ask("POST", f"{DOOR}/text", json=body):
            self.book.plant(Doc(added["id"], marks=[mark], place=place))

    async def _refresh(self) -> None:
        if doc := self._any(recent=False):
            await self.ask("POST", f"{DOOR}/{doc.id}/refresh")

    async def _edit(self) -> None:
        """A new text for a document: from now on it has one mark more."""
        if doc := self._any(recent=False):
            mark = self.book.mark(doc.place)
            doc.marks.append(mark)
            await self.ask("PATCH", f"{DOOR}/{doc.id}", json={"content": _text(mark)})

    def _any(self, *, recent: bool) -> Doc | None:
        docs = list(self.book.alive.values())
        return self.dice.choice(docs[-3:] if recent else docs) if docs else None

    # Deleting -----------------------------------------------------------------------------------

    async def delete(self) -> bool:
        """One deletion at random, and all ways to what is gone; False when there was nothing."""
        way = self.dice.choices(
            (self._source, self._document, self._several, self._rag, self._place),
            weights=(40, 25, 10, 18, 7),
        )[0]
        return await way()

    async def _source(self) -> bool:
        doc = self._any(recent=self.dice.random() < 0.7)
        if doc is None or doc.place not in self.book.rags():
            return False
        await self._note(doc)
        path = f"/rags/{doc.place}/sources/{doc.id}"
        return await self._gone("source", [doc], await self.ask("DELETE", path))

    async def _document(self) -> bool:
        """Whatever it is to the other door: all sources of a customer are in the library."""
        if (doc := self._any(recent=self.dice.random() < 0.7)) is None:
            return False
        await self._note(doc)
        return await self._gone("document", [doc], await self.ask("DELETE", f"{DOOR}/{doc.id}"))

    async def _several(self) -> bool:
        docs = list(self.book.alive.values())[-4:]
        if len(docs) < 2:
            return False
        ids = [doc.id for doc in docs]
        done = await self.ask("POST", f"{DOOR}/bulk-delete", json={"document_ids": ids})
        docs = [doc for doc in docs if done and done[doc.id]["status"] == "success"]
        return bool(docs) and await self._gone("several", docs, done)

    async def _rag(self) -> bool:
        rags = self.book.rags()
        if not rags:
            return False
        rag_id = self.dice.choice(rags)
        if await self.ask("DELETE", f"/rags/{rag_id}") is None:
            return False
        docs = self.book.bury_place(rag_id)
        for path in ("", "/sources"):
            await self.ask("GET", f"/rags/{rag_id}{path}", gone=True)
        await self.ask("POST", f"/rags/{rag_id}/query", json={"query": "water"}, gone=True)
        await self.ask("GET", "/rags?page_size=100")
        return await self._gone("rag", docs, rag_id)

    async def _place(self) -> bool:
        """A folder and everything in it."""
        folders = self.book.folders()
        if not folders:
            return False
        folder = self.dice.choice(folders)
        path = f"{DOOR}/{folder.removeprefix(FOLDER)}?force=true"
        if await self.ask("DELETE", path) is None:
            return False
        docs = self.book.bury_place(folder)
        return await self._gone("folder", docs, folder)

    async def _gone(self, kind: str, docs: list[Doc], answer: Any) -> bool:
        """From here on every request has begun after the delete's 200."""
        if answer is None:
            return False
        self.book.bury(docs)
        self.done[kind] += 1
        for doc in docs[:1]:
            await self._look_for(doc)
        return True

    async def _look_for(self, doc: Doc) -> None:
        """Some of the ways to a deleted document, through both doors."""
        door, rag = f"{DOOR}/{doc.id}", f"/rags/{doc.place}"
        ways = [
            *((path, True) for path in (door, f"{door}/content", f"{door}/chunks{OF_MODEL}")),
            (f"{DOOR}?page_size=100", False),
        ]
        if not doc.place.startswith((FOLDER, LIBRARY)):
            source = f"{rag}/sources/{doc.id}"
            ways += [(path, True) for path in (source, f"{source}/text", f"{source}/chunks")]
            ways += [(path, False) for path in (rag, f"{rag}/sources?page_size=100")]
            await self._query(doc.place, doc.marks[-1])
        await self._search(doc.marks[-1])
        for path, gone in self.dice.sample(ways, k=min(WAYS, len(ways))):
            await self.ask("GET", path, gone=gone)

    async def _note(self, doc: Doc) -> None:
        """How far the work on it is at this very moment."""
        rows = await self.site.fetch(
            "SELECT s.id, COALESCE(s.stage, i.stage, s.state) AS stage"
            " FROM sources s LEFT JOIN indexes i ON i.source_id = s.id"
        )
        self.stages.update(row["stage"] for row in rows if str(row["id"]) == doc.id)

    # Asking -------------------------------------------------------------------------------------

    async def wonder(self) -> None:
        """A question about something that is gone, or about nothing in particular."""
        gone = [token for token in self.book.gone if token.startswith("mark")]
        words = self.dice.choice(gone[-20:]) if gone else "water"
        rags = self.book.rags()
        if rags and self.dice.random() < 0.6:
            await self._query(self.dice.choice(rags), words)
        else:
            await self._search(words)

    async def _query(self, rag_id: str, words: str) -> None:
        question = {"query": f"What does {words} say of water?", "top_k": 20}
        await self.ask("POST", f"/rags/{rag_id}/query", json=question)

    async def _search(self, words: str) -> None:
        # What is looked for stands in no answer but in a found text.
        await self.ask("GET", f"{DOOR}/search", params={"query": words, "page_size": 20})


def _text(mark: str) -> str:
    lines = (f"Here {mark} tells of the water in basin {n}." for n in range(6))
    return "\n\n".join([f"# Leaf {mark}", *lines])


async def play(crowd: Crowd, *, deletions: int) -> None:
    """Plant, delete and ask at random moments until so many deletions were acknowledged."""
    over = asyncio.Event()

    async def repeat(act: Any, *, pause_s: float) -> None:
        while not over.is_set():
            await asyncio.sleep(crowd.dice.uniform(0, pause_s))
            await act()

    async def delete() -> None:
        await crowd.delete()
        if crowd.done.total() >= deletions:
            over.set()

    async with asyncio.TaskGroup() as tasks:
        for act, pause_s, callers in (
            (crowd.plant, 0.05, 2),
            (delete, 0.1, 2),
            (crowd.wonder, 0.1, 2),
        ):
            for _ in range(callers):
                tasks.create_task(repeat(act, pause_s=pause_s))


def told(crowd: Crowd) -> str:
    kinds = json.dumps(dict(sorted(crowd.done.items())))
    stages = json.dumps(dict(sorted(crowd.stages.items())))
    return (
        f"{crowd.done.total()} deletions {kinds}, of single ones at {stages}; "
        f"{crowd.queries} requests, {crowd.hits} hits, of the deleted {len(crowd.violations)}"
    )
