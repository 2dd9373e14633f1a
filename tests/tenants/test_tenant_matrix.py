"""Every endpoint with every id of another customer: what is another's is what is nobody's."""

import os
from collections.abc import Iterator, Mapping
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fix_cases import CHOSEN, DOOR, EVERY, NATIVE, OPEN, Case, mixtures
from fix_tenants import NOBODY, House, Tenant

from engine.api.app import create_app
from engine.config import Settings
from engine.links import Link, sign
from engine.models import CustomerId, SourceId

IDS = [f"{prefix} {case.method} {case.template}" for prefix, case in CHOSEN]
EVERY_CASE = pytest.mark.parametrize(("prefix", "case"), CHOSEN, ids=IDS)
OF_THE_MOMENT = {"date", "ratelimit-remaining", "ratelimit-reset", "ratelimit-limit"}
MALFORMED = ["x", "%00", "٠b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10", "9" * 300]
if os.environ.get("TENANTS") == "all":
    MALFORMED += ["..%2f..%2frags", "'%20OR%201=1--", "%ff%fe"]
    MALFORMED += ["%7B0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10%7D"]


def routes(settings: Settings) -> Iterator[tuple[str, str]]:
    """What the application that runs has, whether it is described anywhere or not."""
    for route in create_app(settings).routes:
        for method in getattr(route, "methods", {"?"}):
            if method != "OPTIONS":
                yield method, getattr(route, "path_format", route.path)


def test_the_matrix_knows_every_route_of_the_application(tenant_settings: Settings) -> None:
    known = {(case.method, prefix + case.route) for prefix, case in EVERY}
    assert known | OPEN == set(routes(tenant_settings))
    assert not known & OPEN


@pytest.mark.parametrize(
    "path", ["/schema/openapi.json", *(p + "/knowledge-base/openapi.json" for p in DOOR)]
)
def test_the_matrix_knows_every_route_that_is_described(house: House, path: str) -> None:
    known = {(case.method, prefix + case.route) for prefix, case in EVERY} | OPEN
    described = {
        (method.upper(), route)
        for route, methods in house.client.get(path).json()["paths"].items()
        for method in methods
    }
    assert described
    assert described <= known


def asked(
    house: House, case: Case, *, prefix: str, ids: Mapping[str, str], sent: set[str]
) -> tuple[object, ...]:
    """The whole answer to `mine`, each id that was sent replaced by its kind."""
    answer = case.send(house.client, prefix=prefix, ids=ids, headers=house.mine.headers(prefix))
    return answer.status_code, *without(answer, {kind: ids[kind] for kind in sent})


def without(answer: httpx.Response, values: Mapping[str, str]) -> tuple[object, bytes]:
    content = answer.content
    for kind, value in values.items():
        content = content.replace(value.encode(), f"<{kind}>".encode())
    headers = {k: v for k, v in answer.headers.items() if k not in OF_THE_MOMENT}
    return headers, content


@EVERY_CASE
def test_what_is_anothers_is_answered_to_the_byte_as_what_is_nobodys(
    house: House, prefix: str, case: Case
) -> None:
    mine, theirs = house.mine.ids, house.theirs.ids
    before = house.digest(house.theirs)
    for foreign in mixtures(case.kinds):
        of_theirs = {**mine, **{kind: theirs[kind] for kind in foreign}}
        of_nobody = {**mine, **{kind: str(uuid4()) for kind in foreign}}
        answers = [
            asked(house, case, prefix=prefix, ids=ids, sent=foreign)
            for ids in (of_theirs, of_nobody)
        ]
        assert answers[0] == answers[1], foreign
        assert answers[0][0] == case.status(foreign), answers[0]
        assert house.theirs.word not in str(answers[0])
    assert house.digest(house.theirs) == before


@EVERY_CASE
def test_what_a_customer_is_told_holds_nothing_of_another(
    house: House, prefix: str, case: Case
) -> None:
    """The same requests about nothing in particular, or about what is nobody's."""
    ids = dict.fromkeys(house.mine.ids, NOBODY)
    answer = case.send(house.client, prefix=prefix, ids=ids, headers=house.mine.headers(prefix))
    assert answer.status_code < 500
    told = answer.text
    for value in (house.theirs.customer_id, house.theirs.word, *house.theirs.ids.values()):
        assert value not in told


@EVERY_CASE
def test_an_id_that_is_none_is_refused_and_never_a_fault(
    house: House, prefix: str, case: Case
) -> None:
    for kind in case.kinds:
        for malformed in MALFORMED:
            ids = {**house.mine.ids, kind: malformed}
            headers = house.mine.headers(prefix)
            answer = case.send(house.client, prefix=prefix, ids=ids, headers=headers)
            # A path with an escaped slash in it is another path.
            assert answer.status_code in {400, 404, 405, 422} or case.unknown == 200, answer.text
            assert answer.status_code < 500


def test_a_link_opens_only_what_its_customer_has(house: House) -> None:
    def opened(customer: Tenant, source: str) -> int:
        link = Link(
            customer_id=CustomerId(UUID(customer.customer_id)), source_id=SourceId(UUID(source))
        )
        token = sign(link, key=signing_key(house), expire_s=60)
        return house.client.get(f"/v1/convai/knowledge-base/source-file/{token}").status_code

    assert opened(house.theirs, house.theirs.ids["paper"]) == 200
    assert opened(house.mine, house.theirs.ids["paper"]) == 404
    assert opened(house.theirs, house.twin.ids["paper"]) == 404


def signing_key(house: House) -> bytes:
    with psycopg.connect(house.admin_url) as connection:
        row = connection.execute("SELECT key FROM signing_keys").fetchone()
    assert row
    return bytes(row[0])


def test_all_requests_of_the_matrix_work_for_their_owner(house: House) -> None:
    """Else a refusal of the matrix might come from the request and not from whose the id is."""
    for prefixes, owner in (
        ((NATIVE[0], DOOR[0]), house.twin),
        ((NATIVE[1], DOOR[1]), house.second_twin),
    ):
        for prefix, case in EVERY:
            if prefix in prefixes:
                ids = owner.ids
                headers = owner.headers(prefix)
                answer = case.send(house.client, prefix=prefix, ids=ids, headers=headers)
                assert answer.status_code == case.right, (prefix, case, answer.text)
                if case.unknown == 200 and "{document}" in str(case.body):
                    assert "failure" not in answer.text
