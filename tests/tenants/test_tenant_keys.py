"""Every endpoint with every credential that is not good, and how soon a good one ends."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fix_cases import CHOSEN, DOOR
from fix_engine import api_process, new_customer
from fix_services import free_port
from fix_tenants import House, Tenant
from msgspec.structs import replace

from engine.access import Operator, new_token
from engine.models import CustomerId
from engine.store import Database

REVOKED_WITHIN_S = 10.0
SAMPLES = 60


def stranger(house: House, name: str) -> Tenant:
    """A customer with nothing but a key."""
    token = new_customer(house.settings, name)
    answer = house.client.get("/customer", headers={"authorization": f"Bearer {token}"})
    return Tenant(customer_id=answer.json()["id"], token=token, word=name, ids={})


def close(house: House, tenant: Tenant) -> None:
    async def closed() -> None:
        database = await Database(house.settings.database_url, role="rag_operator").open()
        try:
            customer_id = CustomerId(UUID(tenant.customer_id))
            await Operator(database=database).close_customer(customer_id)
        finally:
            await database.close()

    asyncio.run(closed())


@pytest.fixture(scope="module")
def keys(house: House) -> dict[str, str]:
    """Tokens that were never good, or are good no longer, each of them once of `theirs`."""
    headers = house.theirs.headers("")
    revoked, expired = (
        house.client.post("/accesskeys", headers=headers, json={"name": name}).json()
        for name in ("revoked", "expired")
    )
    house.client.delete(f"/accesskeys/{revoked['id']}", headers=headers)
    with psycopg.connect(house.admin_url) as connection:
        connection.execute(
            "UPDATE accesskeys SET expires_at = now() WHERE id = %s", [expired["id"]]
        )
    closed = stranger(house, "closed")
    close(house, closed)
    good = house.theirs.token
    return {
        "unknown": new_token(),
        "wrong secret behind a real prefix": good[:11] + new_token()[11:],
        "one character off": good[:-1] + ("a" if good[-1] != "a" else "b"),
        "cut": good[:-1],
        "in capitals": good.upper(),
        "revoked": revoked["token"],
        "expired": expired["token"],
        "closed": closed.token,
        "malformed": "x",
        "endless": "re_" + "x" * 6_000,
        "statement": "' OR true --",
        "the id of a key": house.theirs.ids["key"],
        "the id of a customer": house.theirs.customer_id,
        "a token for the other door": house.theirs.jwt(),
    }


@pytest.fixture(scope="module")
def tokens(house: House) -> dict[str, str]:
    """JWTs that name `theirs`, or somebody who is not there."""
    closed, theirs = stranger(house, "closed by a token"), house.theirs
    close(house, closed)
    return {
        "another secret": theirs.jwt(key="another secret that is long enough for this"),
        "no signature": theirs.jwt(key="", algorithm="none"),
        "another algorithm": theirs.jwt(key="k" * 64, algorithm="HS512"),
        "expired": theirs.jwt(exp=time.time() - 60),
        "not yet": theirs.jwt(nbf=time.time() + 600),
        "another audience": theirs.jwt(aud="another"),
        "no customer": theirs.jwt(customer_id=""),
        "two customers": theirs.jwt(customer_id=[theirs.customer_id, theirs.customer_id]),
        "nobody": theirs.jwt(customer_id=str(uuid4())),
        "closed": closed.jwt(),
        "malformed": "a.b.c",
        "an access key": theirs.token,
    }


def ways(prefix: str, *, keys: dict[str, str], tokens: dict[str, str]) -> Iterator[dict[str, str]]:
    """The headers of every bad credential at a door."""
    yield {}
    yield {"authorization": ""}
    yield {"authorization": "Basic YTpi"}
    header = {"/v1/convai": "xi-api-key", "/v1/voiceai": "x-api-key"}.get(prefix, "authorization")
    for key in keys.values():
        yield {header: f"Bearer {key}" if header == "authorization" else key}
    if prefix == "/v1/voiceai":
        yield from ({"authorization": f"Bearer {token}"} for token in tokens.values())


def test_every_endpoint_refuses_every_bad_credential_and_changes_nothing(
    house: House, keys: dict[str, str], tokens: dict[str, str]
) -> None:
    before = house.digest(house.theirs)
    for prefix, case in CHOSEN:
        for headers in ways(prefix, keys=keys, tokens=tokens):
            answer = case.send(house.client, prefix=prefix, ids=house.theirs.ids, headers=headers)
            assert answer.status_code == 401, (prefix, case, headers, answer.text)
    assert house.digest(house.theirs) == before


@pytest.mark.parametrize("prefix", ["", *DOOR])
def test_a_refusal_does_not_say_whether_a_key_was_once_good(
    house: House, keys: dict[str, str], tokens: dict[str, str], prefix: str
) -> None:
    case = next(case for where, case in CHOSEN if where in (prefix, "/v1.0") and not case.kinds)
    header = {"/v1/convai": "xi-api-key", "/v1/voiceai": "x-api-key"}.get(prefix, "authorization")
    told = set()
    for key in keys.values():
        value = f"Bearer {key}" if header == "authorization" else key
        told.add(case.send(house.client, prefix=prefix, ids={}, headers={header: value}).text)
    assert len(told) == 1


def test_a_key_in_the_wrong_place_opens_nothing(house: House, theirs: Tenant) -> None:
    kb = "/knowledge-base"
    for path, more in (
        ("/rags", {"params": {"accesskey": theirs.token}}),
        ("/rags", {"headers": {"xi-api-key": theirs.token}}),
        ("/rags", {"headers": {"cookie": f"authorization={theirs.token}"}}),
        (DOOR[0] + kb, {"headers": {"authorization": f"Bearer {theirs.token}"}}),
        (DOOR[0] + kb, {"params": {"xi-api-key": theirs.token}}),
        (DOOR[0] + kb, {"headers": {"authorization": f"Bearer {theirs.jwt()}"}}),
        (DOOR[1] + kb, {"headers": {"xi-api-key": theirs.token}}),
    ):
        assert house.client.get(path, **more).status_code == 401  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def second_process(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another API process over the same database."""
    settings = replace(house.settings, port=free_port())
    log = tmp_path_factory.mktemp("second") / "api.log"
    with api_process(settings, log=log) as base_url:
        yield base_url


