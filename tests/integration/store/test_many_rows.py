"""Rows that come as lines are the rows that come as rows, whatever was remembered of them."""

from datetime import datetime
from uuid import UUID

import pytest
from fix_store import Store
from msgspec.structs import replace

from engine.models import Coverage, Noun, State
from engine.store.lines import KEPT_CHARACTERS_MAX, Lines

pytestmark = pytest.mark.anyio

# Whatever else may end a line, in some reader's eyes.
ENDS = "".join(map(chr, (0x0B, 0x0C, 0x1C, 0x85, 0x2028, 0x2029)))
VALUES = """
    SELECT id, name, state, coverage, at, attributes FROM (VALUES
        (1, 'c62ac8bb-0bb1-4d5f-9d16-7ad0b5f6a7b0'::uuid, E'quote " \\\\ \\u00e9 \\r\\n'
            || %(name)s::text, 'ready'::text, '{"characters": 3, "warnings": []}'::jsonb,
         '2026-01-02 03:04:05.000006+02'::timestamptz,
         '{"n": 1.0, "m": 1, "t": ["a\\nb"]}'::jsonb),
        (2, '5a4c1a0c-6f43-4f38-9d0c-54a9e8a0f1d2', '', NULL, NULL,
         '2026-01-02 00:00:00Z', '{}')
    ) AS given (place, id, name, state, coverage, at, attributes)
    WHERE place <= %(most)s ORDER BY place DESC
"""


class Row(Noun, frozen=True, kw_only=True):
    id: UUID
    name: str
    state: State | None
    coverage: Coverage | None
    at: datetime
    attributes: dict[str, object]


async def many(store: Store, rows: Lines[Row], *, most: int = 2, name: str = "") -> list[Row]:
    async with store.api.transaction() as tx:
        return await tx.many(rows, VALUES, {"most": most, "name": name})


@pytest.fixture
def rows() -> Lines[Row]:
    return Lines(Row, finished=lambda row: row)


@pytest.mark.parametrize("most", [0, 1, 2])
async def test_lines_are_read_as_rows_are(store: Store, rows: Lines[Row], most: int) -> None:
    params = {"most": most, "name": ENDS}
    async with store.api.transaction() as tx:
        expected = await tx.all(Row, VALUES, params)
        assert await tx.many(rows, VALUES, params) == expected
        assert await tx.many(rows, VALUES, params) == expected
    assert len(expected) == most


async def test_a_row_that_did_not_change_is_the_same_object(store: Store, rows: Lines[Row]) -> None:
    first, again = [await many(store, rows, name="a") for _ in range(2)]
    assert all(one is other for one, other in zip(first, again, strict=True))


async def test_a_row_that_changed_is_read_anew(store: Store, rows: Lines[Row]) -> None:
    first, other = [await many(store, rows, name=name) for name in "ab"]
    assert other[0] is first[0]
    assert [first[1].name[-1], other[1].name[-1]] == ["a", "b"]


async def test_long_rows_are_read_each_time(store: Store, rows: Lines[Row]) -> None:
    first, again = [await many(store, rows, name="x" * KEPT_CHARACTERS_MAX) for _ in range(2)]
    assert first == again
    assert first[0] is again[0]
    assert first[1] is not again[1]


async def test_what_is_still_to_be_done_is_done_to_each(store: Store) -> None:
    rows = Lines(Row, finished=lambda row: replace(row, name="done"))
    assert [row.name for row in await many(store, rows)] == ["done", "done"]
