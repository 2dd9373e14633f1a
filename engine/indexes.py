"""Verbs about rag indexes: an index of a document under a public model name, made on request.

A rag index is one of the engine's indexes; workers build it as any other. What does not live here:
what its status follows from (entries), building (workers), the one that a RAG answers from.
"""

from collections.abc import Sequence
from uuid import UUID, uuid5

from engine.config import Limits
from engine.embedding import Registry
from engine.entries import (
    RagIndex,
    RagIndexOverview,
    RagIndexRequest,
    RagIndexStatus,
    entry_id_of,
)
from engine.errors import (
    CallerError,
    Detail,
    InvalidRequest,
    RagIndexNotFound,
    SourceNotFound,
)
from engine.jobs import Bell
from engine.models import CustomerId, IndexId, Noun, RagId, SourceId
from engine.store import Database, Tx, ragindexes, rags
from engine.store.ragindexes import Pair, PublicModel, RagIndexRow

Answers = list[RagIndex | CallerError]

REQUESTS_MAX = 100  # of one batch


class Indexes:
    """`registry` knows which engine model a public name stands for."""

    def __init__(
        self, *, database: Database, bell: Bell, registry: Registry, limits: Limits
    ) -> None:
        self._database = database
        self._bell = bell
        self._registry = registry
        self._limits = limits

    async def ensure(self, customer_id: CustomerId, requests: Sequence[RagIndexRequest]) -> Answers:
        """One answer for each request, in order; 1 to 100 of them. Idempotent: what is there is
        told as it is, what is missing is made where that was asked for.

        A document that is unknown, or an index that is not to be made, is an error in its own
        place. Raises InvalidRequest for the number of requests or an unknown model. The number of
        statements does not depend on the number of requests.
        """
        if not 1 <= len(requests) <= REQUESTS_MAX:
            issue = f"must have 1 to {REQUESTS_MAX} items"
            raise InvalidRequest(
                "A batch is empty or too large.", details=(Detail(field="items", issue=issue),)
            )
        models = {name: self._public(name) for name in {request.model for request in requests}}
        async with self._database.transaction(customer_id=customer_id) as tx:
            seen = await _look(tx, customer_id=customer_id, requests=requests)
            work = _work(requests, seen=seen, models=models)
            changed = await self._change(tx, customer_id=customer_id, work=work)
            if work.any:
                seen = await _look(tx, customer_id=customer_id, requests=requests)
        if changed:
            await self._bell.ring()
        return [seen.answer(request) for request in requests]

    async def compute(self, customer_id: CustomerId, entry_id: UUID, *, model: str) -> RagIndex:
        """The index of this document, made if it is missing. Raises SourceNotFound."""
        request = RagIndexRequest(document_id=str(entry_id), model=model, create_if_missing=True)
        answer = (await self.ensure(customer_id, [request]))[0]
        if isinstance(answer, CallerError):
            raise answer
        return answer

    async def list(self, customer_id: CustomerId, entry_id: UUID) -> tuple[RagIndex, ...]:
        """Of a document, in the order in which they were made; a folder has none."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _rag_id(tx, customer_id=customer_id, entry_id=entry_id)
            rows = await ragindexes.of_sources(
                tx, customer_id=customer_id, source_ids=[SourceId(entry_id)]
            )
        return tuple(row.noun() for row in rows)

    async def delete(self, customer_id: CustomerId, entry_id: UUID, index_id: IndexId) -> RagIndex:
        """The index as it was. Nobody reads it after this, and a worker that builds it stops."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            rag_id = await _rag_id(tx, customer_id=customer_id, entry_id=entry_id)
            if rag_id is None:
                raise RagIndexNotFound("A folder has no rag index.")
            await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update")
            rows = await ragindexes.of_sources(
                tx, customer_id=customer_id, source_ids=[SourceId(entry_id)]
            )
            row = next((row for row in rows if row.id == index_id), None)
            if row is None:
                raise RagIndexNotFound("There is no such rag index of this document.")
            await ragindexes.bury(tx, customer_id=customer_id, index_id=index_id)
        return row.noun()

    async def overview(self, customer_id: CustomerId) -> RagIndexOverview:
        """What this customer's rag indexes count against its limit."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            used = await ragindexes.used_bytes(tx, customer_id=customer_id)
        return RagIndexOverview(
            used_bytes=sum(used.values()),
            bytes_max=self._limits.customer_indexed_bytes_max,
            models=used,
        )

    def _public(self, name: str) -> PublicModel:
        spec = self._registry.public(name)
        return PublicModel(name=name, embedding_model=spec.name, tokens_max=spec.tokens_max)

    async def _change(self, tx: Tx, *, customer_id: CustomerId, work: "_Work") -> bool:
        """Make what is missing and try again what may work now; whether a worker should look."""
        if not work.any:
            return False
        await ragindexes.lock(
            tx, customer_id=customer_id, rag_ids=[*work.rag_ids], source_ids=[*work.source_ids]
        )
        changed = 0
        if work.missing:
            changed += await ragindexes.insert(tx, customer_id=customer_id, pairs=work.missing)
        if work.failed:
            changed += await ragindexes.retry(
                tx,
                customer_id=customer_id,
                ids=[row.id for row in work.failed],
                bytes_max=self._limits.customer_indexed_bytes_max,
            )
        return changed > 0


class _Seen(Noun, frozen=True, kw_only=True):
    """What is there of a batch. `rag_ids`: of each entry that exists, None for a folder."""

    rag_ids: dict[UUID, RagId | None]
    rows: dict[tuple[UUID, str], RagIndexRow]

    def answer(self, request: RagIndexRequest) -> RagIndex | CallerError:
        entry_id = entry_id_of(request.document_id)
        if entry_id is None or entry_id not in self.rag_ids:
            return SourceNotFound("There is no such document.")
        if self.rag_ids[entry_id] is None:
            return _of_folder(entry_id, model=request.model)
        row = self.rows.get((entry_id, request.model))
        if row is None:
            return RagIndexNotFound("The document has no index under this model.")
        return row.noun()


class _Work(Noun, frozen=True, kw_only=True):
    """What a batch asks to be made, and which failed indexes it asks for again."""

    missing: tuple[Pair, ...]
    failed: tuple[RagIndexRow, ...]
    seen: _Seen

    @property
    def any(self) -> bool:
        return bool(self.missing or self.failed)

    @property
    def source_ids(self) -> set[SourceId]:
        return {pair.source_id for pair in self.missing} | {row.source_id for row in self.failed}

    @property
    def rag_ids(self) -> set[RagId]:
        rag_ids = (self.seen.rag_ids[source_id] for source_id in self.source_ids)
        return {rag_id for rag_id in rag_ids if rag_id}


async def _look(tx: Tx, *, customer_id: CustomerId, requests: Sequence[RagIndexRequest]) -> _Seen:
    given = {entry_id_of(request.document_id) for request in requests}
    ids = [entry_id for entry_id in given if entry_id]
    found = await ragindexes.targets(tx, customer_id=customer_id, ids=ids)
    source_ids = [SourceId(target.id) for target in found if target.rag_id]
    rows = await ragindexes.of_sources(tx, customer_id=customer_id, source_ids=source_ids)
    return _Seen(
        rag_ids={target.id: target.rag_id for target in found},
        rows={(row.source_id, row.model): row for row in rows},
    )


def _work(
    requests: Sequence[RagIndexRequest], *, seen: _Seen, models: dict[str, PublicModel]
) -> _Work:
    missing: dict[tuple[UUID, str], Pair] = {}
    failed: dict[IndexId, RagIndexRow] = {}
    for request in requests:
        entry_id = entry_id_of(request.document_id)
        rag_id = seen.rag_ids.get(entry_id) if entry_id else None
        if entry_id is None or rag_id is None or not request.create_if_missing:
            continue
        row = seen.rows.get((entry_id, request.model))
        if row is None:
            model = models[request.model]
            pair = Pair(source_id=SourceId(entry_id), rag_id=rag_id, model=model)
            missing[entry_id, request.model] = pair
        elif row.may_work_now:
            failed[row.id] = row
    return _Work(missing=tuple(missing.values()), failed=tuple(failed.values()), seen=seen)


def _of_folder(folder_id: UUID, *, model: str) -> RagIndex:
    """No row stands for it, so its id comes from what it would be an index of."""
    return RagIndex(
        id=IndexId(uuid5(folder_id, model)),
        model=model,
        status=RagIndexStatus.CANNOT_INDEX_FOLDER,
    )


async def _rag_id(tx: Tx, *, customer_id: CustomerId, entry_id: UUID) -> RagId | None:
    """Of a source; None of a folder. Raises SourceNotFound."""
    found = await ragindexes.targets(tx, customer_id=customer_id, ids=[entry_id])
    if not found:
        raise SourceNotFound("There is no such document.")
    return found[0].rag_id