def until_refused(urls: list[str], *, headers: dict[str, str]) -> float:
    """How long after this moment the last of these processes refuses."""
    begun_s = time.monotonic()
    waiting = set(urls)
    while waiting:
        assert time.monotonic() - begun_s < 2 * REVOKED_WITHIN_S, waiting
        for url in sorted(waiting):
            if httpx.get(f"{url}/customer", headers=headers).status_code == 401:
                waiting.discard(url)
    return time.monotonic() - begun_s


def test_what_ends_a_key_ends_it_in_every_process_at_once(
    house: House, second_process: str
) -> None:
    urls = [str(house.client.base_url), second_process]

    def revoke(tenant: Tenant, key_id: str) -> None:
        house.client.delete(f"/accesskeys/{key_id}", headers=tenant.headers(""))

    def expire(tenant: Tenant, key_id: str) -> None:
        with psycopg.connect(house.admin_url) as connection:
            connection.execute("UPDATE accesskeys SET expires_at = now() WHERE id = %s", [key_id])

    def purge(tenant: Tenant, key_id: str) -> None:
        close(house, tenant)

    for end in (revoke, expire, purge):
        tenant = stranger(house, end.__name__)
        made = house.client.post("/accesskeys", headers=tenant.headers(""), json={"name": "k"})
        headers = {"authorization": f"Bearer {made.json()['token']}"}
        for url in urls * 2:
            assert httpx.get(f"{url}/customer", headers=headers).status_code == 200
        end(tenant, made.json()["id"])
        took_s = until_refused(urls, headers=headers)
        print(f"{end.__name__}: refused everywhere after {took_s:.3f} s")
        assert took_s < REVOKED_WITHIN_S


def questions(house: House) -> list[tuple[str, dict[str, object], int]]:
    """Paths and bodies of questions, and what their caller is told."""
    asked = {"query": "Where does it grow?"}
    path = f"/rags/{house.theirs.ids['rag']}/query"
    return [(path, asked, 200), (path, {}, 400), (f"/rags/{uuid4()}/query", asked, 404)]


