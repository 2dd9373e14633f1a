"""Nouns into the shapes of this door. Pure; the shapes are in wire.py."""

import re
from collections.abc import Callable
from html import escape
from typing import Any, TypeVar

from engine.api.elevenlabs import wire
from engine.api.elevenlabs.errors import failed
from engine.entries import Entry, EntryHit, EntryKind, EntryText, RagIndex
from engine.errors import CallerError, SourceNotFound
from engine.models import Chunk
from engine.snippets import segments

S = TypeVar("S")
T = TypeVar("T")
SNIPPET_CHARACTERS_MAX = 300


def added(entry: Entry) -> wire.Added:
    return wire.Added(id=entry.id, name=entry.name, folder_path=entry.folder_path)


def summary(entry: Entry, *, owner: str) -> wire.Summary:
    return wire.Summary(**_common(entry, owner=owner))


def document(read: EntryText, *, owner: str) -> wire.Document:
    entry, fields = read.entry, _common(read.entry, owner=owner)
    if entry.kind is EntryKind.FILE:
        fields["filename"] = entry.filename or entry.name
    if entry.kind is not EntryKind.FOLDER:
        paragraphs = re.split(r"\n{2,}", read.text.strip()) if read.text else []
        html = "".join(f"<p>{escape(each, quote=False)}</p>" for each in paragraphs)
        fields |= {"extracted_inner_html": html, "content_format": "html"}
    return wire.Document(**fields)


def _common(entry: Entry, *, owner: str) -> dict[str, Any]:
    metadata = wire.Metadata(
        created_at_unix_secs=int(entry.created_at.timestamp()),
        last_updated_at_unix_secs=int(entry.updated_at.timestamp()),
        size_bytes=entry.byte_count,
    )
    fields = {"type": entry.kind, "id": entry.id, "name": entry.name, "metadata": metadata}
    fields |= {"folder_parent_id": entry.parent_id, "folder_path": entry.folder_path}
    fields |= {"access_info": wire.AccessInfo(creator_name=owner)}
    if entry.kind is EntryKind.URL:
        fields["url"] = entry.url
    if entry.kind is EntryKind.FOLDER:
        fields |= {name: getattr(entry, name) for name in ("children_count", "document_count")}
    return fields


def outcome(
    result: T | CallerError | None, encode: Callable[[T], S]
) -> wire.Success[S] | wire.Failed:
    """One entry of a batch; None is an unknown document."""
    if result is None:
        result = SourceNotFound("There is no such document.")
    if isinstance(result, CallerError):
        return failed(result)
    return wire.Success(data=encode(result))


def index(noun: RagIndex) -> wire.Index:
    return wire.Index(
        id=noun.id,
        model=noun.model,
        status=noun.status,
        progress_percentage=noun.progress,
        document_model_index_usage={"used_bytes": noun.used_bytes},
    )


def chunk(noun: Chunk, *, document_name: str) -> wire.Chunk:
    name = noun.headings[-1] if noun.headings else document_name
    return wire.Chunk(id=noun.id, name=name, content=noun.text)


def found(hit: EntryHit, *, owner: str, query: str) -> wire.Found:
    snippet = segments(hit.text, query=query, characters_max=SNIPPET_CHARACTERS_MAX)
    document = summary(hit.entry, owner=owner)
    return wire.Found(document=document, search_snippet=snippet, score=hit.score)
