"""Customers of the soak: they plant every format through both doors and keep book of every answer.

A crowd as in the delete races, of stronger nerves: services go away under it. One more customer is
hostile. What they must never see is counted here, and judged by long_soak.py.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from typing import Any

import httpx
from fix_archives import docx_of, paragraph
from fix_deletes import DOOR, LIBRARY, TOKEN, Doc
from fix_findable import Findable
from fix_hands import Site
from fix_web import Web
from raw_pdf import pdf, shown
from test_hostile_files import CORPUS

BEHIND_S = 0.3
MARKS_EACH = 100_000
SLOW_S = 3.0
FILES_EACH = 3
FORMATS = ("md", "txt", "html", "pdf", "docx")
# A soak of ten minutes reads all the light files several times; the heavy ones keep a child busy
# for its whole two minutes, which is the hostile suite's subject.
OCTETS = "application/octet-stream"
HOSTILE = tuple(
    case for case in CORPUS if not (case.heavy or case.limits or case.media_type or case.charset)
)


class Tally:
    """Over all customers."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.away: Counter[str] = Counter()
        self.bad: list[str] = []


class Tenant(Findable):
    """One customer. Its marks begin with a number of its own, so that strange ones are seen."""

    def __init__(
        self, site: Site, *, token: str, seed: int, number: int, tally: Tally, web: Web
    ) -> None:
        super().__init__(site, token=token, seed=seed)
        self.unsure: set[str] = set()
        self._number = number
        self._tally = tally
        self._web = web
        self.book.marks = number * MARKS_EACH
        self._pages: dict[str, str] = {}

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = await self.client.request(method, path, **more)
        except httpx.TransportError as error:
            return await self._away(method, path, more, why=type(error).__name__)
        self._tally.codes[str(answer.status_code)] += 1
        if answer.status_code in {429, 503} and "retry-after" in answer.headers:
            return await self._away(method, path, more, why=str(answer.status_code))
        if answer.status_code >= 500:
            self._tally.bad.append(f"{method} {path} {answer.status_code}: {answer.text[:300]}")
            return await self._away(method, path, more, why="bad")
        strange = [each for each in TOKEN.findall(answer.text) if self._is_strange(each)]
        if strange:
            self.violations.append(f"{method} {path}: of another customer {strange}")
        return answer

    def _is_strange(self, token: str) -> bool:
        return token.startswith("mark") and int(token[4:]) // MARKS_EACH != self._number

    async def _away(self, method: str, path: str, more: dict[str, Any], *, why: str) -> None:
        """Whether it was done nobody knows: a delete without an answer promises nothing."""
        self._tally.away[why] += 1
        if method == "DELETE" or path.endswith("bulk-delete"):
            named = {*TOKEN.findall(path), *more.get("json", {}).get("document_ids", ())}
            for doc in list(self.book.alive.values()):
                if named & {doc.id, doc.place, doc.place.partition(" ")[2]}:
                    self.book.alive.pop(doc.id)
                    self.unsure.add(doc.id)
        await asyncio.sleep(BEHIND_S)

    async def plant(self) -> None:
        if self.dice.random() < 0.15:
            await self.dice.choice((self.tag, self.tag, self.recut))()
        elif self.dice.random() < 0.5:
            await super().plant()
        elif self.dice.random() < 0.6:
            await self._new_file()
        elif self.dice.random() < 0.7:
            await self._new_page()
        else:
            await self._new_edition()

    async def _note(self, doc: Doc) -> None:
        return

    async def _new_file(self) -> None:
        """A file of any format, through the native door."""
        if not self.room() or not (rags := self.book.rags()):
            return
        rag_id = self.dice.choice(rags)
        mark, format = self.book.mark(rag_id), self.dice.choice(FORMATS)
        files = [("files", (f"{mark}.{format}", written(mark, format=format)))]
        attributes = self.coloured()
        data = {"attributes": json.dumps(attributes)}
        rag = await self.ask("POST", f"/rags/{rag_id}/sources", files=files, data=data)
        for source_id in self._planted(rag, mark=mark, place=rag_id):
            self.colours[source_id] = attributes["colour"]

    async def _new_page(self) -> None:
        """A page of the web, through either door."""
        if not self.room():
            return
        place = self.dice.choice([*self.book.rags(), LIBRARY])
        mark = self.book.mark(place)
        url = self._web.add(f"/{mark}", body=written(mark, format="html"))
        if place == LIBRARY:
            added = await self.ask("POST", f"{DOOR}/url", json={"url": url, "name": mark})
            if added:
                self.book.plant(Doc(added["id"], marks=[mark], place=LIBRARY))
                self._pages[added["id"]] = f"/{mark}"
        else:
            body = {"source_urls": [url]}
            rag = await self.ask("POST", f"/rags/{place}/sources", json=body)
            self._planted(rag, mark=mark, place=place)

    async def _new_edition(self) -> None:
        """A page changes, and its source is refreshed."""
        pages = [each for each in self._pages if each in self.book.alive]
        if pages:
            doc = self.book.alive[self.dice.choice(pages)]
            mark = self.book.mark(doc.place)
            doc.marks.append(mark)
            self._web.add(self._pages[doc.id], body=written(mark, format="html"))
            await self.ask("POST", f"{DOOR}/{doc.id}/refresh")

    def _planted(self, rag: Any, *, mark: str, place: str) -> list[str]:
        found = [
            source["id"]
            for source in (rag["sources"] if rag else ())
            if mark in source["name"] or mark in source.get("source_url", "")
        ]
        for source_id in found:
            self.book.plant(Doc(source_id, marks=[mark], place=place))
        return found