@pytest.mark.parametrize("end", ["revoke", "expire"])
@pytest.mark.parametrize("number", range(3))
def test_the_very_next_question_with_an_ended_key_is_refused(
    house: House, second_process: str, keys: dict[str, str], end: str, number: int
) -> None:
    """Whose key it is, is remembered for questions: here each process has seen it. A refusal says
    no more than that of a key that never was."""
    path, body, code = questions(house)[number]
    key = house.client.post("/accesskeys", headers=house.theirs.headers(""), json={"name": "k"})
    headers = {"authorization": f"Bearer {key.json()['token']}", "x-request-id": "one"}
    urls = [f"{url}{path}" for url in (str(house.client.base_url).rstrip("/"), second_process)]
    for url in urls * 3:
        answer = httpx.post(url, headers=headers, json=body)
        assert answer.status_code == code, answer.text
        assert answer.headers["ratelimit-limit"]
    if end == "revoke":
        house.client.delete(f"/accesskeys/{key.json()['id']}", headers=house.theirs.headers(""))
    else:
        with psycopg.connect(house.admin_url) as connection:
            connection.execute(
                "UPDATE accesskeys SET expires_at = now() WHERE id = %s", [key.json()["id"]]
            )
    never = {**headers, "authorization": f"Bearer {keys['unknown']}"}
    for url in urls * 2:
        answer, other = (httpx.post(url, headers=each, json=body) for each in (headers, never))
        assert answer.status_code == 401, answer.text
        assert answer.text == other.text
        assert set(answer.headers) == set(other.headers)


def test_a_question_by_a_customer_that_is_closed_is_refused(
    house: House, second_process: str
) -> None:
    tenant = stranger(house, "asks")
    headers, path = {"authorization": f"Bearer {tenant.token}"}, f"/rags/{uuid4()}/query"
    urls = [f"{url}{path}" for url in (str(house.client.base_url).rstrip("/"), second_process)]
    for url in urls * 2:
        assert httpx.post(url, headers=headers, json={"query": "?"}).status_code == 404
    close(house, tenant)
    for url in urls * 2:
        assert httpx.post(url, headers=headers, json={"query": "?"}).status_code == 401


@pytest.mark.parametrize("way", ["bearer", "accesskey"])
def test_the_old_prefix_presumes_no_more_than_it_may(house: House, way: str) -> None:
    path, body, _ = questions(house)[0]
    key = house.client.post("/accesskeys", headers=house.theirs.headers(""), json={"name": "k"})
    token = key.json()["token"]
    given = (
        {"headers": {"authorization": f"Bearer {token}"}}
        if way == "bearer"
        else {"params": {"accesskey": token}}
    )
    for _ in range(3):
        assert house.client.post(f"/v1.0{path}", json=body, **given).status_code == 200
    house.client.delete(f"/accesskeys/{key.json()['id']}", headers=house.theirs.headers(""))
    for _ in range(2):
        assert house.client.post(f"/v1.0{path}", json=body, **given).status_code == 401


def test_a_key_ends_by_itself_when_it_expires(house: House) -> None:
    tenant = stranger(house, "short")
    asked = {"name": "short", "expire_s": 1}
    made = house.client.post("/accesskeys", headers=tenant.headers(""), json=asked).json()
    headers = {"authorization": f"Bearer {made['token']}"}
    assert house.client.get("/customer", headers=headers).status_code == 200
    time.sleep(1.1)
    assert house.client.get("/customer", headers=headers).status_code == 401


def test_a_customer_that_is_closed_is_known_by_no_token(house: House) -> None:
    tenant = stranger(house, "goes")
    headers = {"authorization": f"Bearer {tenant.jwt()}"}
    path = DOOR[1] + "/knowledge-base"
    assert house.client.get(path, headers=headers).status_code == 200
    close(house, tenant)
    assert house.client.get(path, headers=headers).status_code == 401


def test_how_long_a_refusal_takes_tells_no_known_key_from_an_unknown_one(
    house: House, keys: dict[str, str]
) -> None:
    """Grossly: interleaved, by the median. A hash that is looked up in an index is the same work
    whether it is there or not."""
    took_s: dict[str, list[float]] = {"unknown": [], "expired": [], "one character off": []}
    for _ in range(SAMPLES):
        for kind, times in took_s.items():
            begun_s = time.perf_counter()
            answer = house.client.get("/rags", headers={"authorization": f"Bearer {keys[kind]}"})
            times.append(time.perf_counter() - begun_s)
            assert answer.status_code == 401
    medians = [statistics.median(times) for times in took_s.values()]
    assert max(medians) < 2 * min(medians) + 0.002


def test_of_a_token_only_a_hash_and_its_beginning_are_stored(house: House) -> None:
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute(
            "SELECT prefix, octet_length(token_hash) FROM accesskeys WHERE customer_id = %s",
            [house.theirs.customer_id],
        ).fetchall()
    assert rows
    # 24 of its 32 random characters, 142 bits, are in no column.
    assert all((len(prefix), size) == (11, 32) for prefix, size in rows)


def test_tokens_are_long_and_no_two_are_alike() -> None:
    drawn = {new_token() for _ in range(1_000)}
    assert len(drawn) == 1_000
    assert {len(token) for token in drawn} == {35}
