"""Rows that come as columns are the rows that come as rows."""

from datetime import datetime
from uuid import UUID

import pytest
from fix_store import Store

from engine.models import Coverage, Noun, State

pytestmark = pytest.mark.anyio

VALUES = """
    SELECT id, name, state, coverage, at, attributes FROM (VALUES
        (1, 'c62ac8bb-0bb1-4d5f-9d16-7ad0b5f6a7b0'::uuid, E'quote " \\\\ \\u00e9 \\n'::text,
         'ready'::text, '{"characters": 3, "warnings": []}'::jsonb,
         '2026-01-02 03:04:05.000006+02'::timestamptz, '{"n": 1.0, "m": 1, "t": ["a"]}'::jsonb),
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
    shared: str = ""


@pytest.mark.parametrize("most", [0, 1, 2])
async def test_columns_are_read_as_rows_are(store: Store, most: int) -> None:
    async with store.api.transaction() as tx:
        rows = await tx.all(Row, VALUES, {"most": most})
        many = await tx.many(Row, VALUES, {"most": most}, shared={"shared": ""})
    assert many == rows
    assert len(many) == most


async def test_what_is_shared_is_in_every_row_and_the_order_is_kept(store: Store) -> None:
    async with store.api.transaction() as tx:
        many = await tx.many(Row, VALUES, {"most": 2}, shared={"shared": "all"})
    assert [(row.name[:5], row.shared) for row in many] == [("", "all"), ("quote", "all")]
    assert many[0].state is None
