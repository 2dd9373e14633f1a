import asyncio
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.body import (
    LIST_ITEMS_MAX,
    arriving,
    from_form,
    from_json,
    limited,
    placed_json,
    read_limited,
    require_json,
)
from engine.api.elevenlabs.wire import IndexBatch, Update
from engine.api.native.wire import NewRag, Query, RagUpdate
from engine.errors import BodyTooLarge, Detail, InvalidRequest, TooManySources

pytestmark = pytest.mark.anyio


def fields_of(caught: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return sorted(each.field for each in caught.value.details)


def refused(body: bytes) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        from_json(body, NewRag)
    return fields_of(caught)


def test_a_body_becomes_its_struct():
    file_id = uuid4()
    body = b'{"name": "a", "storage_file_ids": ["%s"], "chunk_tokens": 7}' % str(file_id).encode()
    assert from_json(body, NewRag) == NewRag(name="a", storage_file_ids=(file_id,), chunk_tokens=7)


def test_every_offending_field_is_named_at_once():
    body = b"""{"description": 1, "nmae": "x", "chunk_tokens": "7", "source_urls": ["a", 2, null],
                "storage_file_ids": ["nope"], "embedding_model": null}"""
    assert refused(body) == [
        "chunk_tokens",
        "description",
        "embedding_model",
        "name",
        "nmae",
        "source_urls[1]",
        "source_urls[2]",
        "storage_file_ids[0]",
    ]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", ["name"]),
        (b"{}", ["name"]),
        (b"[]", ["body"]),
        (b"null", ["body"]),
        (b'{"name": "a"', ["body"]),
        (b'{"name": "a"} x', ["body"]),
        (b'{"name": "a", }', ["body"]),
        (b"\xff\xfe{}", ["body"]),
        (b'{"name": "\xff"}', ["body"]),
        (b'{"n\xffme": "a"}', ["body"]),
        (b'{"name": "\\ud800"}', ["body"]),
        (b'{"name": "a\\u0000b"}', ["name"]),
        (b'{"name": "a", "source_urls": ["a\\u0000"]}', ["source_urls[0]"]),
        (b'{"name": "a", "source_urls": "a"}', ["source_urls"]),
        (b'{"name": "a", "chunk_tokens": 1e999}', ["chunk_tokens"]),
        (b'{"name": "a", "chunk_tokens": 1.5}', ["chunk_tokens"]),
        (b'{"name": "a", "chunk_tokens": true}', ["chunk_tokens"]),
        (b'{"name": "a", "chunk_tokens": NaN}', ["body"]),
        (b'{"name": "a", "chunk_tokens": ' + b"9" * 5000 + b"}", ["chunk_tokens"]),
        (b'{"name": "a", "name": "b"}', ["name"]),
        (b'{"name": "a", "x": {"y": 1, "y": 2}}', ["x"]),
        (b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ["body"]),
        (b"[" * 100_000, ["body"]),
        (b'{"name": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, ["body"]),
    ],
)
def test_a_malformed_body_is_refused_by_field(body, fields):
    assert refused(body) == fields


@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_struct_or_refused(body):
    try:
        outcome = from_json(body, RagUpdate)
    except InvalidRequest as error:
        outcome = error.details
    assert outcome


def test_many_offending_fields_give_a_bounded_answer():
    body = b'{"name": "a", "source_urls": [' + b",".join([b"1"] * 5_000) + b"]}"
    with pytest.raises(InvalidRequest) as caught:
        from_json(body, NewRag)
    assert len(caught.value.details) == 100


def test_a_list_of_very_many_items_is_refused_before_they_are_looked_at():
    many = LIST_ITEMS_MAX + 1
    body = b'{"name": "a", "source_urls": [' + b",".join([b'""'] * many) + b"]}"
    with pytest.raises(TooManySources):
        from_json(body, NewRag)
    with pytest.raises(TooManySources):
        from_form({"name": ["a"], "source_urls": ["a\n" * many]}, NewRag)


def test_a_body_of_very_many_fields_is_refused_as_a_whole():
    body = b"{" + b",".join(b'"f%d": 1' % number for number in range(50_000)) + b"}"
    assert refused(body) == ["body"]


