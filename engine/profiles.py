"""How a RAG's chunks are made: what may be asked for, and the change from one way to another.

A change is what was asked for last: the same again tries what failed once more, something else
replaces it, and what is live already ends it. What lives in the rows is in store.changes, the
building in the workers.
"""

from typing import NamedTuple

import msgspec

from engine.embedding import Registry
from engine.errors import Detail, InvalidRequest, RagNotFound
from engine.models import CustomerId, Noun, RagId
from engine.store import Tx, changes, rags
from engine.store.rags import Profile

CHUNK_TOKENS_MIN = 16
CHUNK_TOKENS_MAX = 32_768  # of any model; each has its own
FILL_INDEXES = 200  # made in the request itself; the sweep makes the others


class Wanted(Noun, frozen=True, kw_only=True):
    """What a caller asks for; None is as the live profile has it."""

    embedding_model: str | None = None
    chunk_tokens: int | None = None
    chunk_overlap_tokens: int | None = None


class Settings(NamedTuple):
    """What makes two profiles alike."""

    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int

    @classmethod
    def of(cls, profile: Profile) -> "Settings":
        return cls(profile.embedding_model, profile.chunk_tokens, profile.chunk_overlap_tokens)


def tokens_max(registry: Registry, *, model: str) -> int:
    """What the model reads; of an unknown one, which is told as an issue of its own, any length."""
    try:
        return registry.get(model).tokens_max
    except InvalidRequest:
        return CHUNK_TOKENS_MAX


def issues(registry: Registry, wanted: Settings) -> list[Detail]:
    """What is wrong with these settings."""
    model, chunk_tokens, overlap = wanted
    details: list[Detail] = []
    try:
        registry.get(model)
    except InvalidRequest as error:
        details += error.details
    most = tokens_max(registry, model=model)
    if not CHUNK_TOKENS_MIN <= chunk_tokens <= most:
        issue = f"must be from {CHUNK_TOKENS_MIN} to {most}, what the model reads"
        details.append(Detail(field="chunk_tokens", issue=issue))
    elif not 0 <= overlap <= chunk_tokens // 2:
        issue = f"must be from 0 to {chunk_tokens // 2}, half of chunk_tokens"
        details.append(Detail(field="chunk_overlap_tokens", issue=issue))
    return details


async def change(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, to: Wanted, registry: Registry
) -> bool:
    """Begin, replace, try again or end the change of a RAG; whether a worker should look.

    RagNotFound; InvalidRequest. A RAG in which nothing answers yet is switched at once.
    """
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update"):
        raise RagNotFound("There is no such RAG.")
    live = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
    assert live
    given = {name: value for name, value in msgspec.structs.asdict(to).items() if value is not None}
    wanted = Settings.of(live)._replace(**given)
    if details := issues(registry, wanted):
        raise InvalidRequest("The request has invalid fields.", details=tuple(details))
    following = await rags.next_profile(tx, customer_id=customer_id, rag_id=rag_id)
    if following and Settings.of(following) == wanted:
        return await changes.retry(tx, customer_id=customer_id, rag_id=rag_id) > 0
    if following:
        await changes.give_up(tx, customer_id=customer_id, rag_id=rag_id)
    if Settings.of(live) == wanted:
        return False
    await changes.begin(tx, customer_id=customer_id, rag_id=rag_id, **wanted._asdict())
    await changes.fill(tx, customer_id=customer_id, rag_id=rag_id, limit=FILL_INDEXES)
    await changes.switch(tx, customer_id=customer_id, rag_id=rag_id)
    return True
