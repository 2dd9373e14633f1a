"""Paging through a library: every order, filter and page size, and what it costs."""

import random
import re
import statistics
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from fix_library import BORN, Shelf, neighbour, shelf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.entries import Entry, EntryCursor, EntryFilter, EntryKind, EntrySort
from engine.errors import InvalidRequest
from engine.models import FolderId
from engine.store import Tx, entries

__all__ = ["neighbour", "shelf"]
pytestmark = pytest.mark.anyio

KINDS = (EntryKind.FILE, EntryKind.URL, EntryKind.TEXT)
NAMES = (
    "Report", "report", "REPORT 2", "a%b", "a_b", "aXb", "A\\b", "ä", "Ä 2", "zoo", "", "日本", "a",
)  # fmt: skip
PREFIXES = ("", "rep", "REP", "a", "a%", "a_", "a\\", "Ä", "日", "nothing")
PLACES = st.one_of(st.none(), st.none(), st.integers(0, 11))  # of a folder in the tree
CROWD = 100_000
PAGE_S_MAX = 2.0  # a guard against a plan that went wrong, not a measurement


@pytest.fixture
async def filled(shelf: Shelf, neighbour: Shelf) -> Shelf:
    """Names, times and sizes repeat, so that every order has ties; some rows are deleted."""
    chance = random.Random(7)
    moments = [BORN + timedelta(microseconds=n) for n in (0, 1, 999_999, 10_000_000)]
    folders: list[Entry] = []
    for number in range(12):
        parents = [folder for folder in folders if len(folder.folder_path) < 3]
        parent = chance.choice([*parents, None]) if parents else None
        name = chance.choice(NAMES) or "folder"
        folders.append(await shelf.folder(name, parent=parent, at=moments[number % 4]))
    second, gone = [await shelf.store.rag(shelf.customer_id) for _ in range(2)]
    for number in range(36):
        await shelf.document(
            chance.choice(NAMES),
            kind=KINDS[number % 3],
            folder=chance.choice([*folders, None, None, None]),
            rag_id=(shelf.rag_id, second, shelf.rag_id, gone)[number % 4],
            byte_count=chance.choice((0, 5, 50, 500)),
            at=chance.choice(moments),
        )
    await shelf.store.execute(
        "UPDATE sources SET updated_at = updated_at + interval '1 hour' WHERE position %% 2 = 0"
    )
    await shelf.store.execute("UPDATE rags SET deleted_at = now() WHERE id = %(id)s", id=gone)
    await shelf.store.execute("UPDATE sources SET deleted_at = now() WHERE position %% 11 = 0")
    return shelf


def expected(everything: list[Entry], *, filter: EntryFilter) -> list[UUID]:
    """The same list, by Python."""

    def key(entry: Entry) -> tuple[object, UUID]:
        keys: dict[EntrySort, object] = {
            EntrySort.NAME: entry.name.lower(),
            EntrySort.CREATED_AT: entry.created_at,
            EntrySort.UPDATED_AT: entry.updated_at,
            EntrySort.SIZE: entry.byte_count,
        }
        return keys[filter.sort], entry.id

    def fits(entry: Entry) -> bool:
        above = [folder.id for folder in entry.folder_path]
        return (
            entry.name.lower().startswith(filter.prefix.lower())
            and (not filter.kinds or entry.kind in filter.kinds)
            and (filter.parent_id is None or entry.parent_id == filter.parent_id)
            and (filter.ancestor_id is None or filter.ancestor_id in above)
        )

    found = sorted(
        (entry for entry in everything if fits(entry)), key=key, reverse=filter.descending
    )
    if filter.folders_first:
        found.sort(key=lambda entry: entry.kind is not EntryKind.FOLDER)
    return [entry.id for entry in found]


async def known(filled: Shelf) -> list[Entry]:
    """Every entry, read by its id and not from a list."""
    rows = await filled.store.fetch("SELECT id FROM folders UNION ALL SELECT id FROM sources")
    found = await filled.library.many(filled.customer_id, [str(row["id"]) for row in rows])
    return list(found.values())


