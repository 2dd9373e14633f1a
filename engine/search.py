"""From a question to the passages that answer it, with where they stand."""

from engine.config import Limits
from engine.embedding import Models
from engine.errors import (
    Detail,
    InvalidRequest,
    RagNotFound,
    RagNotReady,
    SourceNotFound,
)
from engine.models import CustomerId, Hit, RagId, SourceId
from engine.store import Database, Tx, rags, sources, vectors
from engine.text import clean_text


class Search:
    """The query path."""

    def __init__(self, *, database: Database, models: Models, limits: Limits) -> None:
        self._database = database
        self._models = models
        self._limits = limits

    async def query(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        *,
        query: str,
        top_k: int,
        source_ids: tuple[SourceId, ...] = (),
    ) -> tuple[Hit, ...]:
        """The `top_k` best passages, best first.

        RagNotFound; RagNotReady while nothing is searchable; ModelUnavailable.
        """
        question = clean_text(query).strip()
        self._check(question, top_k=top_k, sources=len(source_ids))
        async with self._database.transaction(customer_id=customer_id) as tx:
            profile = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
            if profile is None:
                raise RagNotFound("There is no such RAG.")
            await _check_sources(tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids)
            if not await vectors.searchable(tx, profile_id=profile.id):
                raise RagNotReady(
                    "Nothing in this RAG can be searched yet: wait until its status is ready."
                )
        embedder = await self._models.open(profile.embedding_model)
        vector = await embedder.embed_query(question)
        async with self._database.transaction(customer_id=customer_id) as tx:
            hits = await vectors.search(
                tx,
                customer_id=customer_id,
                rag_id=rag_id,
                profile_id=profile.id,
                vector=vector,
                limit=top_k,
                source_ids=source_ids,
            )
        return tuple(hits)

    def _check(self, question: str, *, top_k: int, sources: int) -> None:
        details = []
        if not 1 <= len(question) <= self._limits.query_characters_max:
            issue = f"must have 1 to {self._limits.query_characters_max} characters"
            details.append(Detail(field="query", issue=issue))
        if not 1 <= top_k <= self._limits.top_k_max:
            issue = f"must be from 1 to {self._limits.top_k_max}"
            details.append(Detail(field="top_k", issue=issue))
        if sources > self._limits.request_sources_max:
            issue = f"must have at most {self._limits.request_sources_max} items"
            details.append(Detail(field="source_ids", issue=issue))
        if details:
            raise InvalidRequest("The query is out of range.", details=tuple(details))


async def _check_sources(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_ids: tuple[SourceId, ...]
) -> None:
    if not source_ids:
        return
    known = await sources.known(tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids)
    details = tuple(
        Detail(field=f"source_ids[{number}]", issue=f"{source_id} is not a source of this RAG")
        for number, source_id in enumerate(source_ids)
        if source_id not in known
    )
    if details:
        raise SourceNotFound("Some sources are not in this RAG.", details=details)
