"""Creates with an Idempotency-Key, over HTTP: once is once, whoever asks again and however."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fix_engine import Caller, new_customer

from engine.config import Limits, Settings

KEYS_MAX = 4
LIMITS = Limits(customer_idempotency_keys_max=KEYS_MAX)


@pytest.fixture
def caller(base_url: str, module_settings: Settings) -> Iterator[Caller]:
    with Caller(base_url, token=new_customer(module_settings, "keyed")) as made:
        yield made


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def reason(answer: httpx.Response) -> str:
    found: str = answer.json()["error"]["reason"]
    return found


def rags(caller: Caller) -> list[dict]:
    found: list[dict] = caller.ok("GET", "/rags")["result"]
    return found


def create(caller: Caller, number: int, key: str) -> httpx.Response:
    """One of the four creates, with its n-th body."""
    match number % 4:
        case 0:
            body = {"name": "a", "source_urls": ["https://a.example/x"]}
            return caller.post("/rags", json=body, headers=keyed(key))
        case 1:
            rag = (rags(caller) or [caller.ok("POST", "/rags", json={"name": "b"})])[-1]
            body = {"source_urls": [f"https://a.example/{number}"]}
            return caller.post(f"/rags/{rag['id']}/sources", json=body, headers=keyed(key))
        case 2:
            file = {"file": ("a.txt", b"some text")}
            return caller.post("/storage_files", files=file, headers=keyed(key))
    return caller.post("/accesskeys", json={"name": "ci"}, headers=keyed(key))


@pytest.mark.parametrize("number", range(4))
def test_the_same_request_with_the_same_key_gets_the_first_answer(caller, number):
    first, second = create(caller, number, "once"), create(caller, number, "once")
    assert (first.status_code, second.status_code) == (200, 200), second.text
    assert (is_replay(first), is_replay(second)) == (False, True)
    kept = first.json()
    kept.pop("token", None)
    assert second.json() == kept
    lists = ("/rags", "/storage_files", "/accesskeys")
    assert [len(caller.ok("GET", path)["result"]) for path in lists] == [
        1 if number in (0, 1) else 0,
        1 if number == 2 else 0,
        2 if number == 3 else 1,  # every customer has its first key
    ]


def test_the_answer_is_that_of_then_and_not_of_now(caller):
    first = create(caller, 0, "then")
    caller.ok("PUT", f"/rags/{first.json()['id']}", json={"name": "renamed"})
    assert create(caller, 0, "then").json()["name"] == "a"


def test_another_request_with_the_same_key_is_refused_and_makes_nothing(caller):
    create(caller, 0, "mine")
    for body in ({"name": "b"}, {"name": "a", "source_urls": ["https://a.example/y"]}):
        answer = caller.post("/rags", json=body, headers=keyed("mine"))
        assert (answer.status_code, reason(answer)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(rags(caller)) == 1


def test_the_same_body_for_another_route_is_another_request(caller):
    assert caller.post("/rags", json={"name": "a"}, headers=keyed("body")).status_code == 200
    answer = caller.post("/accesskeys", json={"name": "a"}, headers=keyed("body"))
    assert (answer.status_code, reason(answer)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(caller.ok("GET", "/accesskeys")["result"]) == 1


def test_a_route_and_its_twin_under_the_old_prefix_are_the_same_request(caller):
    body = {"name": "a"}
    first = caller.post("/rags", json=body, headers=keyed("twin"))
    second = caller.post("/v1.0/rags", json=body, headers=keyed("twin"))
    assert is_replay(second)
    assert second.json() == first.json()


def form(name: str, content: bytes) -> dict:
    return {
        "data": {"name": name},
        "files": [("files", ("a.txt", content)), ("files", ("b.txt", b"two"))],
    }


def test_a_form_is_compared_by_what_it_carries_and_not_by_its_boundary(caller):
    first = caller.post("/rags", **form("a", b"one"), headers=keyed("form"))
    again = caller.post("/rags", **form("a", b"one"), headers=keyed("form"))
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert is_replay(again)
    assert again.json() == first.json()
    for other in (form("a", b"One"), form("b", b"one")):
        answer = caller.post("/rags", **other, headers=keyed("form"))
        assert reason(answer) == "IDEMPOTENCY_KEY_REUSED"
    assert [rag["source_counts"]["total"] for rag in rags(caller)] == [2]


def test_two_at_the_same_time_make_one(caller):
    token, body = caller.token, {"name": "a", "source_urls": ["https://a.example/x"]}
    rag = caller.ok("POST", "/rags", json={"name": "host"})

    def send(path: str, key: str) -> httpx.Response:
        with Caller(str(caller.base_url), token=token) as each:
            return each.post(path, json=body if path == "/rags" else sources, headers=keyed(key))

    sources = {"source_urls": ["https://a.example/s"]}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: send("/rags", "race"), range(8)))
        added = list(pool.map(lambda _: send(f"/rags/{rag['id']}/sources", "race 2"), range(8)))
    for answers in (made, added):
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert sum(not is_replay(answer) for answer in answers) == 1
    assert len(rags(caller)) == 2


def test_a_refused_request_leaves_its_key_free(caller):
    refused = caller.post("/rags", json={"name": ""}, headers=keyed("free"))
    assert refused.status_code == 400
    assert not is_replay(caller.post("/rags", json={"name": "a"}, headers=keyed("free")))
    gone = caller.post(
        f"/rags/{'0' * 8}-0000-4000-8000-{'0' * 12}/sources",
        json={"source_urls": ["https://a.example/x"]},
        headers=keyed("lost"),
    )
    assert gone.status_code == 404
    assert not is_replay(caller.post("/rags", json={"name": "b"}, headers=keyed("lost")))


def test_keys_of_two_customers_have_nothing_to_do_with_one_another(
    caller, base_url, module_settings
):
    create(caller, 0, "shared")
    with Caller(base_url, token=new_customer(module_settings, "other")) as other:
        assert not is_replay(create(other, 0, "shared"))
        assert len(rags(other)) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\xe9", "a\tb"])
def test_a_key_that_is_none_is_refused(caller, key):
    answer = caller.post(
        "/rags", json={"name": "a"}, headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["error"]["details"]] == ["Idempotency-Key"]
    assert rags(caller) == []


def test_two_keys_in_one_request_are_refused(caller):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = caller.post("/rags", json={"name": "a"}, headers=headers)
    assert answer.status_code == 400
    assert rags(caller) == []


def test_there_is_a_bound_on_keys_and_requests_without_one_go_on(caller):
    for number in range(KEYS_MAX):
        assert (
            caller.post("/rags", json={"name": "a"}, headers=keyed(f"{number}")).status_code == 200
        )
    over = caller.post("/rags", json={"name": "a"}, headers=keyed("over"))
    assert (over.status_code, reason(over)) == (429, "TOO_MANY_IDEMPOTENCY_KEYS")
    assert len(rags(caller)) == KEYS_MAX
    assert is_replay(caller.post("/rags", json={"name": "a"}, headers=keyed("0")))
    assert caller.post("/rags", json={"name": "a"}).status_code == 200


def test_a_key_where_nothing_is_created_changes_nothing(caller):
    assert caller.get("/rags", headers=keyed("x")).status_code == 200
    rag = create(caller, 0, "y").json()
    deleted = caller.delete(f"/rags/{rag['id']}", headers=keyed("y"))
    assert (deleted.status_code, is_replay(deleted)) == (200, False)
