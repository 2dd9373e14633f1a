"""sources.attributes: changed by their owner, and searched by filters.

Each source comes with them where callers see it (sources).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.filters import Predicate
from engine.models import Attributes, CustomerId, IndexId, RagId, SourceId
from engine.store import rowlocks
from engine.store.database import Tx


def as_json(attributes: Mapping[str, Any]) -> str:
    """For a jsonb parameter."""
    return msgspec.json.encode(attributes).decode()


def as_stored(attributes: Attributes) -> Attributes:
    """As they were given: the database writes a large double with all its digits."""
    return {
        key: float(value) if isinstance(value, int) and abs(value) > 2**53 else value
        for key, value in attributes.items()
    }


async def describe(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    source_id: SourceId,
    name: str | None,
    attributes: Mapping[str, Any] | None,
) -> bool:
    """Set what is not None. A name that was given stays, whatever is read later."""
    await rowlocks.hold_sources(tx, customer_id=customer_id, source_ids=[source_id])
    return bool(
        await tx.run(
            """
            UPDATE sources SET name = COALESCE(%(name)s::text, name),
                               name_given = name_given OR %(name)s::text IS NOT NULL,
                               attributes = COALESCE(%(attributes)s::jsonb, attributes),
                               updated_at = clock_timestamp()
            WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s AND id = %(source_id)s
              AND deleted_at IS NULL
            """,
            {
                "customer_id": customer_id,
                "rag_id": rag_id,
                "source_id": source_id,
                "name": name,
                "attributes": None if attributes is None else as_json(attributes),
            },
        )
    )


async def matching(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    predicate: Predicate,
    source_ids: Sequence[SourceId] = (),
) -> list[SourceId]:
    """The live sources of the RAG that match, of `source_ids` if any are given; in no order."""
    found = await tx.value(
        list[SourceId],
        """
        SELECT COALESCE(array_agg(id), '{}') FROM sources
        WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s AND deleted_at IS NULL
          AND (%(any_source)s OR id = ANY(%(source_ids)s))
          AND jsonb_path_match(attributes, %(path)s::jsonpath, %(values)s::jsonb)
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "path": predicate.path,
            "values": as_json(predicate.values),
            "any_source": not source_ids,
            "source_ids": list(source_ids),
        },
    )
    return found or []


async def holding(
    tx: Tx, *, customer_id: CustomerId, index_ids: Sequence[IndexId], predicate: Predicate
) -> set[IndexId]:
    """Those of these indexes whose sources match. Each is looked up by itself: as a join, the
    filter would be evaluated for all sources of the RAG."""
    found = await tx.value(
        list[IndexId],
        """
        SELECT COALESCE(array_agg(i.id), '{}') FROM indexes i
        WHERE i.id = ANY(%(index_ids)s) AND i.customer_id = %(customer_id)s
          AND (SELECT s.deleted_at IS NULL
                      AND jsonb_path_match(s.attributes, %(path)s::jsonpath, %(values)s::jsonb)
               FROM sources s WHERE s.id = i.source_id)
        """,
        {
            "customer_id": customer_id,
            "index_ids": list(index_ids),
            "path": predicate.path,
            "values": as_json(predicate.values),
        },
    )
    return set(found or [])
