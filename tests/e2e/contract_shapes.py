"""The shapes of the contract, written down a second time, by hand: the tests compare with these.

A shape maps keys to checks; a key with a "?" may be absent. Any key that is not named is a fault.
"""

import re
from typing import Any
from uuid import UUID

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
STATES = {"pending", "processing", "ready", "error"}
STAGES = {"", "fetch", "extract", "chunk", "embed", "store"}


def uuid(value: Any) -> bool:
    return isinstance(value, str) and str(UUID(value)) == value


def time(value: Any) -> bool:
    return isinstance(value, str) and TIME.fullmatch(value) is not None


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def cosine(value: Any) -> bool:
    return isinstance(value, (int, float)) and -1.001 <= value <= 1.001


def score(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(text, value))


def attributes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        texts(each) or isinstance(each, (str, int, float)) for each in value.values()
    )


def one_of(values: set[str]) -> Any:
    return lambda value: value in values


def many(shape: dict[str, Any]) -> Any:
    return lambda value: isinstance(value, list) and all(matches(shape, each) for each in value)


FAILURE = {"code": text, "message": text, "retryable": flag, "remedy": text}
PROGRESS = {"stage": one_of(STAGES), "done": number, "total": number, "queue_position?": number}
COVERAGE = {
    "pages_total?": number,
    "pages_with_text?": number,
    "characters": number,
    "tables": number,
    "warnings": many({"code": text, "message": text}),
}
SOURCE = {
    "id": uuid,
    "customer_id": uuid,
    "storage_file_id?": uuid,
    "source_url?": text,
    "name": text,
    "attributes": attributes,
    "status": one_of(STATES),
    "status_message": text,
    "error?": FAILURE,
    "progress": PROGRESS,
    "coverage?": COVERAGE,
    "chunk_count": number,
    "attempt": number,
    "next_attempt_at?": time,
    "tm_create": time,
    "tm_update": time,
}
RAG = {
    "id": uuid,
    "customer_id": uuid,
    "name": text,
    "description": text,
    "status": one_of(STATES),
    "sources": many(SOURCE),
    "embedding_model": text,
    "chunk_tokens": number,
    "chunk_overlap_tokens": number,
    "source_counts": dict.fromkeys(("pending", "processing", "ready", "error", "total"), number),
    "tm_create": time,
    "tm_update": time,
}
FILE = {
    "id": uuid,
    "customer_id": uuid,
    "type": text,
    "name": text,
    "filename": text,
    "filesize": number,
    "media_type": text,
    "sha256": lambda value: re.fullmatch(r"[0-9a-f]{64}", value) is not None,
    "uri_download": text,
    "tm_create": time,
    "tm_update": time,
}
CHUNK = {
    "id": uuid,
    "ordinal": number,
    "text": text,
    "start": number,
    "end": number,
    "page?": number,
    "headings": texts,
    "tokens": number,
}
NEIGHBOUR = {"text": text, "start": number, "end": number}
HIT = {
    "chunk_id": uuid,
    "source_id": uuid,
    "text": text,
    "score": share,
    "scores": {"dense?": cosine, "lexical?": score},
    "start": number,
    "end": number,
    "page?": number,
    "headings": texts,
    "source": {"name": text, "storage_file_id?": uuid, "source_url?": text},
    "before?": NEIGHBOUR,
    "after?": NEIGHBOUR,
}
CUSTOMER = {
    "id": uuid,
    "name": text,
    "limits": {
        name: number
        for name in (
            "file_bytes_max",
            "request_bytes_max",
            "json_bytes_max",
            "request_sources_max",
            "rag_sources_max",
            "name_characters_max",
            "description_characters_max",
            "url_characters_max",
            "query_characters_max",
            "top_k_max",
            "page_size_max",
            "customer_stored_bytes_max",
            "customer_sources_max",
            "customer_queued_sources_max",
            "customer_requests_burst",
        )
    }
    | {"customer_requests_per_s": lambda value: isinstance(value, float) and value > 0},
    "usage": dict.fromkeys(
        (
            "rags",
            "sources",
            "queued_sources",
            "files",
            "file_bytes",
            "stored_bytes",
            "chunks",
        ),
        number,
    ),
    "tm_create": time,
}
ACCESS_KEY = {
    "id": uuid,
    "name": text,
    "prefix": lambda value: re.fullmatch(r"re_\w{8}", value) is not None,
    "token?": lambda value: re.fullmatch(r"re_\w{32}", value) is not None,
    "tm_create": time,
    "tm_expire?": time,
}
ERROR = {
    "error": {
        "status": text,
        "reason": text,
        "message": lambda value: isinstance(value, str) and value != "",
        "request_id": lambda value: re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None,
        "details?": many({"field": text, "issue": text}),
    }
}


def page_of(shape: dict[str, Any]) -> dict[str, Any]:
    return {"result": many(shape), "next_page_token": text}


def matches(shape: dict[str, Any], value: Any) -> bool:
    """True; an AssertionError says where it is not so."""
    assert isinstance(value, dict), value
    known = {key.rstrip("?") for key in shape}
    needed = {key for key in shape if not key.endswith("?")}
    assert needed <= set(value) <= known, (set(value) ^ needed, value)
    for key, check in shape.items():
        name = key.rstrip("?")
        if name in value:
            here = value[name]
            fine = matches(check, here) if isinstance(check, dict) else check(here)
            assert fine, (name, here)
    if "storage_file_id?" in shape:
        assert ("storage_file_id" in value) != ("source_url" in value), value
    return True
