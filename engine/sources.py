"""What an owner says about sources: names and attributes; and which sources a filter selects.

Adding, refreshing and removing them is up to rags.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from engine.attributes import AttributeRules
from engine.config import Limits
from engine.errors import Detail, InvalidRequest, RagNotFound, SourceNotFound
from engine.filters import Filter, FilterRules, predicate
from engine.models import CustomerId, NewSources, RagId, Source, SourceId
from engine.store import Database, Tx, attributes, rags, sources
from engine.text import clean_text


class Sources:
    """Verbs about a single source."""

    def __init__(self, *, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def describe(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        source_id: SourceId,
        *,
        name: str | None,
        given: Mapping[str, Any] | None,
    ) -> Source:
        """Set what is not None; at least one of the two. The attributes replace the old ones.

        A source that is being read goes on with it. RagNotFound, SourceNotFound.
        """
        self._check(name=name, given=given)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="share"):
                raise RagNotFound("There is no such RAG.")
            await attributes.describe(
                tx,
                customer_id=customer_id,
                rag_id=rag_id,
                source_id=source_id,
                name=None if name is None else clean_text(name).strip(),
                attributes=given,
            )
            source = await sources.get(
                tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id
            )
        if source is None:
            raise SourceNotFound("There is no such source in this RAG.")
        return source

    def _check(self, *, name: str | None, given: Mapping[str, Any] | None) -> None:
        details = attribute_rules(self._limits).issues(given or {}, field="attributes")
        limit = self._limits.name_characters_max
        if name is not None and not 1 <= len(clean_text(name).strip()) <= limit:
            details.append(Detail(field="name", issue=f"must have 1 to {limit} characters"))
        if name is None and given is None:
            details.append(Detail(field="attributes", issue="attributes or name is needed"))
        if details:
            raise InvalidRequest("The request has invalid fields.", details=tuple(details))


def attribute_rules(limits: Limits) -> AttributeRules:
    return AttributeRules(
        pairs_max=limits.source_attributes_max,
        key_characters_max=limits.attribute_key_characters_max,
        value_characters_max=limits.attribute_value_characters_max,
    )


def filter_rules(limits: Limits) -> FilterRules:
    return FilterRules(
        depth_max=limits.filter_depth_max,
        conditions_max=limits.filter_conditions_max,
        values_max=limits.filter_values_max,
        attributes=attribute_rules(limits),
    )


def attribute_issues(new: NewSources, *, limits: Limits) -> list[Detail]:
    """What is wrong with the attributes of new sources."""
    rules = attribute_rules(limits)
    details = rules.issues(new.attributes, field="attributes")
    known = {*map(str, new.file_ids), *new.urls, *(each.filename for each in new.uploads)}
    for reference, given in new.source_attributes.items():
        field = f"source_attributes.{reference[:100]}"
        if _as_given(reference) not in known:
            details.append(Detail(field=field, issue="is not a source of this request"))
        details += rules.issues(given, field=field)
        if len({**new.attributes, **given}) > limits.source_attributes_max >= len(given):
            issue = f"with attributes at most {limits.source_attributes_max} keys"
            details.append(Detail(field=field, issue=issue))
    return details


def attributes_of(new: NewSources) -> Callable[[object], Mapping[str, Any]]:
    """A way from a file id, a URL or a filename to the attributes of that new source."""
    own = {_as_given(key): given for key, given in new.source_attributes.items()}
    return lambda reference: {**new.attributes, **own.get(str(reference), {})}


def _as_given(reference: str) -> str:
    """An id has several spellings."""
    try:
        return str(UUID(reference))
    except ValueError:
        return reference


async def selected(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    wanted: Filter,
    source_ids: tuple[SourceId, ...],
) -> tuple[SourceId, ...]:
    """The RAG's live sources that match, of `source_ids` if any are given; () if none does."""
    found = await attributes.matching(
        tx,
        customer_id=customer_id,
        rag_id=rag_id,
        predicate=predicate(wanted),
        source_ids=source_ids,
    )
    return tuple(found)
