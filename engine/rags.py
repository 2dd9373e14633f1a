"""Verbs about knowledge bases and their sources. Each decides where its transaction begins and
ends; the bell rings after the commit, so that no worker comes too early."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from engine import profiles, quotas
from engine.addresses import AllowList, UrlError, check_url, normalise_url
from engine.config import Settings
from engine.embedding import Registry
from engine.errors import (
    Detail,
    InvalidRequest,
    RagNotFound,
    SourceExists,
    SourceNotFound,
    StorageFileNotFound,
    TooManySources,
)
from engine.idempotency import Keep
from engine.jobs import Bell
from engine.models import (
    Change,
    Cursor,
    CustomerId,
    NewRag,
    NewSources,
    Page,
    Rag,
    RagId,
    Source,
    SourceId,
    State,
)
from engine.sources import attribute_issues, attributes_of
from engine.store import Database, Tx, changes, files, rags, sources
from engine.store.paging import to_page
from engine.store.sources import NewSource
from engine.text import clean_text

Details = list[Detail]

POSITION_MAX = 2**63 - 1
SOURCES_IN_RAG = 1_000  # what GET /rags/{id} carries; the rest by paging
SOURCES_IN_LIST = 20  # what each RAG of GET /rags carries
BLOCKING_NAMED = 20  # sources that a change cannot go on without


class Rags:
    """`registry` knows which models exist; `settings` the defaults and limits."""

    def __init__(
        self, *, database: Database, bell: Bell, registry: Registry, settings: Settings
    ) -> None:
        self._database = database
        self._bell = bell
        self._registry = registry
        self._settings = settings
        self._limits = settings.limits
        self._allow_list = AllowList.parse(settings.allow_networks)

    async def create(
        self, customer_id: CustomerId, new: NewRag, *, keep: Keep[Rag] | None = None
    ) -> Rag:
        """All or nothing: the RAG with every source, or an error and no row."""
        model = new.embedding_model or self._registry.default.name
        chunk_tokens, overlap = self._chunking(new, model=model)
        details = self._text_issues(name=new.name, description=new.description)
        details += profiles.issues(self._registry, profiles.Settings(model, chunk_tokens, overlap))
        self._check_sources(new.sources, details=details)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            rag_id = await rags.insert(
                tx,
                customer_id=customer_id,
                name=clean_text(new.name).strip(),
                description=clean_text(new.description),
                embedding_model=model,
                chunk_tokens=chunk_tokens,
                chunk_overlap_tokens=overlap,
            )
            await self._insert(tx, customer_id=customer_id, rag_id=rag_id, new=new.sources)
            rag = await _full(tx, customer_id=customer_id, rag_id=rag_id)
            if keep:
                await keep.end(tx, rag)
        if new.sources.total:
            await self._bell.ring()
        return rag

    async def list(
        self, customer_id: CustomerId, *, page_size: int, after: Cursor | None
    ) -> Page[Rag]:
        """Newest first, each with its first sources and the counts over all of them."""
        async with self._database.transaction(customer_id=customer_id, snapshot=True) as tx:
            rows = await rags.page(tx, customer_id=customer_id, limit=page_size + 1, after=after)
            page = to_page(rows, page_size=page_size)
            changing = await _changing(tx, customer_id=customer_id, of=page.items)
            items = [
                await _with(tx, rag, change=changing.get(rag.id), sources_max=SOURCES_IN_LIST)
                for rag in page.items
            ]
        return msgspec.structs.replace(page, items=tuple(items))

    async def get(self, customer_id: CustomerId, rag_id: RagId) -> Rag:
        """As of one moment: a switch changes the RAG, its change and its sources together."""
        async with rags.reading(self._database, customer_id=customer_id, rag_id=rag_id) as (
            tx,
            rag,
        ):
            return await _filled(tx, rag)

    async def update(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        *,
        name: str | None = None,
        description: str | None = None,
        profile: profiles.Wanted | None = None,
    ) -> Rag:
        """Set what is not None; at least one of all. Other chunks are built beside those that
        answer, until one switch: see `change` of the RAG."""
        details = self._text_issues(name=name, description=description)
        if name is None and description is None and profile is None:
            details.append(Detail(field="name", issue="at least one field is needed"))
        _raise_if(details)
        async with self._database.transaction(customer_id=customer_id) as tx:
            wakes = profile is not None and await profiles.change(
                tx, customer_id=customer_id, rag_id=rag_id, to=profile, registry=self._registry
            )
            if name is not None or description is not None:
                await rags.update(
                    tx,
                    customer_id=customer_id,
                    rag_id=rag_id,
                    name=None if name is None else clean_text(name).strip(),
                    description=None if description is None else clean_text(description),
                )
            rag = await _full(tx, customer_id=customer_id, rag_id=rag_id)
        if wakes:
            await self._bell.ring()
        return rag

    async def delete(self, customer_id: CustomerId, rag_id: RagId) -> Rag:
        """The RAG as it was. No query that starts after this returns a byte of it."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _lock(tx, customer_id=customer_id, rag_id=rag_id, alone=True)
            rag = await _full(tx, customer_id=customer_id, rag_id=rag_id)
            await rags.mark_deleted(tx, customer_id=customer_id, rag_id=rag_id)
        return rag

    async def add_sources(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        new: NewSources,
        *,
        keep: Keep[Rag] | None = None,
    ) -> Rag:
        """All or nothing. SourceExists names every duplicate."""
        details: Details = []
        if not new.total:
            details.append(Detail(field="sources", issue="at least one source is needed"))
        self._check_sources(new, details=details)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            await _lock(tx, customer_id=customer_id, rag_id=rag_id, alone=False)
            await rags.lock_adding(tx, rag_id=rag_id)
            await self._insert(tx, customer_id=customer_id, rag_id=rag_id, new=new)
            rag = await _full(tx, customer_id=customer_id, rag_id=rag_id)
            if keep:
                await keep.end(tx, rag)
        await self._bell.ring()
        return rag

    async def sources(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        *,
        page_size: int,
        after: Cursor | None,
        state: State | None = None,
    ) -> Page[Source]:
        """In the order of creation. A cursor that is only a time goes on behind that very time."""
        if after and after.at and not after.position:
            after = Cursor(at=after.at, position=POSITION_MAX)
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _expect(tx, customer_id=customer_id, rag_id=rag_id)
            rows = await sources.page(
                tx,
                customer_id=customer_id,
                rag_id=rag_id,
                limit=page_size + 1,
                after=after,
                state=state,
            )
        return to_page(rows, page_size=page_size)

    async def source(
        self, customer_id: CustomerId, rag_id: RagId, source_id: SourceId
    ) -> tuple[Source, int | None]:
        """A source and its place in this customer's queue, None when it does not wait."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            source = await _source(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
            place = await sources.queue_position(tx, customer_id=customer_id, source_id=source_id)
        return source, place

    async def delete_source(
        self, customer_id: CustomerId, rag_id: RagId, source_id: SourceId
    ) -> Rag:
        """The RAG without it. A running attempt is fenced off."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _lock(tx, customer_id=customer_id, rag_id=rag_id, alone=True)
            deleted = await sources.mark_deleted(
                tx, customer_id=customer_id, rag_id=rag_id, source_ids=[source_id]
            )
            if not deleted:
                raise SourceNotFound("There is no such source in this RAG.")
            return await _full(tx, customer_id=customer_id, rag_id=rag_id)

    async def refresh_source(
        self, customer_id: CustomerId, rag_id: RagId, source_id: SourceId
    ) -> Source:
        """Fetch again, or try again after an error; what is live answers meanwhile. QueueFull."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _lock(tx, customer_id=customer_id, rag_id=rag_id, alone=False)
            await sources.refresh(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
            source = await _source(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
            await quotas.check_queue(tx, customer_id=customer_id, limits=self._limits)
        await self._bell.ring()
        return source

    async def _insert(
        self, tx: Tx, *, customer_id: CustomerId, rag_id: RagId, new: NewSources
    ) -> None:
        if not new.total:
            return
        names = await files.names(tx, customer_id=customer_id, file_ids=new.file_ids)
        if missing := [file_id for file_id in new.file_ids if file_id not in names]:
            details = _issues("storage_file_ids", map(str, missing), "there is no such file")
            raise StorageFileNotFound("Some files do not exist.", details=details)
        attributes = attributes_of(new)
        rows = [
            NewSource(name=names[file_id], file_id=file_id, attributes=attributes(file_id))
            for file_id in dict.fromkeys(new.file_ids)
        ]
        for upload in new.uploads:
            file = await files.insert(
                tx, customer_id=customer_id, upload=upload, type="rag", kept=False
            )
            given = attributes(upload.filename)
            rows.append(NewSource(name=file.name, file_id=file.id, attributes=given))
        urls = {_url_key(url): url for url in reversed(new.urls)}  # the first spelling counts
        rows += [
            NewSource(name=url[:255], url=url, url_key=_url_key(url), attributes=attributes(url))
            for url in new.urls
            if urls[_url_key(url)] is url
        ]
        there = await sources.insert(tx, customer_id=customer_id, rag_id=rag_id, sources=rows)
        if details := _given_twice(new) + _there_already(there):
            raise SourceExists(
                "Some sources are in the RAG already or given twice; nothing was added.",
                details=details,
            )
        total = await sources.total(tx, customer_id=customer_id, rag_id=rag_id)
        if total > self._limits.rag_sources_max:
            raise TooManySources(
                f"A RAG holds at most {self._limits.rag_sources_max} sources: make another one."
            )
        await quotas.check_sources(tx, customer_id=customer_id, limits=self._limits)

    def _text_issues(self, *, name: str | None, description: str | None) -> Details:
        details = []
        limit = self._limits.name_characters_max
        if name is not None and not 1 <= len(clean_text(name).strip()) <= limit:
            details.append(Detail(field="name", issue=f"must have 1 to {limit} characters"))
        limit = self._limits.description_characters_max
        if description is not None and len(description) > limit:
            details.append(Detail(field="description", issue=f"at most {limit} characters"))
        return details

    def _chunking(self, new: NewRag, *, model: str) -> tuple[int, int]:
        """Length and overlap. The engine's overlap was measured with the engine's length, so who
        names a length gets the overlap that is named with it, or none."""
        overlap = new.chunk_overlap_tokens
        if new.chunk_tokens is not None:
            return new.chunk_tokens, overlap or 0
        most = profiles.tokens_max(self._registry, model=model)
        chunk_tokens = min(self._settings.chunk_tokens, most)
        if overlap is None:
            overlap = min(self._settings.chunk_overlap_tokens, max(chunk_tokens // 2, 0))
        return chunk_tokens, overlap

    def _check_sources(self, new: NewSources, *, details: Details) -> None:
        if new.total > self._limits.request_sources_max:
            raise TooManySources(
                f"A request carries at most {self._limits.request_sources_max} sources: "
                "add the rest with POST /rags/{id}/sources."
            )
        details += attribute_issues(new, limits=self._limits)
        for number, url in enumerate(new.urls):
            try:
                check_url(
                    url,
                    characters_max=self._limits.url_characters_max,
                    allow_list=self._allow_list,
                )
            except UrlError as error:
                details.append(Detail(field=f"source_urls[{number}]", issue=str(error)))
        _raise_if(details)


def _raise_if(details: Details) -> None:
    if details:
        raise InvalidRequest("The request has invalid fields.", details=tuple(details))


def _given_twice(new: NewSources) -> tuple[Detail, ...]:
    keys = Counter(normalise_url(url) for url in new.urls)
    urls = [url for url in new.urls if keys[normalise_url(url)] > 1]
    ids = [str(file_id) for file_id, times in Counter(new.file_ids).items() if times > 1]
    issue = "given twice in this request"
    return _issues("source_urls", urls, issue) + _issues("storage_file_ids", ids, issue)


def _there_already(there: Sequence[NewSource]) -> tuple[Detail, ...]:
    urls = [source.url for source in there if source.url]
    ids = [str(source.file_id) for source in there if source.file_id]
    issue = "is a source of this RAG already"
    return _issues("source_urls", urls, issue) + _issues("storage_file_ids", ids, issue)


def _issues(field: str, values: Iterable[str], issue: str) -> tuple[Detail, ...]:
    return tuple(Detail(field=field, issue=f"{value}: {issue}") for value in values)


def _url_key(url: str) -> bytes:
    return hashlib.sha256(normalise_url(url).encode()).digest()


async def _lock(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, alone: bool) -> None:
    strength: Literal["share", "update"] = "update" if alone else "share"
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength=strength):
        raise RagNotFound("There is no such RAG.")


async def _expect(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> None:
    if not await rags.exists(tx, customer_id=customer_id, rag_id=rag_id):
        raise RagNotFound("There is no such RAG.")


async def _full(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> Rag:
    return await _filled(tx, await rags.get(tx, customer_id=customer_id, rag_id=rag_id))


async def _filled(tx: Tx, rag: Rag | None) -> Rag:
    if rag is None:
        raise RagNotFound("There is no such RAG.")
    changing = await _changing(tx, customer_id=rag.customer_id, of=[rag])
    return await _with(tx, rag, change=changing.get(rag.id), sources_max=SOURCES_IN_RAG)


async def _changing(tx: Tx, *, customer_id: CustomerId, of: Sequence[Rag]) -> dict[RagId, Change]:
    ids = [rag.id for rag in of if rag.is_changing]
    return await changes.of_rags(tx, customer_id=customer_id, rag_ids=ids, named_max=BLOCKING_NAMED)


async def _with(tx: Tx, rag: Rag, *, change: Change | None, sources_max: int) -> Rag:
    if not rag.counts.total:
        return msgspec.structs.replace(rag, change=change)
    first = await sources.page(tx, customer_id=rag.customer_id, rag_id=rag.id, limit=sources_max)
    return msgspec.structs.replace(rag, sources=tuple(first), change=change)


async def _source(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> Source:
    await _expect(tx, customer_id=customer_id, rag_id=rag_id)
    source = await sources.get(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
    if source is None:
        raise SourceNotFound("There is no such source in this RAG.")
    return source
