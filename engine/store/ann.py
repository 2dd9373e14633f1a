"""ANN tables, from the background's side: made, filled up, tidied and dropped; never by a request.

A large profile has two: its live chunks once more, as entries, and their vectors in an HNSW graph,
where each stands once however many entries have it. Nodes at distance 0 keep links to each other
and to nobody else, so copies would take the graph apart. Building a graph at once is many times
cheaper than entering rows one by one, and a profile that goes takes its graph along.
`indexes.ann_generation` says which generation of an index is in it as a whole; what is not is
scanned beside it, so nothing here has to hurry. What is put in and taken out behind the building
stands in `annentries`, how the tables are asked in `near`.

Tables are made and dropped as the owner, who alone may; rows are moved as rag_worker, under the
policies of all other tables.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from engine.errors import Superseded
from engine.models import CustomerId, Noun, ProfileId
from engine.store.database import Tx

DIMENSIONS_MAX = 4_000  # of halfvec in HNSW; larger vectors are scanned
LOCK_TIMEOUT_MS = 1_000  # nobody who asks waits for long behind a table that is to be dropped
# Without a vote of autovacuum: vacuuming a graph takes minutes where building it anew takes less.
LINKS = 16
BUILD_CANDIDATES = 200
# One for so many entries is enough: docs/decisions/0011-two-statements.md
CENTRE_ENTRIES = 1_000
CENTRES = (10, 200)
# Names a vector by its content. Of halfvecs of the same bits; what is only as near is another one.
VECTOR_ID = "encode(substr(sha256(halfvec_send(c.embedding)), 1, 16), 'hex')::uuid"


class MixedDimensions(Exception):
    """Another model took the name of this profile's: its vectors do not fit into one graph."""


@contextmanager
def existing_table() -> Iterator[None]:
    """Around what is asked of an ANN table. Raises Superseded when it was dropped meanwhile."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise Superseded from error


class AnnTable(Noun, frozen=True, kw_only=True):
    """A table that may be asked."""

    profile_id: ProfileId
    customer_id: CustomerId
    number: int
    entries: int
    dead_entries: int

    @property
    def name(self) -> sql.Identifier:
        return table_name(self.number)

    @property
    def vectors(self) -> sql.Identifier:
        return vectors_name(self.number)


class Size(Noun, frozen=True, kw_only=True):
    """A profile that requests ask, and how much it answers by. `growing`: something of its RAG is
    worked at, or could be."""

    profile_id: ProfileId
    customer_id: CustomerId
    chunk_count: int
    growing: bool = False


def table_name(number: int) -> sql.Identifier:
    """Of the entries: which vector each chunk has."""
    return sql.Identifier(f"ann_{number}")


def vectors_name(number: int) -> sql.Identifier:
    """Of the vectors, those among them too whose entries have all gone."""
    return sql.Identifier(f"ann_{number}_vectors")


async def sole(tx: Tx, *, silent_s: float = 0.0) -> bool:
    """Take the builder's lock for this connection; as purge.sole, with a key of its own."""
    await tx.run(
        "SELECT set_config('idle_session_timeout', %(silent_ms)s, false)",
        {"silent_ms": str(round(silent_s * 1000))},
    )
    return await tx.value(bool, "SELECT pg_try_advisory_lock(7261043010)") or False


async def sizes(tx: Tx, *, chunks_min: int) -> list[Size]:
    """Profiles of at least `chunks_min` live chunks, the smallest first: they are done soonest."""
    return await tx.all(
        Size,
        """
        WITH large AS MATERIALIZED (
            SELECT profile_id FROM indexes WHERE generation_live IS NOT NULL
            GROUP BY profile_id HAVING sum(chunk_count) >= %(chunks_min)s
        )
        SELECT p.id AS profile_id, p.customer_id, sum(i.chunk_count)::bigint AS chunk_count,
               EXISTS (SELECT FROM indexes n WHERE n.profile_id = p.id
                       AND (n.due_at <= now() OR n.lease_until > now()))
               OR EXISTS (SELECT FROM sources n WHERE n.rag_id = p.rag_id AND n.deleted_at IS NULL
                          AND (n.due_at <= now() OR n.lease_until > now())) AS growing
        FROM large
        JOIN profiles p ON p.id = large.profile_id AND p.public_model IS NULL
                        AND p.retired_at IS NULL
        JOIN rags r ON r.id = p.rag_id
        JOIN indexes i ON i.profile_id = p.id AND i.generation_live IS NOT NULL
        JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
        WHERE r.deleted_at IS NULL
        GROUP BY p.id HAVING sum(i.chunk_count) >= %(chunks_min)s
        ORDER BY sum(i.chunk_count), p.id
        """,
        {"chunks_min": chunks_min},
    )