def written(mark: str, *, format: str) -> bytes:
    """A document of six lines that hold the mark."""
    lines = [f"Here {mark} tells of the water in basin {n}." for n in range(6)]
    if format == "pdf":
        return pdf(shown(" ".join(lines)))
    if format == "docx":
        return docx_of("".join(map(paragraph, lines)))
    if format == "html":
        body = "".join(f"<p>{line}</p>" for line in lines)
        page = f"<html><head><title>{mark}</title></head><body><article>{body}</article></body>"
        return page.encode()
    return "\n\n".join(lines).encode()


class Enemy:
    """A customer whose files are hostile and whose pages misbehave."""

    def __init__(self, tenant: Tenant, *, seed: int) -> None:
        self.expected: dict[str, str] = {}  # by source
        self._tenant = tenant
        self._cases = itertools.cycle(random.Random(seed).sample(HOSTILE, k=len(HOSTILE)))
        self._rag_id = ""
        self._numbers = itertools.count()

    async def attack(self, web: Web) -> None:
        """A few files and a bad page; a RAG is given up when it is full."""
        number = next(self._numbers)
        if number % 20 == 0 or not self._rag_id:
            rag = await self._tenant.ask("POST", "/rags", json={"name": "hostile"})
            self._rag_id = rag["id"] if rag else ""
        if not self._rag_id:
            return
        chosen = [next(self._cases) for _ in range(FILES_EACH)]
        cases = {f"{number}-{n}-{case.name}": case for n, case in enumerate(chosen)}
        files = [("files", (name, case.make(), OCTETS)) for name, case in cases.items()]
        rag = await self._tenant.ask("POST", f"/rags/{self._rag_id}/sources", files=files)
        for source in rag["sources"] if rag else ():
            if source["name"] in cases:
                self.expected[source["id"]] = cases[source["name"]].outcome
        urls = [bad_page(web, number=number)]
        await self._tenant.ask("POST", f"/rags/{self._rag_id}/sources", json={"source_urls": urls})

    def as_expected(self, outcomes: dict[str, str]) -> int:
        """How many ended as the corpus says, of those whose end is known."""
        return sum(outcomes.get(each, "") == outcome for each, outcome in self.expected.items())


def bad_page(web: Web, *, number: int) -> str:
    """A page that fails, waits, redirects for ever or breaks off."""
    path = f"/bad-{number}"
    kind = number % 5
    if kind == 0:
        return web.add(path, status=503, body="away")
    if kind == 1:
        return web.add(path, body="<p>slow water</p>", delay_s=SLOW_S)
    if kind == 2:
        return web.add(path, status=302, headers={"Location": path})
    if kind == 3:
        return web.raw(path, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n<p>half")
    return web.raw(path, b"\x16\x03\x01 no HTTP at all")
