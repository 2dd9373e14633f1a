"""Filters as the database evaluates them: always what the plain evaluator says, whatever is in keys
and values; and the sources that they select."""

from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from fix_services import own_database
from fix_store import Store
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_filter import holds

from engine.filters import ORDERING, Comparison, Filter, Group, Joint, Operator, predicate
from engine.local import Services
from engine.models import CustomerId, RagId, SourceId
from engine.store import acquisition, attributes, sources
from engine.store.sources import NewSource

pytestmark = pytest.mark.anyio

# Keys as the rules allow them, and such as never pass: what is written must be safe by itself.
WORST = "\"\\$@?()!&|*[]{}.,:;/'`%\n\t\x7f\u0080\u2028\ud7ff\ue000\uffff\U00010000\U0010ffffä"
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(WORST)
TEXTS = st.text(LETTERS, max_size=6) | st.sampled_from(
    ["", "5", "true", "null", "a", "A", "\\u0041"]
)
KEYS = st.sampled_from(["a", "b", "key", "x.y", "$"]) | TEXTS
NUMBERS = (
    st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 1, 1.0, 5, 0.1, 5e-324, 1.7976931348623157e308, -1e23, 2**53])
)
SCALARS = st.booleans() | NUMBERS | TEXTS
ORDERED = NUMBERS | TEXTS
ATTRIBUTES = st.dictionaries(KEYS, SCALARS | st.lists(TEXTS, max_size=4), max_size=6)