async def tables(tx: Tx) -> list[AnnTable]:
    return await tx.all(
        AnnTable,
        "SELECT profile_id, customer_id, number, entries, dead_entries FROM ann_tables"
        " ORDER BY number",
    )


async def dimensions(tx: Tx, *, customer_id: CustomerId, profile_id: ProfileId) -> int | None:
    """Of any of its live vectors."""
    return await tx.value(
        int,
        """
        SELECT vector_dims(c.embedding) FROM indexes i
        JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s LIMIT 1
        """,
        {"profile_id": profile_id, "customer_id": customer_id},
    )


async def build(
    owner: Tx,
    *,
    size: Size,
    dimensions: int,
    memory_bytes: int,
    processes: int,
    passed: Callable[[str], None],
) -> int:
    """Make a profile's table anew, in place of an older one; returns the number of entries.

    One transaction: killed at any moment, it leaves nothing behind. Nobody waits for its locks:
    whoever asks has the table before, and whoever ingests writes to other ones. `passed` is told
    each step. Raises MixedDimensions.
    """
    async with owner.connection.transaction():
        await owner.run(
            """
            SELECT set_config('maintenance_work_mem', %(memory_kb)s, true),
                   set_config('max_parallel_maintenance_workers', %(helpers)s, true)
            """,
            {"memory_kb": f"{memory_bytes // 1024}kB", "helpers": str(processes - 1)},
        )
        number = await owner.value(int, "SELECT nextval('ann_numbers')")
        assert number is not None
        await _create(owner, number=number, dimensions=dimensions, customer_id=size.customer_id)
        passed("created")
        entries = await _fill(owner, number=number, size=size)
        passed("filled")
        await _index(owner, number=number)
        passed("indexed")
        await _announce(owner, number=number, size=size, entries=entries)
        passed("announced")
    passed("built")
    return entries


async def _create(owner: Tx, *, number: int, dimensions: int, customer_id: CustomerId) -> None:
    for create in (
        sql.SQL(
            "CREATE TABLE {table} (index_id uuid NOT NULL, generation integer NOT NULL,"
            " ordinal integer NOT NULL, vector_id uuid NOT NULL) WITH (autovacuum_enabled = false)"
        ).format(table=table_name(number)),
        sql.SQL(
            "CREATE TABLE {table} (id uuid NOT NULL, embedding halfvec({dimensions}) NOT NULL)"
            " WITH (autovacuum_enabled = false)"
        ).format(table=vectors_name(number), dimensions=sql.Literal(dimensions)),
        sql.SQL("ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN").format(
            table=vectors_name(number)
        ),
    ):
        await owner.connection.execute(create)
    for table in (table_name(number), vectors_name(number)):
        await _protect(owner, table=table, customer_id=customer_id)