def test_issues_do_not_speak_the_decoders_notation():
    with pytest.raises(InvalidRequest) as caught:
        from_json(b'{"query": 5}', Query)
    assert caught.value.details == (Detail(field="query", issue="Expected str, got int"),)
    assert caught.value.message == "query: Expected str, got int."


@pytest.mark.parametrize("mode", [b'"words"', b"5", b"null", b"[]"])
def test_a_field_that_takes_certain_words_says_which(mode: bytes):
    with pytest.raises(InvalidRequest) as caught:
        from_json(b'{"query": "a", "mode": %s}' % mode, Query)
    assert caught.value.details == (
        Detail(field="mode", issue="must be one of hybrid, dense, lexical"),
    )


def test_form_fields_become_the_same_struct():
    file_id = "d4e5f6a7-b8c9-4123-defa-456789012345"
    fields = {
        "name": ["a"],
        "source_urls": ["https://a.example/1\r\nhttps://a.example/2\n", "https://a.example/3"],
        "storage_file_ids": [f'["{file_id}"]'],
        "chunk_tokens": ["64"],
    }
    assert from_form(fields, NewRag) == NewRag(
        name="a",
        source_urls=("https://a.example/1", "https://a.example/2", "https://a.example/3"),
        storage_file_ids=(UUID(file_id),),
        chunk_tokens=64,
    )


def test_form_fields_are_refused_by_name_next_to_what_was_found_before():
    fields = {
        "name": ["a", "b"],
        "chunk_tokens": ["9" * 5000],
        "other": ["x"],
        "source_urls": ["[1"],
        "description": ["a\0b"],
    }
    before = (Detail(field="files", issue="must be a file part"),)
    with pytest.raises(InvalidRequest) as caught:
        from_form(fields, NewRag, details=before)
    assert fields_of(caught) == [
        "chunk_tokens",
        "description",
        "files",
        "name",
        "other",
        "source_urls",
    ]


def test_a_field_that_was_refused_before_is_not_called_missing():
    with pytest.raises(InvalidRequest) as caught:
        from_form({}, NewRag, details=(Detail(field="name", issue="is not valid UTF-8"),))
    assert fields_of(caught) == ["name"]
    assert caught.value.details[0].issue == "is not valid UTF-8"


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/a+json", ";"],
)
def test_json_is_announced_as_json_or_not_at_all(content_type):
    require_json(content_type, or_form=False)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused(content_type):
    with pytest.raises(InvalidRequest) as caught:
        require_json(content_type, or_form=True)
    assert fields_of(caught) == ["Content-Type"]


async def pieces(*given_pieces: bytes):
    for piece in given_pieces:
        yield piece


async def test_a_body_over_its_limit_is_refused_while_it_arrives():
    taken = []

    async def endless():
        while True:
            taken.append(1)
            yield b"x" * 10

    with pytest.raises(BodyTooLarge):
        await read_limited(endless(), bytes_max=95)
    assert len(taken) == 10


async def test_a_body_at_its_limit_is_taken():
    assert await read_limited(pieces(b"ab", b"c"), bytes_max=3) == b"abc"
    assert [piece async for piece in limited(pieces(b"ab", b"c"), bytes_max=3)] == [b"ab", b"c"]


async def test_a_body_that_breaks_off_is_refused():
    events = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return events.pop(0)

    arrives = arriving(receive, idle_s=5)
    assert await anext(arrives) == b"half"
    with pytest.raises(InvalidRequest) as caught:
        await anext(arrives)
    assert caught.value.details[0].issue == "ended before it was complete"


async def test_a_body_that_stands_still_is_refused():
    async def receive():
        await asyncio.sleep(5)

    with pytest.raises(InvalidRequest) as caught:
        await anext(arriving(receive, idle_s=0.01))
    assert caught.value.details[0].issue == "did not go on for 0.01 s"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"items": null}', "body.items"),
        (b'{"items": [{"document_id": "a", "model": null}]}', "body.items[0].model"),
    ],
)
def test_to_lenient_clients_null_for_what_is_required_is_missing(body: bytes, field: str):
    with pytest.raises(InvalidRequest) as caught:
        placed_json(body, IndexBatch)
    assert caught.value.details == (Detail(field=field, issue="is required"),)
    assert placed_json(b'{"name": null}', Update) == Update()
