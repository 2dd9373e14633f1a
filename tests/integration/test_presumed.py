"""A caller whose key was right a moment ago is presumed, and seen to be right with what answers."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from fix_store import Store
from litestar import Request

from engine import access as access_module
from engine import throttle as throttle_module
from engine.access import Access, Operator, Presumed, new_token, token_hash
from engine.api.call import HttpRequest, called, presumed
from engine.api.headers import told
from engine.buckets import Rate
from engine.config import Limits, Settings
from engine.embedding import Models, Registry
from engine.errors import (
    DatabaseUnavailable,
    InvalidCredentials,
    RagNotFound,
    RagNotReady,
    RateLimited,
)
from engine.hits import Mode
from engine.models import CustomerId, RagId
from engine.rates import Rates
from engine.search import Search
from engine.store import accesskeys, rags
from engine.throttle import Throttle

pytestmark = pytest.mark.anyio


class Caller(NamedTuple):
    customer_id: CustomerId
    token: str


async def caller(store: Store) -> Caller:
    customer, _, token = await Operator(database=store.operator).create_customer("a caller")
    return Caller(customer.id, token)


def seen(access: Access, tokens: Sequence[str]) -> list[bool]:
    """Of which of these keys it is presumed whose they are."""
    return [access.presumed(token) is not None for token in tokens]


async def test_a_key_is_presumed_once_it_was_right(store: Store) -> None:
    access = Access(database=store.api)
    customer_id, token = await caller(store)
    assert access.presumed(token) is None
    await access.authenticate(token)
    assert access.presumed(token) == Presumed(customer_id, token_hash(token))
    access.forget(token_hash(token))
    assert access.presumed(token) is None


async def test_nobody_is_presumed_without_a_key_of_their_own(store: Store) -> None:
    await caller(store)
    bootstrap = new_token()
    access = Access(database=store.api, operator=store.operator, bootstrap_key=bootstrap)
    await access.authenticate(bootstrap)
    wrong = new_token()
    with pytest.raises(InvalidCredentials):
        await access.authenticate(wrong)
    for token in (bootstrap, wrong, "", None):
        assert access.presumed(token) is None


async def test_what_is_presumed_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(access_module, "monotonic", lambda: now_s)
    access = Access(database=store.api)
    _, token = await caller(store)
    await access.authenticate(token)
    now_s += access_module.PRESUMED_S
    assert access.presumed(token)
    now_s += 0.1
    assert access.presumed(token) is None


async def test_who_only_asks_questions_is_known_for_as_long_as_the_answers_come(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither looked for by a statement of its own, nor taken for a stranger where somebody at the
    same address guesses keys."""
    now_s = 1_000.0
    for module in (access_module, throttle_module):
        monkeypatch.setattr(module, "monotonic", lambda: now_s)
    limits = Limits(address_requests_per_s=0.001, address_requests_burst=1)
    rates = Rates("", rate=Rate(per_s=100, burst=100))
    throttle = Throttle(rates=rates, limits=limits)
    access, (customer_id, token) = Access(database=store.api), await caller(store)
    request = asked_with(token, access=access, throttle=throttle)
    assert (await presumed(request)).token_hash == b""  # it was asked for
    request.scope["state"].clear()
    for _ in range(4):
        now_s += 200
        call = await presumed(request)
        assert (call.customer_id, call.token_hash) == (customer_id, token_hash(token))
        assert not told(request.scope)
        async with call.confirmed():
            pass
        assert dict(told(request.scope))[b"ratelimit-limit"] == b"100"
        request.scope["state"].clear()
    with pytest.raises(InvalidCredentials):
        await presumed(asked_with("re_guessed", access=access, throttle=throttle))
    with pytest.raises(RateLimited):
        await presumed(asked_with("re_guessed", access=access, throttle=throttle))
    assert (await called(request)).customer_id == customer_id


