"""Stage 3 to 5 of an index: cut a document into passages, embed them, store them, switch.

Batch by batch: how far it got is in the rows, and who takes over goes on from there. Not here: what
an error means, and when there is work (`ingest`).
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.config import Settings
from engine.embedding import AsyncEmbedder, Models
from engine.errors import Superseded
from engine.models import Document, Passage, Stage
from engine.store import (
    Database,
    changes,
    chunks,
    documents,
    indexes,
    ragindexes,
    rags,
    retired,
    segments,
)
from engine.store.claims import ClaimedIndex
from engine.store.rags import IndexProfile, Profile
from engine.store.segments import NewSegment
from workers.chunk import chunk
from workers.failpoint import Failpoint
from workers.stages import Stages
from workers.words import words

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]

BATCH_PASSAGES = 64  # one transaction and one renewal of progress: about a third of a second
TWIN_WAIT_S = 0.1


class _Work(NamedTuple):
    """What is filled: the passages from `first` on are to be embedded and stored."""

    claim: ClaimedIndex
    passages: Sequence[Passage]
    first: int
    model: AsyncEmbedder
    stages: Stages


class Builder:
    """Makes documents searchable. One for each worker process."""

    def __init__(
        self, *, database: Database, models: Models, failpoint: Failpoint, settings: Settings
    ) -> None:
        self._database = database
        self._models = models
        self._failpoint = failpoint
        self._limits = settings.limits

    async def build(
        self, claim: ClaimedIndex, *, document: Document | None, stages: Stages
    ) -> None:
        """`document` is read from the rows when it is None.

        Raises SourceError, Unavailable or Superseded.
        """
        given = await self._given(claim, document=document)
        if given is None:
            raise Superseded
        profile, document = given
        model = await self._models.open(profile.embedding_model)
        with stages.at(Stage.CHUNK):
            passages = await self._chunk(document, profile=profile, model=model)
        self._failpoint.hit("chunk", text=document.text)
        first = await self._resume(claim, passages=passages)
        await self._fill(
            _Work(claim=claim, passages=passages, first=first, model=model, stages=stages)
        )
        made = await self._words(document, passages=passages, usual_length=profile.usual_length)
        async with self._database.transaction() as tx:
            await indexes.finish(tx, claim=claim, chunk_count=len(passages))
            await segments.add(tx, claim=claim, made=made)
            self._failpoint.hit("finishing")
        self._failpoint.hit("finish")
        if profile.is_next:
            await self._switch(claim)
        seconds = {f"{stage}_s": round(spent, 3) for stage, spent in stages.seconds.items()}
        log.info("ready", extra={"chunks": len(passages), "resumed_at": first, **seconds})

    async def _switch(self, claim: ClaimedIndex) -> None:
        """Let the RAG answer by its next profile if this was the last index that it waited for. If
        it does not come to that here, the sweep sees to it."""
        async with self._database.transaction() as tx:
            switched = await changes.may_switch(tx, claim=claim) and await changes.switch(
                tx, customer_id=claim.customer_id, rag_id=claim.rag_id
            )
            if switched:
                self._failpoint.hit("switching")
        if switched:
            self._failpoint.hit("switched")
            log.info("switched", extra={"rag": str(claim.rag_id)})

    async def _given(
        self, claim: ClaimedIndex, *, document: Document | None
    ) -> tuple[IndexProfile, Document] | None:
        """What is to be built, once it may be; None when nobody wants it any more."""
        async with self._database.transaction() as tx:
            if await retired.park(tx, claim=claim):
                return None
            profile = await rags.profile_of_index(tx, claim=claim)
            if document is None:
                document = await documents.get(
                    tx,
                    customer_id=claim.customer_id,
                    source_id=claim.source_id,
                    revision=claim.generation,
                )
            if profile is None or document is None:
                raise Superseded
            await ragindexes.admit(tx, claim=claim, text=document.text, limits=self._limits)
        return profile, document

    async def _chunk(
        self, document: Document, *, profile: Profile, model: AsyncEmbedder
    ) -> Sequence[Passage]:
        return await asyncio.to_thread(
            chunk,
            document,
            spans=model.tokenizer,
            chunk_tokens=profile.chunk_tokens,
            overlap_tokens=profile.chunk_overlap_tokens,
            tokens_max=model.spec.tokens_max,
            special_tokens=model.tokenizer.special_tokens,
            chunks_max=self._limits.document_chunks_max,
        )

    async def _resume(self, claim: ClaimedIndex, *, passages: Sequence[Passage]) -> int:
        """Where to go on: behind what an earlier attempt has stored of this very generation.

        A generation that another version of the chunker began is started over.
        """
        async with self._database.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            stored = await chunks.stored(tx, claim=claim)
            fits = stored.count == stored.last + 1 <= len(passages) and (
                stored.count == 0 or passages[stored.last].end == stored.end
            )
            if not fits:
                await chunks.drop_generation(tx, claim=claim)
            first = stored.count if fits else 0
            await indexes.progress(
                tx, claim=claim, stage=Stage.EMBED, done=first, total=len(passages)
            )
        return first

    async def _words(
        self, document: Document, *, passages: Sequence[Passage], usual_length: int | None
    ) -> list[NewSegment]:
        """Of all passages, those of earlier attempts as well: it takes less than reading them."""
        if usual_length is None:
            return []
        return await asyncio.to_thread(
            words, document, passages=passages, usual_length=usual_length
        )

    async def _fill(self, work: "_Work") -> None:
        # Not a batch ahead: a crash would cost two. The model has other sources to go on with.
        for start in range(work.first, len(work.passages), BATCH_PASSAGES):
            batch = work.passages[start : start + BATCH_PASSAGES]
            keys = [_embedding_key(work.model, passage.embedded) for passage in batch]
            made = await self._embed(work, batch=batch, keys=keys)
            await self._store(work, batch=batch, keys=keys, made=made)

    async def _embed(
        self, work: "_Work", *, batch: Sequence[Passage], keys: Sequence[bytes]
    ) -> dict[bytes, Vector]:
        """The vectors of a batch by key."""
        with work.stages.at(Stage.EMBED):
            texts = {key: each.embedded for key, each in zip(keys, batch, strict=True)}
            known = await self._known(work, keys=list(texts))
            fresh = {key: text for key, text in texts.items() if key not in known}
            if fresh:
                vectors = await work.model.embed(list(fresh.values()))
                known |= dict(zip(fresh, vectors, strict=True))
                log.info("embedded", extra={"passages": len(fresh)})
        return known

    async def _store(
        self,
        work: "_Work",
        *,
        batch: Sequence[Passage],
        keys: Sequence[bytes],
        made: Mapping[bytes, Vector],
    ) -> None:
        with work.stages.at(Stage.STORE):
            async with self._database.transaction() as tx:
                await indexes.hold(tx, claim=work.claim)
                await indexes.progress(
                    tx,
                    claim=work.claim,
                    stage=Stage.EMBED,
                    done=batch[-1].ordinal + 1,
                    total=len(work.passages),
                )
                await chunks.insert(
                    tx,
                    claim=work.claim,
                    passages=batch,
                    keys=keys,
                    vectors=np.stack([made[key] for key in keys]),
                )
                self._failpoint.hit("batch")
        self._failpoint.hit("store")

    async def _known(self, work: "_Work", *, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Vectors that this customer has already. Those that a twin is about to make are waited
        for: a source and its rag index often become due together, and would both pay."""
        while True:
            async with self._database.transaction() as tx:
                waits = await ragindexes.twin_at_work(tx, claim=work.claim)
                known = await chunks.reusable(
                    tx,
                    customer_id=work.claim.customer_id,
                    keys=keys,
                    dimensions=work.model.spec.dimensions,
                )
            if not waits or len(known) == len(keys):
                return known
            await asyncio.sleep(TWIN_WAIT_S)


def _embedding_key(model: AsyncEmbedder, embedded: str) -> bytes:
    """Identical for the same string under the same model and version, for no other."""
    identity = f"{model.spec.name}\0{model.spec.version}\0{embedded}"
    return hashlib.sha256(identity.encode()).digest()
