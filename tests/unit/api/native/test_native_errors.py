import json
from collections.abc import Iterator

import pytest
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.testing import RequestFactory

from engine import errors
from engine.api.edge import request_id
from engine.api.native.errors import (
    INTERNAL,
    REFUSALS,
    TABLE,
    row_of,
)

on_engine_error = REFUSALS.on_engine_error
on_http_error = REFUSALS.on_http_error
on_unforeseen = REFUSALS.on_unforeseen

REQUEST = RequestFactory().get("/")


def leaves(kind: type[errors.EngineError]) -> Iterator[type[errors.EngineError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from leaves(each)


MET_BY_CALLERS = [*leaves(errors.CallerError), *leaves(errors.Unavailable)]


@pytest.mark.parametrize("kind", MET_BY_CALLERS)
def test_every_error_that_a_caller_can_meet_has_a_row(kind):
    assert kind in TABLE


def test_the_table_has_no_row_that_nobody_can_meet():
    assert set(TABLE) == set(MET_BY_CALLERS)


def test_a_reason_belongs_to_one_error_only():
    reasons = [row.reason for row in TABLE.values()]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("kind", MET_BY_CALLERS)
def test_an_error_becomes_the_error_body(kind):
    token = request_id.set("asked-7")
    try:
        answer = on_engine_error(REQUEST, kind("Cause and remedy."))
    finally:
        request_id.reset(token)
    row = TABLE[kind]
    assert answer.status_code == row.code
    assert json.loads(answer.content) == {
        "error": {
            "status": row.status,
            "reason": row.reason,
            "message": "Cause and remedy.",
            "request_id": "asked-7",
        }
    }


def test_details_are_told_field_by_field():
    error = errors.InvalidRequest("x", details=(errors.Detail(field="name", issue="is required"),))
    body = json.loads(on_engine_error(REQUEST, error).content)
    assert body["error"]["details"] == [{"field": "name", "issue": "is required"}]


def test_unavailable_says_when_to_come_back():
    answer = on_engine_error(REQUEST, errors.DatabaseUnavailable("away"))
    assert answer.headers["Retry-After"] == str(errors.Unavailable.retry_after_s)


def test_a_full_queue_says_when_to_come_back():
    answer = on_engine_error(REQUEST, errors.QueueFull("full"))
    assert answer.headers["Retry-After"] == str(errors.QueueFull.retry_after_s)
    assert "RateLimit-Limit" not in answer.headers


def test_a_refusal_that_time_does_not_heal_names_no_time():
    answer = on_engine_error(REQUEST, errors.StorageQuotaExceeded("full"))
    assert "Retry-After" not in answer.headers


def test_who_was_too_fast_is_told_the_rate_and_when_to_go_on():
    error = errors.RateLimited("slower")
    error.retry_after_s, error.allowance_max = 1.2, 20
    answer = on_engine_error(REQUEST, error)
    told = {key: answer.headers[key] for key in answer.headers if key.startswith("R")}
    assert told == {
        "Retry-After": "2",
        "RateLimit-Limit": "20",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "2",
    }


def test_unauthenticated_says_how_to_identify():
    answer = on_engine_error(REQUEST, errors.AuthenticationRequired("who?"))
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("kind", [errors.Superseded, *leaves(errors.SourceError)])
def test_errors_of_the_belt_are_internal_to_callers(kind):
    assert row_of(kind("secret cause")) == INTERNAL
    assert b"secret" not in on_engine_error(REQUEST, kind("secret cause")).content


def test_the_last_handler_tells_nothing_and_logs_all(caplog):
    error = RuntimeError("password=hunter2")
    answer = on_unforeseen(REQUEST, error)
    assert answer.status_code == 500
    assert b"hunter2" not in answer.content
    assert json.loads(answer.content)["error"]["reason"] == "INTERNAL"
    assert caplog.records[0].exc_info[1] is error


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotFoundException("/etc"), 404, "ROUTE_NOT_FOUND"),
        (MethodNotAllowedException(headers={"Allow": "GET"}), 405, "METHOD_NOT_ALLOWED"),
        (HTTPException(status_code=413), 413, "BODY_TOO_LARGE"),
        (HTTPException(status_code=400, detail="inner"), 400, "INVALID_ARGUMENT"),
        (HTTPException(status_code=500, detail="inner"), 500, "INTERNAL"),
    ],
)
def test_what_the_framework_refuses_has_the_same_shape(error, code, reason):
    answer = on_http_error(REQUEST, error)
    body = json.loads(answer.content)["error"]
    assert (answer.status_code, body["reason"]) == (code, reason)
    assert set(body) == {"status", "reason", "message", "request_id"}
    assert "inner" not in body["message"]
    assert answer.headers.get("Allow") == ("GET" if code == 405 else None)
