import base64
import time
from uuid import UUID, uuid4

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import LinkNotValid
from engine.links import AUDIENCE, Link, sign, verify
from engine.models import CustomerId, SourceId

KEY = b"k" * 32
LINK = Link(customer_id=CustomerId(uuid4()), source_id=SourceId(uuid4()))


def claims(**changed):
    right = {
        "aud": AUDIENCE,
        "customer": str(LINK.customer_id),
        "source": str(LINK.source_id),
        "exp": int(time.time()) + 60,
    }
    return {name: value for name, value in (right | changed).items() if value is not None}


def test_a_token_opens_what_it_was_signed_for():
    assert verify(sign(LINK, key=KEY, expire_s=60), key=KEY) == LINK


@given(customer_id=st.uuids(), source_id=st.uuids())
def test_any_token_stands_in_a_path_as_it_is_and_is_short_enough(
    customer_id: UUID, source_id: UUID
):
    link = Link(customer_id=CustomerId(customer_id), source_id=SourceId(source_id))
    token = sign(link, key=KEY, expire_s=60)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(token) < 512
    assert verify(token, key=KEY) == link


def test_a_token_opens_nothing_once_it_has_expired():
    with pytest.raises(LinkNotValid):
        verify(sign(LINK, key=KEY, expire_s=-1), key=KEY)


def test_a_token_of_another_key_opens_nothing():
    with pytest.raises(LinkNotValid):
        verify(sign(LINK, key=b"x" * 32, expire_s=60), key=KEY)


def test_what_the_other_refusals_are_changed_from_is_valid():
    assert verify(jwt.encode(claims(), KEY, algorithm="HS256"), key=KEY) == LINK


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "another-purpose"},
        {"aud": None},
        {"exp": None},
        {"exp": "soon"},
        {"customer": None},
        {"customer": "someone"},
        {"customer": 7},
        {"source": "not-a-uuid"},
        {"source": None},
    ],
)
def test_a_signed_token_with_other_claims_opens_nothing(changed):
    with pytest.raises(LinkNotValid):
        verify(jwt.encode(claims(**changed), KEY, algorithm="HS256"), key=KEY)


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_the_algorithm_is_ours_and_not_the_tokens(algorithm):
    key = b"k" * 64
    token = jwt.encode(claims(), "" if algorithm == "none" else key, algorithm=algorithm)
    with pytest.raises(LinkNotValid):
        verify(token, key=key)
    assert verify(jwt.encode(claims(), key, algorithm="HS256"), key=key) == LINK


@given(at=st.integers(0), character=st.characters(codec="ascii"))
def test_a_token_with_another_character_opens_nothing_else(at, character):
    token = sign(LINK, key=KEY, expire_s=60)
    at %= len(token)
    altered = token[:at] + character + token[at + 1 :]
    try:
        assert verify(altered, key=KEY) == LINK
    except LinkNotValid:
        assert altered != token


@given(st.text())
def test_whatever_is_no_token_is_refused_as_one(text):
    with pytest.raises(LinkNotValid):
        verify(text, key=KEY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below),
    max_leaves=6,
)


@given(header=JSON, algorithm=JSON, critical=JSON, payload=JSON)
def test_a_header_of_any_json_is_refused(header, algorithm, critical, payload):
    named = {"typ": "JWT", "alg": algorithm, "crit": critical, "kid": header, "b64": header}
    for first in (header, named):
        parts = (_part(msgspec.json.encode(first)), _part(msgspec.json.encode(payload)), "c2ln")
        with pytest.raises(LinkNotValid):
            verify(".".join(parts), key=KEY)


@pytest.mark.parametrize("header", [b"[" * 700, b"9" * 700, b'{"alg":' * 80, b"\xff\x00"])
def test_a_header_that_json_chokes_on_is_refused(header):
    with pytest.raises(LinkNotValid):
        verify(f"{_part(header)}.e30.c2ln", key=KEY)


@pytest.mark.parametrize(
    "token", ["\ud800", "\ud800.e30.c2ln", "a.b.c", "..", "é.é.é", "x" * 10**7]
)
def test_a_token_that_cannot_be_encoded_or_is_endless_is_refused(token):
    with pytest.raises(LinkNotValid):
        verify(token, key=KEY)


def _part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