@pytest.mark.parametrize("sort", EntrySort)
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("folders_first", [True, False])
async def test_every_order_holds_across_pages_of_two(
    filled: Shelf, sort: EntrySort, descending: bool, folders_first: bool
) -> None:
    filter = EntryFilter(sort=sort, descending=descending, folders_first=folders_first)
    listed = await filled.listed(filter, page_size=2)
    assert [entry.id for entry in listed] == expected(await known(filled), filter=filter)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    filter=st.builds(
        EntryFilter,
        prefix=st.one_of(st.just(""), st.sampled_from(PREFIXES)),
        kinds=st.lists(st.sampled_from(EntryKind), unique=True).map(tuple),
        folders_first=st.booleans(),
        sort=st.sampled_from(EntrySort),
        descending=st.booleans(),
    ),
    parent=PLACES,
    ancestor=PLACES,
    page_size=st.integers(1, 9),
)
async def test_the_pages_of_any_list_together_are_the_whole_list_in_order(
    filled: Shelf, filter: EntryFilter, parent: int | None, ancestor: int | None, page_size: int
) -> None:
    everything = await known(filled)
    rows = await filled.store.fetch(
        "SELECT id FROM folders WHERE customer_id = %(id)s ORDER BY position",
        id=filled.customer_id,
    )
    filter = msgspec.structs.replace(
        filter,
        parent_id=None if parent is None else rows[parent]["id"],
        ancestor_id=None if ancestor is None else rows[ancestor]["id"],
    )
    listed = await filled.listed(filter, page_size=page_size)
    assert [entry.id for entry in listed] == expected(everything, filter=filter)


async def test_the_pages_are_tried_on_rows_of_every_kind_and_on_rows_that_are_gone(
    filled: Shelf,
) -> None:
    listed = await filled.listed(EntryFilter(), page_size=100)
    kinds = [entry.kind for entry in listed]
    assert min(kinds.count(kind) for kind in EntryKind) >= 5
    assert sum(not entry.folder_path for entry in listed) < len(listed) - 10
    sources = await filled.store.fetch("SELECT id FROM sources")
    assert len(sources) - (len(kinds) - kinds.count(EntryKind.FOLDER)) >= 10


async def test_what_comes_between_two_pages_moves_nothing_that_is_listed(shelf: Shelf) -> None:
    for number in range(6):
        await shelf.document(f"n{number}", at=BORN + timedelta(seconds=number))
    first = await shelf.library.list(
        shelf.customer_id, filter=EntryFilter(), page_size=3, after=None
    )
    await shelf.document("newer", at=BORN + timedelta(days=1))
    last = first.items[-1]
    await shelf.library.delete(shelf.customer_id, last.id, force=False)
    second = await shelf.library.list(
        shelf.customer_id, filter=EntryFilter(), page_size=3, after=first.next
    )
    names = [entry.name for entry in first.items + second.items]
    assert (names, second.next) == (["n5", "n4", "n3", "n2", "n1", "n0"], None)


@pytest.mark.parametrize("key", ["soon", "", "9" * 30, "9" * 5_000, "\x00"])
async def test_a_cursor_that_no_page_ended_with_is_refused(shelf: Shelf, key: str) -> None:
    await shelf.document()
    after = EntryCursor(group=0, key=key, id=UUID(int=1))
    with pytest.raises(InvalidRequest) as caught:
        await shelf.library.list(shelf.customer_id, filter=EntryFilter(), page_size=3, after=after)
    assert [detail.field for detail in caught.value.details] == ["cursor"]


@pytest.mark.parametrize("sort", EntrySort)
async def test_a_cursor_of_another_order_is_refused_or_gives_entries_but_never_fails(
    filled: Shelf, sort: EntrySort
) -> None:
    for other in EntrySort:
        first = await filled.library.list(
            filled.customer_id, filter=EntryFilter(sort=other), page_size=3, after=None
        )
        try:
            await filled.library.list(
                filled.customer_id, filter=EntryFilter(sort=sort), page_size=3, after=first.next
            )
        except InvalidRequest:
            assert (sort, other) == (EntrySort.CREATED_AT, EntrySort.NAME)


async def test_a_prefix_that_no_name_can_have_finds_nothing(shelf: Shelf) -> None:
    await shelf.document("name")
    assert await shelf.names(EntryFilter(prefix="\x00")) == set()
    assert await shelf.names(EntryFilter(prefix="\ud800")) == set()
    assert await shelf.names(EntryFilter(prefix="N")) == {"name"}


