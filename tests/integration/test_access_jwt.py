"""Signed tokens: who keeps all the rules speaks for the customer named, nobody else for anybody."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fix_store import Store

from engine.access import JWT_CHARACTERS_MAX, JWT_LEEWAY_S, Access, JwtRules, Operator
from engine.errors import AuthenticationRequired, DatabaseUnavailable, InvalidCredentials
from engine.models import CustomerId
from engine.store import Database

pytestmark = pytest.mark.anyio

SECRET = "a secret that is known to two sides only, and long enough for all"
AUDIENCE = "engine"
REFUSED = "The token is not valid here."
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
SIGNERS: dict[str, Any] = {
    "HS256": SECRET,
    "HS384": SECRET,
    "HS512": SECRET,
    "RS256": RSA,
    "RS384": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "PS512": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def verifier(signer: Any) -> str:
    """What the engine is given: the secret itself, or the public half in PEM form."""
    if isinstance(signer, str):
        return signer
    form = PublicFormat.SubjectPublicKeyInfo
    pem: bytes = signer.public_key().public_bytes(Encoding.PEM, form)
    return pem.decode().strip()


def rules(algorithm: str = "HS256") -> JwtRules:
    return JwtRules(key=verifier(SIGNERS[algorithm]), algorithm=algorithm, audience=AUDIENCE)


def claims_of(customer_id: CustomerId, /, **changes: Any) -> dict[str, Any]:
    """Good claims; a change to None leaves one out."""
    now = int(time.time())
    good = {"customer_id": str(customer_id), "aud": AUDIENCE, "exp": now + 600, "iat": now}
    return {name: value for name, value in (good | changes).items() if value is not None}


def token_of(customer_id: CustomerId, /, *, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims_of(customer_id, **changes), SIGNERS[algorithm], algorithm=algorithm)


def part(value: object) -> str:
    """A segment of a token made by hand, for what no library would write."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header: object, claims: object, *, secret: str = SECRET) -> str:
    """A token with a right HMAC-SHA256 signature, whatever its header says."""
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


@pytest.fixture
async def mine(store: Store) -> CustomerId:
    return await store.customer()


@pytest.fixture
async def other(store: Store) -> CustomerId:
    return await store.customer()


@pytest.fixture
def access(store: Store) -> Access:
    return Access(database=store.api, jwt=rules())


async def refused(access: Access, token: str) -> None:
    with pytest.raises(InvalidCredentials) as caught:
        await access.authenticate_jwt(token)
    assert caught.value.message == REFUSED


@pytest.mark.parametrize("algorithm", SIGNERS)
async def test_a_good_token_speaks_for_its_customer_under_each_algorithm(
    store: Store, mine: CustomerId, algorithm: str
) -> None:
    access = Access(database=store.api, jwt=rules(algorithm))
    token = token_of(mine, algorithm=algorithm)
    assert await access.authenticate_jwt(token) == mine
    head, _, signature = token.rpartition(".")
    await refused(
        access, f"{head}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}"
    )
    await refused(access, f"{head}.")


async def test_each_token_speaks_for_the_customer_that_it_names(
    access: Access, mine: CustomerId, other: CustomerId
) -> None:
    assert await access.authenticate_jwt(token_of(mine)) == mine
    assert await access.authenticate_jwt(token_of(other)) == other


async def test_another_customer_cannot_be_written_into_a_token(
    access: Access, mine: CustomerId, other: CustomerId
) -> None:
    header, _, signature = token_of(mine).split(".")
    await refused(access, f"{header}.{part(claims_of(other))}.{signature}")


async def test_one_of_several_audiences_is_enough(access: Access, mine: CustomerId) -> None:
    assert await access.authenticate_jwt(token_of(mine, aud=["a", AUDIENCE])) == mine


async def test_no_token_is_no_caller(access: Access) -> None:
    for nothing in (None, ""):
        with pytest.raises(AuthenticationRequired):
            await access.authenticate_jwt(nothing)


async def test_without_a_key_good_tokens_are_told_so(store: Store, mine: CustomerId) -> None:
    access = Access(database=store.api)
    with pytest.raises(InvalidCredentials, match="not accepted here"):
        await access.authenticate_jwt(token_of(mine))
    with pytest.raises(AuthenticationRequired):
        await access.authenticate_jwt(None)


async def test_an_expired_token_is_called_expired(access: Access, mine: CustomerId) -> None:
    with pytest.raises(InvalidCredentials, match="has expired"):
        await access.authenticate_jwt(token_of(mine, exp=int(time.time()) - JWT_LEEWAY_S - 2))


async def test_that_a_token_has_expired_is_told_to_nobody_who_cannot_sign(
    access: Access, mine: CustomerId
) -> None:
    claims = claims_of(mine, exp=1)
    await refused(access, jwt.encode(claims, "another secret " * 5, algorithm="HS256"))


