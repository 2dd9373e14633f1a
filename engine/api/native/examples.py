"""Examples of requests and answers for /schema; a test decodes each with its own shape."""

from typing import Any

_RAG_ID = "a1b2c3d4-e5f6-4890-abcd-ef1234567890"
_SOURCE_ID = "f1a2b3c4-d5e6-4890-abcd-ef1234567891"
_FILE_ID = "d4e5f6a7-b8c9-4123-defa-456789012345"
_CUSTOMER_ID = "5e4a0680-804e-41ec-8477-2fea5968d85b"
_CREATED = "2026-03-15T09:00:00.000000Z"
_UPDATED = "2026-03-15T09:00:07.250000Z"
_URL = "https://docs.example.com/faq"
_TIMES = {"tm_create": _CREATED, "tm_update": _UPDATED}

SOURCE: dict[str, Any] = {
    "id": _SOURCE_ID,
    "customer_id": _CUSTOMER_ID,
    "source_url": _URL,
    "name": _URL,
    "attributes": {"language": "en", "year": 2026, "tags": ["faq", "public"]},
    "status": "ready",
    "status_message": "42 chunks created",
    "progress": {"stage": "", "done": 42, "total": 42},
    "coverage": {"characters": 30125, "tables": 1, "warnings": []},
    "chunk_count": 42,
    "attempt": 1,
    **_TIMES,
}
RAG: dict[str, Any] = {
    "id": _RAG_ID,
    "customer_id": _CUSTOMER_ID,
    "name": "Product Documentation KB",
    "description": "Manuals and FAQ articles",
    "status": "ready",
    "sources": [SOURCE],
    "embedding_model": "sentence-transformers/all-MiniLM-L6-v2",
    "chunk_tokens": 250,
    "chunk_overlap_tokens": 60,
    "source_counts": {"pending": 0, "processing": 0, "ready": 1, "error": 0, "total": 1},
    **_TIMES,
}
FILE: dict[str, Any] = {
    "id": _FILE_ID,
    "customer_id": _CUSTOMER_ID,
    "type": "rag",
    "name": "Manual",
    "filename": "manual.pdf",
    "filesize": 48213,
    "media_type": "application/pdf",
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "uri_download": f"http://127.0.0.1:8000/storage_files/{_FILE_ID}/file",
    **_TIMES,
}
CHUNK: dict[str, Any] = {
    "id": "0b1c2d3e-4f50-4162-8374-859607182930",
    "ordinal": 3,
    "text": "Hold the button for five seconds to reset the device.",
    "start": 1204,
    "end": 1257,
    "page": 2,
    "headings": ["Maintenance", "Reset"],
    "tokens": 19,
}
HIT: dict[str, Any] = {
    "chunk_id": CHUNK["id"],
    "source_id": _SOURCE_ID,
    "text": CHUNK["text"],
    "score": 0.82,
    "scores": {"dense": 0.61, "lexical": 11.4},
    "start": 1204,
    "end": 1257,
    "page": 2,
    "headings": CHUNK["headings"],
    "source": {"name": "Manual", "storage_file_id": _FILE_ID},
}
ACCESS_KEY: dict[str, Any] = {
    "id": "9a8b7c6d-5e4f-4a3b-8c2d-1e0f9a8b7c6d",
    "name": "ci",
    "prefix": "re_4fT2kQ9x",
    "tm_create": _CREATED,
    "tm_expire": "2026-06-13T09:00:00.000000Z",
}
CUSTOMER: dict[str, Any] = {
    "id": _CUSTOMER_ID,
    "name": "Example Inc.",
    "limits": {
        "file_bytes_max": 104857600,
        "request_bytes_max": 1073741824,
        "json_bytes_max": 10485760,
        "request_sources_max": 1000,
        "rag_sources_max": 100000,
        "name_characters_max": 255,
        "description_characters_max": 4096,
        "url_characters_max": 2048,
        "query_characters_max": 4096,
        "top_k_max": 100,
        "page_size_max": 100,
        "customer_stored_bytes_max": 107374182400,
        "customer_sources_max": 1000000,
        "customer_queued_sources_max": 100000,
        "customer_requests_per_s": 200.0,
        "customer_requests_burst": 2000,
    },
    "usage": {
        "rags": 1,
        "sources": 1,
        "queued_sources": 0,
        "files": 1,
        "file_bytes": 48213,
        "stored_bytes": 91830,
        "chunks": 42,
    },
    "tm_create": _CREATED,
}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"result": [item], "next_page_token": ""}


# By the name of the shape.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Rag": RAG,
    "RagList": _list(RAG),
    "Source": SOURCE,
    "SourceList": _list(SOURCE),
    "File": FILE,
    "FileList": _list(FILE),
    "ChunkList": _list(CHUNK),
    "Hits": {"results": [HIT]},
    "Customer": CUSTOMER,
    "AccessKey": ACCESS_KEY,
    "AccessKeyList": _list(ACCESS_KEY),
    "NewRag": {
        "name": "Product Documentation KB",
        "description": "Manuals and FAQ articles",
        "storage_file_ids": [_FILE_ID],
        "source_urls": [_URL],
    },
    "NewSources": {
        "source_urls": ["https://docs.example.com/install"],
        "attributes": {"language": "en"},
    },
    "RagUpdate": {"name": "Product documentation", "chunk_tokens": 250},
    "SourceUpdate": {"attributes": {"language": "en", "year": 2026, "tags": ["faq", "public"]}},
    "NewFile": {"type": "rag", "name": "Manual"},
    "Query": {
        "query": "How do I reset the device?",
        "top_k": 5,
        "filter": {
            "and": [
                {"eq": {"key": "language", "value": "en"}},
                {"gte": {"key": "year", "value": 2024}},
            ]
        },
    },
    "NewAccessKey": {"name": "ci", "expire_s": 7776000},
}