class Watched:
    """A connection that asks for the plan of what it is told to run, and runs it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.plans: list[str] = []

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) "
        rows = await (await self.connection.execute(explain + query, params, **options)).fetchall()
        self.plans.append("\n".join(row["QUERY PLAN"] for row in rows))
        return await self.connection.execute(query, params, **options)


async def plans(
    shelf: Shelf,
    *,
    filter: EntryFilter,
    after: EntryCursor | None,
    within: list[FolderId] | None = None,
) -> str:
    async with shelf.store.api.transaction(customer_id=shelf.customer_id) as tx:
        watched = Watched(tx.connection)
        await entries.page(
            Tx(watched),  # type: ignore[arg-type]
            customer_id=shelf.customer_id,
            filter=filter,
            within=within,
            limit=31,
            after=after,
        )
    return "\n\n".join(watched.plans)


@pytest.fixture
async def crowded(shelf: Shelf, admin_database_url: str) -> Shelf:
    """100,000 documents of one customer, a tenth of them files, some in a folder."""
    folder = await shelf.folder("few")
    await shelf.store.execute(
        """
        WITH blob AS (
            INSERT INTO blobs (customer_id, sha256, file_bytes)
            VALUES (%(customer_id)s, sha256('x'), 1)
        ), made AS (
            INSERT INTO files (customer_id, name, filename, media_type, file_bytes, sha256, kept)
            SELECT %(customer_id)s, 'f', 'f', '', n, sha256('x'), false
            FROM generate_series(1, %(crowd)s / 10) n
            RETURNING id, file_bytes
        )
        INSERT INTO sources (customer_id, rag_id, name, file_id, url, folder_id, created_at,
                             updated_at, due_at, original_bytes)
        SELECT %(customer_id)s, %(rag_id)s, 'Document ' || md5(n::text), made.id,
               CASE WHEN made.id IS NULL THEN 'https://example.org/' || n END,
               CASE WHEN n %% 10000 = 0 THEN %(folder_id)s::uuid END,
               %(born)s::timestamptz + n * interval '1 second',
               %(born)s::timestamptz + (n * 7919 %% 100000) * interval '1 second', NULL, n
        FROM generate_series(1, %(crowd)s) n LEFT JOIN made ON made.file_bytes = n
        """,
        customer_id=shelf.customer_id,
        rag_id=shelf.rag_id,
        folder_id=folder.id,
        born=BORN,
        crowd=CROWD,
    )
    with psycopg.connect(admin_database_url, autocommit=True) as admin:
        admin.execute("VACUUM ANALYZE sources")
        admin.execute("ANALYZE")
    return shelf


async def test_a_page_of_100_000_documents_in_order_of_creation_reads_little_more_than_itself(
    crowded: Shelf,
) -> None:
    middle = EntryCursor(group=0, key=micros(BORN + timedelta(seconds=50_000)), id=UUID(int=0))
    for descending in (True, False):
        filter = EntryFilter(descending=descending)
        for after in (None, middle):
            plan = await plans(crowded, filter=filter, after=after)
            assert "sources_by_customer" in plan, plan
            assert rows_read(plan) < 500, plan


async def test_a_small_folder_among_100_000_documents_is_read_by_its_own_index(
    crowded: Shelf,
) -> None:
    rows = await crowded.store.fetch("SELECT id FROM folders")
    plan = await plans(
        crowded,
        filter=EntryFilter(sort=EntrySort.NAME),
        after=None,
        within=[rows[0]["id"]],
    )
    assert "sources_by_folder" in plan, plan
    assert rows_read(plan) < 500, plan


@pytest.mark.parametrize("sort", EntrySort)
async def test_a_page_of_100_000_documents_is_there_in_time_in_every_order(
    crowded: Shelf, sort: EntrySort
) -> None:
    filter = EntryFilter(sort=sort)
    took_s = []
    after = None
    for _ in range(5):
        started = time.perf_counter()
        page = await crowded.library.list(
            crowded.customer_id, filter=filter, page_size=30, after=after
        )
        took_s.append(time.perf_counter() - started)
        assert len(page.items) == 30
        after = page.next
    print(f"{sort}: {statistics.median(took_s) * 1000:.1f} ms a page")
    assert statistics.median(took_s) < PAGE_S_MAX


def micros(at: datetime) -> str:
    return str(round(at.timestamp() * 1_000_000)).rjust(20, "0")


def rows_read(plan: str) -> int:
    """Rows of the largest step."""
    return max(int(float(rows)) for rows in re.findall(r"rows=([\d.]+)", plan))
