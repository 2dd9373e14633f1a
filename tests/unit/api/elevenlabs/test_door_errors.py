import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.testing import RequestFactory

from engine import errors
from engine.api.edge import request_id
from engine.api.elevenlabs.errors import REFUSALS, TABLE, failed

REQUEST = RequestFactory().get("/v1/convai/knowledge-base")
POSTED = RequestFactory().post("/v1/convai/knowledge-base")
RETRIED_BY_CLIENTS = {408, 409, 429}


def leaves(kind: type[errors.EngineError]) -> Iterator[type[errors.EngineError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from leaves(each)


MET_BY_CALLERS = [*leaves(errors.CallerError), *leaves(errors.Unavailable)]


def body_of(error: Exception, request: Any = POSTED) -> dict[str, object]:
    return json.loads(REFUSALS.on_error(request, error).content)


def faults(*fields: tuple[str, str]) -> list[dict[str, object]]:
    details = tuple(errors.Detail(field=field, issue=issue) for field, issue in fields)
    found = body_of(errors.InvalidRequest("x", details=details))["detail"]
    assert isinstance(found, list)
    return found


def test_the_table_has_exactly_the_errors_that_a_caller_can_meet():
    assert set(TABLE) == set(MET_BY_CALLERS)


ORDINARY = [kind for kind in leaves(errors.CallerError) if kind is not errors.RateLimited]


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_refusal_is_none_that_clients_send_again(kind):
    code = TABLE[kind].code
    assert 400 <= code < 500
    assert code not in RETRIED_BY_CLIENTS


def test_who_was_only_too_fast_is_told_when_to_send_it_again():
    error = errors.RateLimited("Wait 3 s.")
    error.retry_after_s, error.allowance_max = 2.4, 20
    answer = REFUSALS.on_error(REQUEST, error)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert json.loads(answer.content)["detail"]["status"] == "rate_limited"


@pytest.mark.parametrize(
    "kind", [each for each in MET_BY_CALLERS if each is not errors.InvalidRequest]
)
def test_an_error_has_the_vendors_shape(kind):
    token = request_id.set("asked-7")
    try:
        answer = REFUSALS.on_error(REQUEST, kind("Cause and remedy."))
    finally:
        request_id.reset(token)
    detail = json.loads(answer.content)["detail"]
    assert answer.status_code == TABLE[kind].code
    assert detail["status"] == detail["code"] == TABLE[kind].status
    assert (detail["message"], detail["request_id"]) == ("Cause and remedy.", "asked-7")
    assert set(detail) == {"type", "code", "status", "message", "request_id"}


def test_an_unknown_document_has_the_status_that_clients_match_on():
    assert TABLE[errors.SourceNotFound] == (404, "knowledge_base_documentation_not_found")


def test_unavailable_says_when_to_come_back():
    answer = REFUSALS.on_error(REQUEST, errors.DatabaseUnavailable("away"))
    assert answer.headers["Retry-After"] == str(errors.Unavailable.retry_after_s)


@pytest.mark.parametrize(
    ("field", "loc"),
    [
        ("body.items[3].model", ["body", "items", 3, "model"]),
        ("query.page_size", ["query", "page_size"]),
        ("name", ["body", "name"]),
        ("body", ["body"]),
        ("body.x", ["body", "x"]),
        # Names that a part of a form may have.
        ("", ["body"]),
        (".[]", ["body"]),
        ("query", ["body", "query"]),
    ],
)
def test_a_fault_is_told_by_its_place(field, loc):
    assert faults((field, "must be short")) == [
        {"loc": loc, "msg": f"{loc[-1]} must be short", "type": "value_error"}
    ]


@pytest.mark.parametrize("field", ["query", "cursor"])
def test_what_verbs_say_of_a_question_stands_in_the_query(field):
    details = (errors.Detail(field=field, issue="must be short"),)
    body = body_of(errors.InvalidRequest("x", details=details), REQUEST)
    assert body["detail"][0]["loc"] == ["query", field]


def test_every_fault_is_told_and_a_missing_field_is_called_missing():
    found = faults(("body.text", "is required"), ("body.name", "is too long"))
    assert [each["type"] for each in found] == ["missing", "value_error"]


def test_a_validation_error_without_details_has_a_place_all_the_same():
    assert body_of(errors.InvalidRequest("No."))["detail"] == [
        {"loc": ["body"], "msg": "body No.", "type": "value_error"}
    ]


def test_one_entry_of_a_batch_fails_with_the_code_of_its_own_answer():
    entry = failed(errors.SourceNotFound("There is no such document."))
    assert (entry.error_code, entry.error_status) == TABLE[errors.SourceNotFound]
    assert entry.error_message == "There is no such document."


@pytest.mark.parametrize("kind", [errors.Superseded, *leaves(errors.SourceError)])
def test_errors_of_the_belt_are_internal_to_callers(kind):
    answer = REFUSALS.on_error(REQUEST, kind("secret cause"))
    assert answer.status_code == 500
    assert b"secret" not in answer.content


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFoundException("/etc"), 404, "not_found"),
        (MethodNotAllowedException(headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (HTTPException(status_code=413), 413, "body_too_large"),
        (HTTPException(status_code=400, detail="inner"), 400, "bad_request"),
        (HTTPException(status_code=500, detail="inner"), 500, "internal_error"),
        (RuntimeError("inner"), 500, "internal_error"),
    ],
)
def test_what_nobody_of_ours_raised_has_the_same_shape(error, code, status):
    answer = REFUSALS.on_error(REQUEST, error)
    assert (answer.status_code, json.loads(answer.content)["detail"]["status"]) == (code, status)
    assert b"inner" not in answer.content
    assert answer.headers.get("Allow") == ("GET" if code == 405 else None)