def comparison(operator: Operator, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    return st.builds(Comparison, operator=st.just(operator), key=KEYS, values=values)


LEAVES = st.one_of(
    *[
        comparison(operator, st.tuples(ORDERED if operator in ORDERING else SCALARS))
        for operator in Operator
        if operator is not Operator.IN
    ],
    comparison(Operator.IN, st.lists(SCALARS, min_size=1, max_size=5).map(tuple)),
)
FILTERS = st.recursive(
    LEAVES,
    lambda parts: st.builds(
        Group,
        joint=st.sampled_from(Joint),
        parts=st.lists(parts, min_size=1, max_size=4).map(tuple),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def connection(services: Services, template_database: str) -> Any:
    """One for the module: nothing is stored, the database is asked to compute."""
    with own_database(services, template=template_database) as url, psycopg.connect(url) as made:
        yield made


def one(operator: Operator, value: object, *, key: str = "a") -> Comparison:
    return Comparison(operator=operator, key=key, values=(value,))  # type: ignore[arg-type]


@settings(max_examples=200)
@given(wanted=FILTERS, documents=st.lists(ATTRIBUTES, min_size=1, max_size=12))
@example(wanted=one(Operator.EQ, '"\\'), documents=[{"a": '"\\'}, {"a": "\\"}])
@example(wanted=one(Operator.EQ, 1), documents=[{"a": True}, {"a": "1"}, {"a": 1.0}, {"a": ["1"]}])
@example(wanted=one(Operator.LT, "\U00010000"), documents=[{"a": "\uffff"}, {"a": "\U0010ffff"}])
@example(wanted=one(Operator.NE, "x"), documents=[{}, {"a": "x"}, {"a": []}, {"a": ["y", "x"]}])
@example(wanted=one(Operator.GT, 5e-324), documents=[{"a": 0}, {"a": 1e-323}, {"a": "9"}])
def test_the_database_finds_what_the_plain_evaluator_finds(
    connection: Any, wanted: Filter, documents: list[dict[str, Any]]
) -> None:
    asked = predicate(wanted)
    rows = connection.execute(
        "SELECT jsonb_path_match(d, %(path)s::jsonpath, %(values)s::jsonb)"
        " FROM unnest(%(documents)s::jsonb[]) WITH ORDINALITY AS t (d, n) ORDER BY n",
        {
            "path": asked.path,
            "values": attributes.as_json(asked.values),
            "documents": [msgspec.json.encode(each).decode() for each in documents],
        },
    ).fetchall()
    assert [row[0] for row in rows] == [holds(wanted, each) for each in documents]


@settings(max_examples=100)
@given(given_attributes=ATTRIBUTES)
def test_attributes_come_back_as_they_were_given(
    connection: Any, given_attributes: dict[str, Any]
) -> None:
    (text,) = connection.execute(
        "SELECT %s::jsonb::text", [attributes.as_json(given_attributes)]
    ).fetchone()
    found = attributes.as_stored(msgspec.json.decode(text))
    assert found == given_attributes
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in given_attributes.items()
    }


# Which sources -----------------------------------------------------------------------------------


async def source(
    store: Store, customer_id: CustomerId, rag_id: RagId, **given_attributes: object
) -> SourceId:
    url = f"https://example.org/{uuid4()}"
    new = NewSource(name=url, url=url, url_key=url.encode(), attributes=given_attributes)  # type: ignore[arg-type]
    await store.do(sources.insert, customer_id=customer_id, rag_id=rag_id, sources=[new])
    rows = await store.fetch("SELECT id FROM sources WHERE url = %(url)s", url=url)
    return SourceId(rows[0]["id"])


async def matching(
    store: Store, customer_id: CustomerId, rag_id: RagId, wanted: Filter, **more: Any
) -> set[SourceId]:
    async with store.api.transaction(customer_id=customer_id) as tx:
        found = await attributes.matching(
            tx, customer_id=customer_id, rag_id=rag_id, predicate=predicate(wanted), **more
        )
    assert len(found) == len(set(found))
    return set(found)


async def test_live_sources_of_the_rag_are_selected_and_no_others(store: Store) -> None:
    mine, theirs = await store.customer(), await store.customer("another")
    rag_id, beside = await store.rag(mine), await store.rag(mine)
    foreign = await store.rag(theirs)
    wanted = one(Operator.EQ, "de", key="language")
    kept = await source(store, mine, rag_id, language="de")
    listed = await source(store, mine, rag_id, language=["en", "de"])
    gone = await source(store, mine, rag_id, language="de")
    await source(store, mine, rag_id, language="en")
    await source(store, mine, rag_id)
    await source(store, mine, beside, language="de")
    away = await source(store, theirs, foreign, language="de")
    await store.do(sources.mark_deleted, customer_id=mine, rag_id=rag_id, source_ids=[gone])
    assert await matching(store, mine, rag_id, wanted) == {kept, listed}
    assert await matching(store, mine, rag_id, wanted, source_ids=[kept, gone, away]) == {kept}
    assert await matching(store, mine, foreign, wanted) == set()
    assert await matching(store, mine, rag_id, wanted, source_ids=[gone]) == set()


async def test_a_new_source_has_no_attributes_until_they_are_set(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    source_id = await store.source(customer_id, rag_id)
    key = {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id}
    found = await store.do(sources.get, **key)
    assert found
    assert found.attributes == {}
    described = {"n": 1e300, "tags": ["a"], "flag": True, "text": "ü"}
    assert await store.do(attributes.describe, **key, name=None, attributes=described)
    again = await store.do(sources.get, **key)
    assert again
    assert again.attributes == {**described, "tags": ("a",)}
    assert (again.name, again.updated_at > found.updated_at) == (found.name, True)


async def test_a_name_that_its_owner_gave_is_not_replaced_by_a_title(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    source_id = await store.source(customer_id, rag_id)
    key = {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id}
    await store.do(attributes.describe, **key, name=None, attributes={"a": 1})
    assert (await store.source_row(source_id))["name_given"] is False
    await store.do(attributes.describe, **key, name="Mine", attributes=None)
    claim = await store.claimed_source()
    await store.do(acquisition.acquired, claim=claim, name="A title", original_bytes=0)
    row = await store.source_row(source_id)
    assert (row["name"], row["attributes"]) == ("Mine", {"a": 1})