async def _protect(owner: Tx, *, table: sql.Identifier, customer_id: CustomerId) -> None:
    """All of it is one customer's, so the policy is decided once a statement."""
    for statement in (
        sql.SQL("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
        sql.SQL("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"),
        sql.SQL(
            "CREATE POLICY own_rows ON {table} TO rag_api USING ({customer_id}::uuid ="
            " (SELECT NULLIF(current_setting('rag_engine.customer_id', true), '')::uuid))"
        ),
        sql.SQL("CREATE POLICY all_rows ON {table} TO rag_worker, rag_operator USING (true)"),
        sql.SQL("GRANT SELECT ON {table} TO rag_api, rag_operator"),
        sql.SQL("GRANT SELECT, INSERT, DELETE ON {table} TO rag_worker"),
    ):
        await owner.connection.execute(
            statement.format(table=table, customer_id=sql.Literal(str(customer_id)))
        )


def _centres(entries: int) -> int:
    """Around how many of its vectors the entries of a table are put."""
    least, most = CENTRES
    return min(max(entries // CENTRE_ENTRIES, least), most)


async def _fill(owner: Tx, *, number: int, size: Size) -> int:
    """All live chunks of one moment: whatever is marked as being in a table is in this one too.

    Vectors with the same nearest centre stand together, and so do their nodes in the graph: who
    walks through it reads from fewer places of the memory.
    """
    await owner.run("SET LOCAL ROLE rag_worker")
    statement = sql.SQL(
        """
        WITH live AS NOT MATERIALIZED (
            SELECT c.index_id, c.generation, c.ordinal, c.embedding, {vector_id} AS vector_id
            FROM indexes i
            JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
        ), centres AS MATERIALIZED (
            SELECT row_number() OVER () AS number, embedding
            FROM (SELECT embedding FROM live ORDER BY random() LIMIT %(centres)s) drawn
        ), vectors AS (
            INSERT INTO {vectors} (id, embedding)
            SELECT vector_id, embedding
            FROM (SELECT DISTINCT ON (vector_id) vector_id, embedding FROM live) once
            ORDER BY (SELECT number FROM centres
                      ORDER BY centres.embedding <#> once.embedding LIMIT 1)
        )
        INSERT INTO {table} (index_id, generation, ordinal, vector_id)
        SELECT index_id, generation, ordinal, vector_id FROM live
        """
    ).format(table=table_name(number), vectors=vectors_name(number), vector_id=sql.SQL(VECTOR_ID))
    asked = {
        "profile_id": size.profile_id,
        "customer_id": size.customer_id,
        "centres": _centres(size.chunk_count),
    }
    try:
        filled = await owner.connection.execute(statement, asked)
    except psycopg.errors.DataException as error:
        raise MixedDimensions(str(size.profile_id)) from error
    await owner.run("RESET ROLE")
    return filled.rowcount


async def _index(owner: Tx, *, number: int) -> None:
    for statement in (
        "CREATE INDEX {keys} ON {table} (index_id, generation)",
        "CREATE INDEX {entries} ON {table} (vector_id, index_id, generation, ordinal)",
        "CREATE UNIQUE INDEX {ids} ON {vectors} (id)",
        "CREATE INDEX {graph} ON {vectors} USING hnsw (embedding halfvec_ip_ops)"
        " WITH (m = {links}, ef_construction = {candidates})",
        "ANALYZE {table}",
        "ANALYZE {vectors}",
    ):
        await owner.connection.execute(
            sql.SQL(statement).format(
                table=table_name(number),
                vectors=vectors_name(number),
                keys=sql.Identifier(f"ann_{number}_by_key"),
                entries=sql.Identifier(f"ann_{number}_by_vector"),
                ids=sql.Identifier(f"ann_{number}_vectors_id"),
                graph=sql.Identifier(f"ann_{number}_graph"),
                links=sql.Literal(LINKS),
                candidates=sql.Literal(BUILD_CANDIDATES),
            )
        )


async def _announce(owner: Tx, *, number: int, size: Size, entries: int) -> None:
    """From the commit on this table is asked; the one before is left to `drop_unknown`."""
    await owner.run("SET LOCAL ROLE rag_worker")
    await owner.run(
        """
        INSERT INTO ann_tables (profile_id, customer_id, number, entries)
        VALUES (%(profile_id)s, %(customer_id)s, %(number)s, %(entries)s)
        ON CONFLICT (profile_id) DO UPDATE
        SET number = excluded.number, entries = excluded.entries, dead_entries = 0,
            built_at = now()
        """,
        {
            "profile_id": size.profile_id,
            "customer_id": size.customer_id,
            "number": number,
            "entries": entries,
        },
    )
    await owner.run("RESET ROLE")


async def drop(owner: Tx, *, table: AnnTable) -> bool:
    """Let go of a table that is not worth it any more; False when somebody is just asking it."""
    return await _drop(owner, number=table.number)


async def drop_unknown(owner: Tx) -> int:
    """Tables that another one took the place of; returns how many went."""
    rows = await owner.all(
        dict[str, int],
        """
        SELECT DISTINCT split_part(c.relname, '_', 2)::bigint AS number FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
          AND c.relname ~ '^ann_[0-9]+(_vectors)?$'
        """,
    )
    await owner.run("SET ROLE rag_worker")
    known = {table.number for table in await tables(owner)}
    await owner.run("RESET ROLE")
    unknown = [row["number"] for row in rows if row["number"] not in known]
    return sum([await _drop(owner, number=number) for number in unknown])


async def _drop(owner: Tx, *, number: int) -> bool:
    """One after the other: who asks holds both, and nobody is to wait for another in a circle."""
    try:
        await _drop_one(owner, table=table_name(number), forget=number)
        await _drop_one(owner, table=vectors_name(number), forget=number)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


async def _drop_one(owner: Tx, *, table: sql.Identifier, forget: int) -> None:
    async with owner.connection.transaction():
        await owner.run(
            "SELECT set_config('lock_timeout', %(timeout_ms)s, true)",
            {"timeout_ms": str(LOCK_TIMEOUT_MS)},
        )
        await owner.connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        await owner.run("SET LOCAL ROLE rag_worker")
        await owner.run("DELETE FROM ann_tables WHERE number = %(n)s", {"n": forget})
        await owner.run("RESET ROLE")
