"""What sources hold out in the world during a race, and what of it should be found in the rows.

Every text says which source it is of and which version, so that no chunk can be taken for another.
"""

import hashlib
from random import Random

from engine.models import Coverage, Document, Passage, SourceId

CHUNKS_MAX = 11
BEHAVIOURS = ("good",) * 8 + ("permanent", "passing", "passing_index")


class World:
    """Versions of the sources' originals, and how each version behaves when it is read."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.serials: dict[SourceId, int] = {}
        self.versions: dict[SourceId, int] = {}
        self.wanted: dict[SourceId, int] = {}  # by the last refresh that is known to be committed

    def add(self, source_id: SourceId, *, serial: int) -> None:
        self.serials[source_id] = serial
        self.versions.setdefault(source_id, 0)

    def change(self, source_id: SourceId) -> int:
        self.versions[source_id] += 1
        return self.versions[source_id]

    def want(self, source_id: SourceId, version: int) -> None:
        self.wanted[source_id] = max(version, self.wanted.get(source_id, 0))

    def acceptable(self, source_id: SourceId) -> list[list[str]]:
        """The texts that it may answer with at the end: the last one that a refresh asked for, or
        a newer one, of which nobody knows whether its refresh was committed."""
        newest = self.versions[source_id]
        return [
            [passage.text for passage in self.passages(source_id, version)]
            for version in range(self.wanted.get(source_id, 0), newest + 1)
            if self.behaviour(source_id, version) == "good"
        ]

    def behaviour(self, source_id: SourceId, version: int) -> str:
        return self._random(source_id, version, "behaviour").choice(BEHAVIOURS)

    def passages(self, source_id: SourceId, version: int) -> list[Passage]:
        count = self._random(source_id, version, "count").randint(1, CHUNKS_MAX)
        serial, found, start = self.serials[source_id], [], 0
        for ordinal in range(count):
            text = f"source {serial} version {version} passage {ordinal} of {count}"
            found.append(
                Passage(
                    ordinal=ordinal,
                    text=text,
                    start=start,
                    end=start + len(text),
                    embedded=text,
                    tokens=8,
                )
            )
            start += len(text) + 1
        return found

    def document(self, source_id: SourceId, version: int) -> Document:
        text = "\n".join(passage.text for passage in self.passages(source_id, version))
        return Document(
            title=str(version),  # as the next attempt reads it: which version this text is of
            text=text,
            blocks=(),
            media_type="text/plain",
            coverage=Coverage(characters=len(text)),
        )

    def _random(self, source_id: SourceId, version: int, what: str) -> Random:
        return Random(f"{self.seed} {self.serials[source_id]} {version} {what}")


def key_of(passage: Passage) -> bytes:
    return hashlib.sha256(passage.embedded.encode()).digest()
