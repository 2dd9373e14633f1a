"""What the database does for the statements of a function: their plans, beside many others' rows.

The tables hold what five thousand RAGs of others have, with statistics: nobody would want a plan
that reads all of one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from fix_services import copy_database, drop_database, on_database
from psycopg import sql

from engine.local import Services
from engine.store.database import Tx

EXPLAIN = "EXPLAIN (COSTS OFF) "
# 50 customers with 100 RAGs of 2 sources each: a text, an index and two chunks to each source, two
# live segments with two members and pages to each RAG. One in five members is dead.
CROWD = (
    "INSERT INTO customers (name) SELECT 'crowd' FROM generate_series(1, 50)",
    "INSERT INTO rags (customer_id, name) SELECT id, 'crowd' FROM customers"
    " CROSS JOIN generate_series(1, 100) WHERE name = 'crowd'",
    "INSERT INTO profiles (customer_id, rag_id, embedding_model, chunk_tokens,"
    " chunk_overlap_tokens) SELECT customer_id, id, 'a-model', 200, 0 FROM rags"
    " WHERE profile_live IS NULL",
    "UPDATE rags r SET profile_live = p.id FROM profiles p"
    " WHERE p.rag_id = r.id AND r.profile_live IS NULL",
    "INSERT INTO sources (customer_id, rag_id, url, name, state, due_at, revision)"
    " SELECT customer_id, id, 'https://example.org/', 'crowd', 'ready', NULL, 1"
    " FROM rags, generate_series(1, 2) WHERE name = 'crowd'",
    "INSERT INTO documents (source_id, revision, customer_id, rag_id, title, media_type, text,"
    " blocks, coverage) SELECT id, 1, customer_id, rag_id, 'a', 'text/plain', 'some text', '', '{}'"
    " FROM sources WHERE name = 'crowd'",
    "INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, generation,"
    " generation_live, chunk_count) SELECT s.customer_id, s.rag_id, s.id, r.profile_live, 'ready',"
    " 1, 1, 2 FROM sources s JOIN rags r ON r.id = s.rag_id WHERE s.name = 'crowd'",
    "INSERT INTO chunks (index_id, generation, ordinal, customer_id, rag_id, source_id, profile_id,"
    " start_offset, end_offset, tokens, headings, text, embedding_key, embedding)"
    " SELECT i.id, 1, n, i.customer_id, i.rag_id, i.source_id, i.profile_id, n, n + 1, 1, '{}',"
    " 'a', uuid_send(i.id), '[1,0,0,0]' FROM indexes i, generate_series(0, 1) n"
    " WHERE i.chunk_count = 2",
    "INSERT INTO segments (customer_id, profile_id, state, chunk_count, analysers, changed_at)"
    " SELECT customer_id, profile_live, 'live', 4 ^ n, '{en.1}', now() - interval '1 hour'"
    " FROM rags, generate_series(1, 2) n WHERE name = 'crowd'",
    "INSERT INTO segment_members (segment_id, first_number, chunk_count, first_ordinal,"
    " customer_id, profile_id, index_id, generation, analyser)"
    " SELECT s.id, n, 1, 0, s.customer_id, s.profile_id, i.id, 1, 'en.1' FROM segments s"
    " CROSS JOIN LATERAL (SELECT id, row_number() OVER () AS n FROM indexes"
    "                     WHERE profile_id = s.profile_id LIMIT 2) i",
    "INSERT INTO postings (segment_id, first_term, last_term, customer_id, content)"
    " SELECT id, n * 10, n * 10 + 5, customer_id, '' FROM segments, generate_series(1, 2) n",
    "INSERT INTO dead_members (member_id, customer_id, profile_id, died_at)"
    " SELECT id, customer_id, profile_id, now() - interval '1 hour' FROM segment_members"
    " WHERE id % 5 = 0",
    "VACUUM ANALYZE",
)


@pytest.fixture(scope="module")
def template_database(services: Services, template_database: str) -> Iterator[str]:
    """What the databases of a module's tests are copies of: one with what others have in it."""
    name = f"{template_database}_crowded"
    copy_database(services, template=template_database, name=name)
    with psycopg.connect(on_database(services.admin_url, database=name), autocommit=True) as admin:
        for statement in CROWD:
            admin.execute(statement)
    yield name
    drop_database(services, name=name)


class Explained:
    """The plans of what is executed on a connection, before it is."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], *, prefix: str) -> None:
        self.plans: list[str] = []
        self._execute = connection.execute
        self._prefix = prefix

    async def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        if isinstance(query, sql.Composable):
            query = query.as_string(None)
        text = query if isinstance(query, str) else query.decode()
        if "set_config" not in text:
            cursor = await self._execute(self._prefix + text, params, prepare=False)
            self.plans.append("\n".join(row["QUERY PLAN"] for row in await cursor.fetchall()))
        return await self._execute(query, params, **more)


@contextmanager
def explained(
    tx: Tx, monkeypatch: pytest.MonkeyPatch, *, prefix: str = EXPLAIN
) -> Iterator[list[str]]:
    spy = Explained(tx.connection, prefix=prefix)
    with monkeypatch.context() as patch:
        patch.setattr(tx.connection, "execute", spy.execute)
        yield spy.plans


def whole_tables(plan: str) -> set[str]:
    """The tables that a plan reads from one end to the other, of those that others fill."""
    return set(re.findall(r"Seq Scan on (\w+)", plan)) - {"ann_tables", "files", "folders"}