async def test_what_speaks_against_a_presumed_key_has_it_asked_for(store: Store) -> None:
    throttle = Throttle(rates=Rates("", rate=Rate(per_s=100, burst=100)), limits=Limits())
    access, (customer_id, token) = Access(database=store.api), await caller(store)
    request = asked_with(token, access=access, throttle=throttle)
    await access.authenticate(token)
    for error in (RagNotFound("none"), InvalidCredentials("ended")):
        call = await presumed(request)
        with pytest.raises(type(error)):
            async with call.confirmed():
                raise error
        assert access.presumed(token)  # it is still good
    keys = await access.keys(customer_id, page_size=9, after=None)
    await access.delete_key(customer_id, keys.items[0].id)
    call = await presumed(request)
    with pytest.raises(DatabaseUnavailable):  # then there is nobody to ask
        async with call.confirmed():
            raise DatabaseUnavailable("away")
    with pytest.raises(InvalidCredentials):
        async with call.confirmed():
            raise RagNotFound("none")
    assert access.presumed(token) is None


def asked_with(token: str, *, access: Access, throttle: Throttle) -> HttpRequest:
    """A question as it arrives, so far as who asks is told by it."""
    verbs = SimpleNamespace(access=access, throttle=throttle)
    settings = SimpleNamespace(limits=Limits(), base_url="")
    app = SimpleNamespace(state=SimpleNamespace(verbs=verbs, settings=settings))
    scope: Any = {
        "type": "http", "method": "POST", "path": f"/rags/{uuid4()}/query", "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())], "client": ("192.0.2.1", 1),
        "state": {}, "litestar_app": app,
    }  # fmt: skip
    return Request(scope)


async def test_only_so_many_are_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "PRESUMED_MAX", 2)
    access = Access(database=store.api)
    tokens = [(await caller(store)).token for _ in range(3)]
    for token in tokens:
        await access.authenticate(token)
    assert seen(access, tokens) == [False, True, True]
    await access.authenticate(tokens[1])  # seen last: the other one goes
    await access.authenticate(tokens[0])
    assert seen(access, tokens) == [True, True, False]


class Desk(NamedTuple):
    store: Store
    search: Search
    caller: Caller
    rag_id: RagId

    async def ask(self, hash: bytes, *, rag_id: RagId | None = None) -> None:
        await self.search.query(
            self.caller.customer_id, rag_id or self.rag_id, query="kettle", top_k=1,
            mode=Mode.LEXICAL, token_hash=hash,
        )  # fmt: skip


@pytest.fixture
async def desk(store: Store, settings: Settings) -> Desk:
    """A RAG in which there is nothing yet: who may ask it is told so."""
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    asking = await caller(store)
    rag_id = await store.do(
        rags.insert, customer_id=asking.customer_id, name="kb", description="",
        embedding_model=settings.embedding_model, chunk_tokens=200, chunk_overlap_tokens=0,
    )  # fmt: skip
    search = Search(database=store.api, models=models, limits=Limits())
    return Desk(store=store, search=search, caller=asking, rag_id=rag_id)


async def test_a_question_is_answered_by_a_key_that_is_still_good(desk: Desk) -> None:
    for good in (token_hash(desk.caller.token), b""):  # nothing: who calls was asked for
        with pytest.raises(RagNotReady):
            await desk.ask(good)


async def test_a_question_is_refused_by_a_key_that_ended(desk: Desk) -> None:
    access = Access(database=desk.store.api)
    customer_id, token = desk.caller
    keys = await access.keys(customer_id, page_size=9, after=None)
    await access.delete_key(customer_id, keys.items[0].id)
    with pytest.raises(InvalidCredentials):
        await desk.ask(token_hash(token))


async def test_a_question_is_refused_by_a_key_that_expired(desk: Desk) -> None:
    customer_id, hash = desk.caller.customer_id, token_hash("short")
    async with desk.store.api.transaction(customer_id=customer_id) as tx:
        await accesskeys.insert(
            tx, customer_id=customer_id, name="short", prefix="re_", token_hash=hash, expire_s=0
        )
    with pytest.raises(InvalidCredentials):
        await desk.ask(hash)


async def test_a_question_is_refused_by_the_key_of_somebody_else(desk: Desk) -> None:
    other = await caller(desk.store)
    for wrong in (token_hash(other.token), token_hash("x"), b"\x00"):
        with pytest.raises(InvalidCredentials):
            await desk.ask(wrong)


async def test_what_is_not_there_is_not_there_for_anybody(desk: Desk) -> None:
    """The door asks once more who calls before it tells."""
    with pytest.raises(RagNotFound):
        await desk.ask(token_hash("x"), rag_id=RagId(uuid4()))
