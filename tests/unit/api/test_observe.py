import logging

import pytest
from prometheus_client import generate_latest

from engine.api.edge import request_id
from engine.api.observe import RequestMeter, observed

pytestmark = pytest.mark.anyio


def scope(path: str = "/rags", *, headers: tuple = (), method: str = "GET") -> dict:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"accesskey=re_secret",
        "headers": list(headers),
        "path_template": "/rags",
    }


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": request_id.get().encode()})


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def run(app, given_scope, *, meter: RequestMeter | None = None) -> list[dict]:
    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    await observed(app, given_scope, receive, send, meter=meter or RequestMeter())
    return sent


async def test_the_callers_request_id_reaches_the_answer_and_the_handler():
    sent = await run(answer, scope(headers=((b"X-Request-Id", b"mine-1"),)))
    assert (b"x-request-id", b"mine-1") in sent[0]["headers"]
    assert (b"a", b"b") in sent[0]["headers"]
    assert sent[1]["body"] == b"mine-1"
    assert request_id.get() == ""


async def test_an_odd_request_id_is_replaced():
    sent = await run(answer, scope(headers=((b"x-request-id", b"\xff"),)))
    (made,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    assert len(made) == 32


async def test_a_request_is_one_log_line_without_its_query(caplog):
    caplog.set_level(logging.INFO, "engine.api.access")
    await run(answer, scope())
    (record,) = caplog.records
    assert (record.method, record.path, record.code) == ("GET", "/rags", 200)
    assert "re_secret" not in str(vars(record))


async def test_a_token_in_a_path_is_not_logged_whatever_its_form(caplog):
    caplog.set_level(logging.INFO, "engine.api.access")
    for token in ("eyJhbGciOiJIUzI1NiJ9." + "a" * 60, "x" * 60_000, "a.b." + "c" * 80):
        await run(answer, scope(f"/files/{token}/more"))
    await run(answer, scope("/files/8c4d7e5a-0000-4000-8000-000000000000"))
    told = [record.path for record in caplog.records]
    assert told == ["/files/…/more"] * 3 + ["/files/8c4d7e5a-0000-4000-8000-000000000000"]


async def test_requests_are_counted_by_route_and_code():
    meter = RequestMeter()
    await run(answer, scope(), meter=meter)
    await run(answer, {**scope("/x/y"), "path_template": ""}, meter=meter)
    await run(answer, scope(method="BREW"), meter=meter)
    text = generate_latest(meter.registry).decode()
    for labels in (
        'code="200",method="GET",route="/rags"',
        'code="200",method="GET",route="unmatched"',
        'code="200",method="other",route="/rags"',
    ):
        assert f"rag_engine_http_requests_total{{{labels}}} 1.0" in text


async def test_a_request_that_breaks_off_is_counted_all_the_same(caplog):
    caplog.set_level(logging.INFO, "engine.api.access")

    async def broken(scope, receive, send):
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await run(broken, scope())
    assert caplog.records[0].code == 499
