"""A filter that leaves many sources is asked of what was ranked: with the same answers as a list of
those sources, whatever share of a RAG it leaves."""

import pytest
from fix_store import Store
from fix_words import ask, delete, wordy

from engine import retrieval
from engine.filters import Comparison, Operator, Predicate, predicate
from engine.hits import Mode
from engine.models import CustomerId, RagId, SourceId
from engine.retrieval import Candidates, Question, candidates
from engine.store import attributes, postings, targets
from engine.store.termcache import TermCache

pytestmark = pytest.mark.anyio

SOURCES = 60
SHARES = (1, 3, 10, 30, 59, 60)


def below(share: int) -> Predicate:
    """Of sources that are numbered from 0."""
    return predicate(Comparison(operator=Operator.LT, key="number", values=(share,)))


async def numbered(store: Store) -> tuple[CustomerId, RagId]:
    """Of each 60 sources one passage says kettle, more or less often; some more are deleted."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for number in range(SOURCES + 5):
        texts = ["kettle " * (number % 7 + 1), f"cup {number}"]
        made = await wordy(store, customer_id, rag_id, texts)
        at = number * 37 % SOURCES if number < SOURCES else 0
        await store.execute(
            "UPDATE sources SET attributes = jsonb_build_object('number', %(at)s::int)"
            " WHERE id = %(id)s",
            at=at,
            id=made.source_id,
        )
        if number >= SOURCES:
            await delete(store, customer_id, rag_id, made.source_id)
    await store.execute(
        "INSERT INTO chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,"
        " profile_id, start_offset, end_offset, tokens, headings, text, embedding_key, embedding)"
        " SELECT id, generation_live, n, customer_id, rag_id, source_id, profile_id, n, n + 1, 1,"
        " '{}', 'a', uuid_send(id), '[1,0]' FROM indexes, generate_series(0, 1) n"
        " WHERE generation_live IS NOT NULL"
    )
    return customer_id, rag_id


async def found(
    store: Store,
    customer_id: CustomerId,
    rag_id: RagId,
    *,
    wanted: Predicate,
    source_ids: list[SourceId],
    limit: int,
) -> Candidates:
    asking = targets.asking(store.api, customer_id=customer_id, rag_id=rag_id, filtered=True)
    async with asking as (tx, target):
        assert target
        question = Question(
            customer_id=customer_id,
            rag_id=rag_id,
            target=target,
            text="kettle",
            mode=Mode.LEXICAL,
            source_ids=source_ids,
            predicate=wanted,
        )
        return await candidates(
            tx,
            question=question,
            vector=None,
            limit=limit,
            count=limit,
            exact_chunks_max=5,
            terms=TermCache(),
        )


@pytest.mark.parametrize("limit", [8, 100])
async def test_the_best_by_words_of_what_matches_are_those_of_a_list(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Be they among the best of all, or so few that the list is sent after all."""
    monkeypatch.setattr(retrieval, "SENT_SOURCES_MAX", 2)
    monkeypatch.setattr(retrieval, "SPARE", 2)
    customer_id, rag_id = await numbered(store)
    sent: list[bool] = []
    whole, restricted = postings.gathered, postings.restrict

    async def gathered(*args, **kwargs):
        sent.append(False)
        return await whole(*args, **kwargs)

    async def restrict(*args, **kwargs):
        sent[-1] = True
        await restricted(*args, **kwargs)

    for share in SHARES:
        async with store.api.transaction(customer_id=customer_id) as tx:
            source_ids = await attributes.matching(
                tx, customer_id=customer_id, rag_id=rag_id, predicate=below(share)
            )
        assert len(source_ids) == share
        expected = await ask(
            store, customer_id, rag_id, "kettle", limit=limit, source_ids=source_ids
        )
        with monkeypatch.context() as patch:
            patch.setattr(postings, "gathered", gathered)
            patch.setattr(postings, "restrict", restrict)
            got = await found(
                store, customer_id, rag_id, wanted=below(share), source_ids=source_ids, limit=limit
            )
        assert [
            (each.index_id, each.generation, each.ordinal, each.lexical) for each in got.found
        ] == [(each.index_id, each.generation, each.ordinal, each.score) for each in expected]
        assert len(got.found) == min(limit, share)
    assert set(sent) == {True, False}
    assert not sent[-1], "a filter that leaves all was sent as a list"