async def test_clocks_may_differ_by_half_a_minute_and_no_more(
    access: Access, mine: CustomerId
) -> None:
    now = int(time.time())
    assert JWT_LEEWAY_S <= 30
    for late in ({"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}):
        assert await access.authenticate_jwt(token_of(mine, **late)) == mine
    for early in ({"nbf": now + 60}, {"iat": now + 60}):
        await refused(access, token_of(mine, **early))


WRONG: dict[str, Callable[[CustomerId], str]] = {
    "no exp": lambda id: token_of(id, exp=None),
    "exp is a word": lambda id: token_of(id, exp="soon"),
    "exp is a list": lambda id: token_of(id, exp=[1]),
    "exp is endless": lambda id: token_of(id, exp=float("inf")),
    "no aud": lambda id: token_of(id, aud=None),
    "another aud": lambda id: token_of(id, aud="another engine"),
    "aud is part of ours": lambda id: token_of(id, aud=AUDIENCE[:3]),
    "aud is empty": lambda id: token_of(id, aud=[]),
    "aud is a map": lambda id: token_of(id, aud={AUDIENCE: True}),
    "nbf is a word": lambda id: token_of(id, nbf="soon"),
    "iat is a word": lambda id: token_of(id, iat="soon"),
    "no customer_id": lambda id: token_of(id, customer_id=None, sub=str(id)),
    "customer_id is a number": lambda id: token_of(id, customer_id=id.int),
    "customer_id is a list": lambda id: token_of(id, customer_id=[str(id)]),
    "customer_id is a name": lambda id: token_of(id, customer_id="tester"),
    "customer_id is unknown": lambda id: token_of(CustomerId(uuid4())),
    "alg none": lambda id: jwt.encode(claims_of(id), None, algorithm="none"),
    "alg NONE": lambda id: by_hand({"alg": "NONE", "typ": "JWT"}, claims_of(id)),
    "alg missing": lambda id: by_hand({"typ": "JWT"}, claims_of(id)),
    "alg is a list": lambda id: by_hand({"alg": ["HS256"]}, claims_of(id)),
    "another alg": lambda id: token_of(id, algorithm="HS512"),
    "another alg in its header": lambda id: by_hand({"alg": "HS384"}, claims_of(id)),
    "another key": lambda id: jwt.encode(claims_of(id), SECRET + "!", algorithm="HS256"),
    "the empty key": lambda id: by_hand({"alg": "HS256"}, claims_of(id), secret=""),
    "crit": lambda id: by_hand({"alg": "HS256", "crit": ["mine"], "mine": 1}, claims_of(id)),
    "payload apart": lambda id: by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}, b""),
    "claims are a list": lambda id: by_hand({"alg": "HS256"}, [claims_of(id)]),
    "claims are nothing": lambda id: by_hand({"alg": "HS256"}, b""),
    "claims are deep": lambda id: by_hand({"alg": "HS256"}, b"[" * 5_000),
    "header is deep": lambda id: by_hand(b"[" * 5_000, claims_of(id)),
    "header is a list": lambda id: by_hand(["HS256"], claims_of(id)),
    "oversize": lambda id: token_of(id, more="x" * JWT_CHARACTERS_MAX),
    "garbage": lambda id: "garbage",
    "dots": lambda id: "..",
    "five parts": lambda id: "a.b.c.d.e",
    "no ASCII": lambda id: token_of(id) + "é",
    "half a character": lambda id: token_of(id) + "\ud800",
    "NUL": lambda id: token_of(id) + "\0",
    "spaces around": lambda id: f" {token_of(id)} ",
    "an access key": lambda id: "re_" + "x" * 32,
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_whatever_is_wrong_the_answer_is_the_same(
    access: Access, mine: CustomerId, wrong: str
) -> None:
    await refused(access, WRONG[wrong](mine))


async def test_the_largest_token_is_read(access: Access, mine: CustomerId) -> None:
    token = token_of(mine, more="x" * (JWT_CHARACTERS_MAX // 2))
    assert JWT_CHARACTERS_MAX // 2 < len(token) <= JWT_CHARACTERS_MAX
    assert await access.authenticate_jwt(token) == mine


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_no_secret_to_sign_with(
    store: Store, mine: CustomerId, algorithm: str
) -> None:
    """The old confusion: everybody has the public key, and HMAC takes any bytes as its secret."""
    access = Access(database=store.api, jwt=rules(algorithm))
    pem = verifier(SIGNERS[algorithm])
    for secret in (pem, pem + "\n"):
        await refused(access, by_hand({"alg": "HS256"}, claims_of(mine), secret=secret))


async def test_a_key_in_the_header_of_a_token_is_not_trusted(
    store: Store, mine: CustomerId
) -> None:
    access = Access(database=store.api, jwt=rules("RS256"))
    thief = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(thief.public_key()))
    headers = {"jwk": own, "kid": "1", "jku": "http://127.0.0.1:9/keys"}
    await refused(access, jwt.encode(claims_of(mine), thief, algorithm="RS256", headers=headers))


async def test_a_closed_customer_has_no_tokens_left(
    store: Store, access: Access, mine: CustomerId, other: CustomerId
) -> None:
    token = token_of(mine)
    assert await access.authenticate_jwt(token) == mine
    await Operator(database=store.operator).close_customer(mine)
    await refused(access, token)
    assert await access.authenticate_jwt(token_of(other)) == other


async def test_a_database_that_is_away_is_no_wrong_token(
    database_url: str, mine: CustomerId
) -> None:
    nowhere = database_url.replace("/tmp/", "/tmp/nowhere-")
    database = await Database(nowhere, role="rag_api", timeout_s=0.5).open()
    try:
        with pytest.raises(DatabaseUnavailable):
            await Access(database=database, jwt=rules()).authenticate_jwt(token_of(mine))
    finally:
        await database.close()
