"""From a question to what answers it: passages of a RAG, or documents of a whole library."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.citations import Beside, different, hit_of, neighbours_of, repeated
from engine.config import Limits
from engine.embedding import Models
from engine.entries import EntryHit, EntryKind
from engine.errors import (
    DatabaseUnavailable,
    Detail,
    InvalidRequest,
    ModelUnavailable,
    RagNotFound,
    RagNotReady,
    SourceNotFound,
    Superseded,
)
from engine.filters import Filter, predicate, read_filter
from engine.hits import Hit, Mode
from engine.librarysearch import LibrarySearch
from engine.models import CustomerId, Noun, RagId, SourceId
from engine.retrieval import Question, candidates, candidates_for
from engine.sources import filter_rules, selected
from engine.store import Database, Tx, sources, targets
from engine.store.hits import Found
from engine.store.targets import Target
from engine.store.termcache import TermCache
from engine.text import clean_text

# A library is read as far as people read: what ranks lower answers nothing any more.
RANK_MAX = 1_000

# Hits of one source that say the same are folded into one, so a few more are read than are wanted,
# and where that leaves too few, all candidates. Where these do not suffice, so many times more are
# looked at, and again; in the end repetitions fill the list.
SPARE_MIN = 3
WIDER = 5
CANDIDATES_MAX = 2_500
TRIES = 3  # when the model changed, or the ANN table was rebuilt, while a question was under way
REMEMBERED_MAX = 10_000


class _Wanted(Noun, frozen=True, kw_only=True):
    """What a caller wants to know."""

    customer_id: CustomerId
    token_hash: bytes
    rag_id: RagId
    text: str
    top_k: int
    mode: Mode
    source_ids: tuple[SourceId, ...]
    filter: Filter | None
    min_score: float
    with_neighbours: bool


Awaited = asyncio.Future[NDArray[np.float32]]


class _Embedding(NamedTuple):
    """A question on its way through a model."""

    model: str
    vector: Awaited


class Search:
    """The query path."""

    def __init__(self, *, database: Database, models: Models, limits: Limits) -> None:
        self._database = database
        self._models = models
        self._limits = limits
        self._terms = TermCache(bytes_max=limits.terms_remembered_bytes_max)
        self._library = LibrarySearch(database=database, models=models, terms=self._terms)
        self._models_of: dict[tuple[CustomerId, RagId], str] = {}

    async def query(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        *,
        query: str,
        top_k: int,
        mode: Mode = Mode.HYBRID,
        source_ids: tuple[SourceId, ...] = (),
        given_filter: object = None,
        min_score: float | None = None,
        with_neighbours: bool = False,
        token_hash: bytes = b"",
    ) -> tuple[Hit, ...]:
        """The `top_k` best passages of sources that match, best first: fewer only where no more are
        there.

        `token_hash`: of a key that was the customer's a moment ago; that it still is, is seen
        together with what answers. RagNotFound; SourceNotFound; RagNotReady while nothing is
        searchable; ModelUnavailable; InvalidCredentials.
        """
        text = clean_text(query).strip()
        filtered = self._check(
            text,
            top_k=top_k,
            sources=len(source_ids),
            min_score=min_score,
            given_filter=given_filter,
        )
        wanted = _Wanted(
            customer_id=customer_id,
            token_hash=token_hash,
            rag_id=rag_id,
            text=text,
            top_k=top_k,
            mode=mode,
            source_ids=source_ids,
            filter=filtered,
            min_score=min_score or 0.0,
            with_neighbours=with_neighbours,
        )
        for _ in range(TRIES):
            embedding = await self._embedding(wanted)
            try:
                return await self._answered(wanted, embedding=embedding)
            except Superseded:
                self._models_of.pop((customer_id, rag_id), None)
            finally:
                if embedding is not None:
                    embedding.vector.cancel()
        raise DatabaseUnavailable("The data changed at the same moment.")

    async def _embedding(self, wanted: _Wanted) -> _Embedding | None:
        """The question as the RAG's model sees it; None where no vector is needed.

        Which model that is, is remembered from the last question, and seen to be wrong later: so a
        question takes one transaction. A model of this process takes milliseconds, in which the
        words are ranked; while one behind a server works, no transaction is open.
        """
        if wanted.mode is Mode.LEXICAL:
            return None
        key = (wanted.customer_id, wanted.rag_id)
        remembered = key in self._models_of
        model = self._models_of.get(key) or await self._model_of(wanted)
        try:
            embedder = await self._models.open(model)
            vector = asyncio.ensure_future(embedder.embed_query(wanted.text))
            if embedder.is_remote:
                await vector
            else:
                await asyncio.sleep(0)  # the model is at work then, before anything else is done
        except ModelUnavailable:
            self._models_of.pop(key, None)
            if remembered:  # the RAG may have another one by now
                return await self._embedding(wanted)
            raise
        return _Embedding(model=model, vector=vector)

    async def _model_of(self, wanted: _Wanted) -> str:
        async with self._asking(wanted) as (tx, found):
            target = await _checked(tx, wanted=wanted, target=found)
        while len(self._models_of) >= REMEMBERED_MAX:
            self._models_of.pop(next(iter(self._models_of)))
        self._models_of[wanted.customer_id, wanted.rag_id] = target.embedding_model
        return target.embedding_model

    def _asking(self, wanted: _Wanted) -> AbstractAsyncContextManager[tuple[Tx, Target | None]]:
        filtered = bool(wanted.source_ids) or wanted.filter is not None
        return targets.asking(
            self._database, customer_id=wanted.customer_id, rag_id=wanted.rag_id,
            token_hash=wanted.token_hash, filtered=filtered,
        )  # fmt: skip

    async def _answered(self, wanted: _Wanted, *, embedding: _Embedding | None) -> tuple[Hit, ...]:
        """Raises Superseded when the model is another one by now, or the ANN table was dropped."""
        async with self._asking(wanted) as (tx, found):
            target = await _checked(tx, wanted=wanted, target=found)
            if embedding is not None and embedding.model != target.embedding_model:
                raise Superseded
            source_ids: Sequence[SourceId] | None = wanted.source_ids or None
            if wanted.filter is not None:
                source_ids = await selected(
                    tx,
                    customer_id=wanted.customer_id,
                    rag_id=wanted.rag_id,
                    wanted=wanted.filter,
                    source_ids=wanted.source_ids,
                )
                if not source_ids:
                    return ()
            question = Question(
                customer_id=wanted.customer_id,
                rag_id=wanted.rag_id,
                target=target,
                text=wanted.text,
                mode=wanted.mode,
                source_ids=source_ids,
                # Of sources that were named, the predicate alone would say too much.
                predicate=None
                if wanted.filter is None or wanted.source_ids
                else predicate(wanted.filter),
                min_score=wanted.min_score,
            )
            vector = None if embedding is None else embedding.vector
            return await self._hits(tx, wanted=wanted, question=question, vector=vector)

    async def _hits(
        self, tx: Tx, *, wanted: _Wanted, question: Question, vector: Awaited | None
    ) -> tuple[Hit, ...]:
        chosen = await self._chosen(tx, top_k=wanted.top_k, question=question, vector=vector)
        beside: Beside = {}
        if wanted.with_neighbours:
            beside = await neighbours_of(tx, customer_id=wanted.customer_id, chosen=chosen)
        return tuple(hit_of(each, beside=beside) for each in chosen)

    async def _chosen(
        self, tx: Tx, *, top_k: int, question: Question, vector: Awaited | None
    ) -> list[Found]:
        """As many as wanted: where too many of the candidates say the same, more are looked at."""
        limit = candidates_for(top_k)
        count = top_k + max(SPARE_MIN, top_k // 4)
        while True:
            looked = await candidates(
                tx,
                question=question,
                vector=vector,
                limit=limit,
                count=count,
                exact_chunks_max=self._limits.exact_chunks_max,
                terms=self._terms,
            )
            chosen = different(looked.found, top_k=top_k)
            if len(chosen) == top_k:
                return chosen
            if len(looked.found) < count:  # all of them were read
                if looked.complete:
                    return chosen
                if limit == CANDIDATES_MAX:
                    return repeated(looked.found, chosen=chosen, top_k=top_k)
                limit = min(limit * WIDER, CANDIDATES_MAX)
            count = 2 * limit + 1

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
        return await self._library.documents(
            customer_id, question=question, kinds=kinds, offset=offset, end=end
        )

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
        self,
        question: str,
        *,
        top_k: int,
        sources: int,
        min_score: float | None,
        given_filter: object,
    ) -> Filter | None:
        """What a query asks for must be in range; the filter of it, if there is one."""
        details = self._question_details(question)
        if min_score is not None and not 0 <= min_score <= 1:
            details.append(Detail(field="min_score", issue="must be from 0 to 1"))
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


async def _checked(tx: Tx, *, wanted: _Wanted, target: Target | None) -> Target:
    """What answers for the RAG. RagNotFound, SourceNotFound, RagNotReady."""
    if target is None:
        raise RagNotFound("There is no such RAG.")
    await _check_sources(tx, wanted=wanted)
    if not target.searchable:
        raise RagNotReady(
            "Nothing in this RAG can be searched yet: wait until its status is ready."
        )
    return target


async def _check_sources(tx: Tx, *, wanted: _Wanted) -> None:
    if not wanted.source_ids:
        return
    known = await sources.known(
        tx, customer_id=wanted.customer_id, rag_id=wanted.rag_id, source_ids=wanted.source_ids
    )
    details = tuple(
        Detail(field=f"source_ids[{number}]", issue=f"{source_id} is not a source of this RAG")
        for number, source_id in enumerate(wanted.source_ids)
        if source_id not in known
    )
    if details:
        raise SourceNotFound("Some sources are not in this RAG.", details=details)
