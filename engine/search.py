"""From a question to what answers it: passages of a RAG, or documents of a whole library."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.config import Limits
from engine.embedding import Models
from engine.entries import EntryHit, EntryKind
from engine.errors import (
    Detail,
    InvalidRequest,
    RagNotFound,
    RagNotReady,
    SourceNotFound,
)
from engine.filters import Filter, read_filter
from engine.models import CustomerId, Hit, RagId, SourceId
from engine.sources import filter_rules, selected
from engine.store import Database, Tx, entries, rags, sources, vectors
from engine.store.rags import Profile
from engine.store.vectors import SourceHit
from engine.text import clean_text

# A library is read as far as people read: what ranks lower answers nothing any more.
RANK_MAX = 1_000


Asked = dict[str, NDArray[np.float32]]  # a question as each model sees it


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
        given_filter: object = None,
    ) -> tuple[Hit, ...]:
        """The `top_k` best passages, best first, of sources that match; () if none does.

        RagNotFound; RagNotReady while nothing is searchable; ModelUnavailable.
        """
        question = clean_text(query).strip()
        wanted = self._check(
            question, top_k=top_k, sources=len(source_ids), given_filter=given_filter
        )
        ask = partial(
            self._query, customer_id, rag_id, question=question, top_k=top_k, wanted=wanted
        )
        # One turn, and one more for each change of the RAG's profile that comes in between: what
        # the old one left may be gone already, so it answers neither half nor empty.
        while (hits := await ask(source_ids=source_ids)) is None:
            continue
        return hits

    async def _query(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        *,
        question: str,
        top_k: int,
        source_ids: tuple[SourceId, ...],
        wanted: Filter | None,
    ) -> tuple[Hit, ...] | None:
        """None when the profile that was read first does not answer any more."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            profile = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
            if profile is None:
                raise RagNotFound("There is no such RAG.")
            await _check_sources(tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids)
            if not await vectors.searchable(tx, customer_id=customer_id, profile_id=profile.id):
                if await _moved(tx, customer_id=customer_id, rag_id=rag_id, since=profile):
                    return None
                raise RagNotReady(
                    "Nothing in this RAG can be searched yet: wait until its status is ready."
                )
            if wanted:
                source_ids = await selected(
                    tx,
                    customer_id=customer_id,
                    rag_id=rag_id,
                    wanted=wanted,
                    source_ids=source_ids,
                )
        if wanted and not source_ids:
            return ()
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
            if await _moved(tx, customer_id=customer_id, rag_id=rag_id, since=profile):
                return None
        return tuple(hits)

    async def library(
        self,
        customer_id: CustomerId,
        *,
        query: str,
        kinds: tuple[EntryKind, ...],
        page_size: int,
        offset: int,
    ) -> tuple[EntryHit, ...]:
        """Documents of all RAGs, best first, each with its best passage; () if nothing answers yet.

        From `offset` on, one more than `page_size` when there are more. The ranking ends at 1,000.
        No `kinds`: all of them. InvalidRequest; ModelUnavailable if one of the models is away,
        because the rest would pass for the whole.
        """
        question = clean_text(query).strip()
        self._check_ranks(question, offset=offset)
        if kinds and all(kind is EntryKind.FOLDER for kind in kinds):
            return ()
        end = min(offset + page_size + 1, RANK_MAX)
        ask = partial(self._library, customer_id, question=question, kinds=kinds)
        while (hits := await ask(offset=offset, end=end)) is None:  # as in `query`
            continue
        return hits

    async def _library(
        self,
        customer_id: CustomerId,
        *,
        question: str,
        kinds: tuple[EntryKind, ...],
        offset: int,
        end: int,
    ) -> tuple[EntryHit, ...] | None:
        """None when a profile that was read first does not answer any more: its documents would be
        missing, or there twice."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            live = await rags.live_profiles(tx, customer_id=customer_id)
            models = await vectors.library_models(tx, customer_id=customer_id)
        asked = await self._asked(models, question=question)
        async with self._database.transaction(customer_id=customer_id) as tx:
            hits = await _ranked(tx, customer_id=customer_id, asked=asked, kinds=kinds, limit=end)
            if not await rags.still_live(tx, customer_id=customer_id, ids=live):
                return None
            return await _with_entries(tx, customer_id=customer_id, hits=hits[offset:])

    async def _asked(self, models: Sequence[str], *, question: str) -> Asked:
        """The question's vector under each model that the customer's documents answer by."""
        return {
            model: await (await self._models.open(model)).embed_query(question) for model in models
        }

    def _check_ranks(self, question: str, *, offset: int) -> None:
        details = self._question_details(question)
        if not 0 <= offset < RANK_MAX:
            issue = f"goes beyond the first {RANK_MAX} documents"
            details.append(Detail(field="cursor", issue=issue))
        if details:
            raise InvalidRequest("The query is out of range.", details=tuple(details))

    def _question_details(self, question: str) -> list[Detail]:
        if 1 <= len(question) <= self._limits.query_characters_max:
            return []
        issue = f"must have 1 to {self._limits.query_characters_max} characters"
        return [Detail(field="query", issue=issue)]

    def _check(
        self, question: str, *, top_k: int, sources: int, given_filter: object
    ) -> Filter | None:
        """What a query asks for must be in range; the filter of it, if there is one."""
        details = self._question_details(question)
        if not 1 <= top_k <= self._limits.top_k_max:
            issue = f"must be from 1 to {self._limits.top_k_max}"
            details.append(Detail(field="top_k", issue=issue))
        if sources > self._limits.request_sources_max:
            issue = f"must have at most {self._limits.request_sources_max} items"
            details.append(Detail(field="source_ids", issue=issue))
        wanted = None
        try:
            if given_filter is not None:
                wanted = read_filter(given_filter, rules=filter_rules(self._limits))
        except InvalidRequest as error:
            details += error.details
        if details:
            raise InvalidRequest("The query is out of range.", details=tuple(details))
        return wanted


async def _moved(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, since: Profile) -> bool:
    """Whether the RAG answers by another profile than the one that was read first."""
    live = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
    return live is not None and live.id != since.id


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


async def _ranked(
    tx: Tx, *, customer_id: CustomerId, asked: Asked, kinds: tuple[EntryKind, ...], limit: int
) -> list[SourceHit]:
    """The `limit` best documents over all models; a document answers by one of them only."""
    found: list[SourceHit] = []
    for model, vector in asked.items():
        found += await vectors.search_library(
            tx,
            customer_id=customer_id,
            embedding_model=model,
            vector=vector,
            kinds=kinds,
            limit=limit,
        )
    return sorted(found, key=lambda hit: (-hit.dense, hit.source_id))[:limit]


async def _with_entries(
    tx: Tx, *, customer_id: CustomerId, hits: Sequence[SourceHit]
) -> tuple[EntryHit, ...]:
    """Without those that were deleted since their chunks were read."""
    known = await entries.many(
        tx, customer_id=customer_id, entry_ids=[hit.source_id for hit in hits]
    )
    return tuple(
        EntryHit(entry=known[hit.source_id], text=hit.text, score=min(max(hit.dense, 0.0), 1.0))
        for hit in hits
        if hit.source_id in known
    )
