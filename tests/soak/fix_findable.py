"""A customer who asks in every mode and under filters, tags sources, and changes how RAGs are cut.

Every answer is judged at once: in order, within the filter, each passage once. A source that was
ready and that its own word did not find is lost, unless it turns out at the end that somebody was
just deleting it.
"""

from typing import Any, NamedTuple

from fix_deletes import Crowd, Doc

from engine.hits import Mode

COLOURS = ("red", "green", "blue")
CHUNK_TOKENS = (16, 24, 40)
TOP_K = 20


class Missed(NamedTuple):
    doc: Doc
    marks: int
    how: str


class Findable(Crowd):
    """Keeps book of the colours, which never change, and of what was not found."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.colours: dict[str, str] = {}
        self._missed: list[Missed] = []

    def lost(self) -> list[str]:
        """What was not found, and lives to this day as it was."""
        return [
            f"{each.doc.id} {each.how}"
            for each in self._missed
            if self.book.alive.get(each.doc.id) is each.doc and len(each.doc.marks) == each.marks
        ]

    # Changing -----------------------------------------------------------------------------------

    def coloured(self) -> dict[str, str]:
        return {"colour": self.dice.choice(COLOURS)}

    async def tag(self) -> None:
        """Other attributes for a source, of the same colour."""
        docs = [doc for doc in self.book.alive.values() if doc.id in self.colours]
        if docs:
            doc = self.dice.choice(docs)
            tags = {"colour": self.colours[doc.id], "number": self.dice.randrange(100)}
            path = f"/rags/{doc.place}/sources/{doc.id}"
            if await self.ask("PUT", path, json={"attributes": tags}):
                self.done["tagged"] += 1

    async def recut(self) -> None:
        """Another chunk size for a RAG, whether or not the last one is reached yet."""
        if rags := self.book.rags():
            wanted = {"chunk_tokens": self.dice.choice(CHUNK_TOKENS)}
            if await self.ask("PUT", f"/rags/{self.dice.choice(rags)}", json=wanted):
                self.done["recut"] += 1

    # Asking -------------------------------------------------------------------------------------

    async def wonder(self) -> None:
        """As before, or about something that has to be found."""
        ready = [doc for doc in self.book.alive.values() if doc.place in self.book.rags()]
        if ready and self.dice.random() < 0.4:
            await self._find(self.dice.choice(ready))
        else:
            await super().wonder()

    async def _find(self, doc: Doc) -> None:
        """By its last mark, which stands in nothing else."""
        marks = len(doc.marks)
        source = await self.ask("GET", f"/rags/{doc.place}/sources/{doc.id}")
        if marks > 1 or not source or source["status"] != "ready":
            return
        mode = self.dice.choice((Mode.LEXICAL, Mode.HYBRID))
        question: dict[str, Any] = {"query": doc.marks[0], "top_k": TOP_K, "mode": mode}
        if doc.id in self.colours and self.dice.random() < 0.5:
            question["filter"] = _eq(self.colours[doc.id])
        answer = await self._judged(doc.place, question)
        if answer is None:
            return
        self.done["found"] += 1
        if doc.id not in {hit["source_id"] for hit in answer["results"]}:
            self._missed.append(Missed(doc, marks, f"{question} gave {len(answer['results'])}"))

    async def _query(self, rag_id: str, words: str) -> None:
        question: dict[str, Any] = {
            "query": f"What does {words} say of water?",
            "top_k": TOP_K,
            "mode": self.dice.choice(list(Mode)),
        }
        if self.dice.random() < 0.4:
            question["filter"] = _eq(self.dice.choice(COLOURS))
        if self.dice.random() < 0.2:
            question |= {"with_neighbours": True, "min_score": 0.1}
        await self._judged(rag_id, question)

    async def _judged(self, rag_id: str, question: dict[str, Any]) -> Any:
        answer = await self.ask("POST", f"/rags/{rag_id}/query", json=question)
        if answer is None:
            return None
        self.done[f"asked {question['mode']}"] += 1
        hits = answer["results"]
        scores = [hit["score"] for hit in hits]
        if scores != sorted(scores, reverse=True) or not all(0 <= score <= 1 for score in scores):
            self.violations.append(f"{question}: scores {scores}")
        if len({hit["chunk_id"] for hit in hits}) != len(hits):
            self.violations.append(f"{question}: a passage twice")
        wanted = question.get("filter", _eq(""))["eq"]["value"]
        strange = {self.colours.get(hit["source_id"], wanted) for hit in hits} - {wanted}
        if wanted and strange:
            self.violations.append(f"{question}: {strange}")
        return answer


def _eq(colour: str) -> dict[str, Any]:
    return {"eq": {"key": "colour", "value": colour}}
