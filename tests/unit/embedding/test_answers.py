"""What an answer means: vectors in order and of length one, or a fault in words."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.embedding.answers import (
    RETRY_AFTER_S_MAX,
    Fault,
    Kind,
    answer_bytes_max,
    fault_of,
    seconds,
    vectors_of,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)


def body(rows: list[list[float]], order: list[int] | None = None, indent: int | None = None):
    order = order if order is not None else list(range(len(rows)))
    items = [{"index": number, "embedding": rows[number]} for number in order]
    return json.dumps({"data": items}, indent=indent).encode()


@given(
    rows=st.lists(st.lists(numbers, min_size=3, max_size=3).filter(any), min_size=1, max_size=5),
    chance=st.randoms(),
)
def test_any_finite_numbers_become_vectors_of_length_one_in_order(rows, chance):
    order = list(range(len(rows)))
    chance.shuffle(order)
    vectors = vectors_of(body(rows, order), count=len(rows), dimensions=3)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row, vector in zip(rows, vectors, strict=True):
        largest = max(map(abs, row))
        direction = np.array([value / largest for value in row])
        np.testing.assert_allclose(vector, direction / np.linalg.norm(direction), atol=1e-5)


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["data", "index", "embedding"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_it_is_vectors_or_a_fault(content):
    try:
        vectors = vectors_of(content, count=1, dimensions=1)
    except Fault as fault:
        kind = fault.kind
    else:
        kind = Kind.WRONG
        assert abs(float(vectors[0, 0])) == 1
    assert kind is Kind.WRONG


@given(st.integers(1, 40), st.integers(1, 64))
def test_the_longest_way_to_write_a_good_answer_is_within_the_bound(count, dimensions):
    content = body([[-2.2250738585072014e-308] * dimensions] * count, indent=8)
    assert len(content) <= answer_bytes_max(count=count, dimensions=dimensions)


@pytest.mark.parametrize("value", ["1e999", "NaN", "Infinity", "null", '"1"', "true", "[1]"])
def test_what_is_no_finite_number_is_refused(value):
    content = f'{{"data": [{{"index": 0, "embedding": [{value}]}}]}}'.encode()
    with pytest.raises(Fault, match="no list of vectors"):
        vectors_of(content, count=1, dimensions=1)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (301, b"", Kind.REFUSED),
        (400, b"", Kind.DOUBTED),
        (400, b"Invalid token in header", Kind.DOUBTED),
        (400, b"This model's maximum context length is 512 tokens", Kind.TOO_LONG),
        (401, b"maximum context length", Kind.REFUSED),
        (403, b"", Kind.REFUSED),
        (404, b"", Kind.REFUSED),
        (408, b"", Kind.AGAIN),
        (410, b"", Kind.REFUSED),
        (413, b"", Kind.TOO_LONG),
        (422, b"`inputs` must have less than 512 tokens", Kind.TOO_LONG),
        (422, b"model: field required", Kind.DOUBTED),
        (429, b"", Kind.AGAIN),
        (500, b"oops", Kind.AGAIN),
        (500, b"input is too large to process", Kind.TOO_LONG),
        (500, b"the input length exceeds the context length", Kind.TOO_LONG),
        (500, b"context deadline exceeded", Kind.AGAIN),
        (500, b"too many connections, at most 100", Kind.AGAIN),
        (500, b"maximum retries exceeded", Kind.AGAIN),
        (503, b"too large", Kind.AGAIN),
        (599, b"", Kind.AGAIN),
    ],
)
def test_a_status_says_what_to_do(status, said, kind):
    fault = fault_of(status, said=said)
    assert fault.kind is kind
    assert fault.words.endswith(f"({status})")
    assert not said or said.decode() not in fault.words


NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("3", 3),
        ("0.5", 0.5),
        ("0", 0),
        ("-5", 0),
        ("99999", RETRY_AFTER_S_MAX),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Tue, 01 Jan 2030 12:00:07 GMT", 7),
        ("Tue, 01 Jan 2030 12:00:07 -0000", 7),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0),
        ("Tue, 01 Jan 2040 12:00:00 GMT", RETRY_AFTER_S_MAX),
        ("Tue, 99 Jan 2030 12:00:00 GMT", None),
        ("Tue, 01 Jan 99999999999 12:00:00 GMT", None),
        ("Tue, 01 Jan 2030 12:00:00 +99999999999999999999", None),
    ],
)
def test_a_wait_is_read_as_seconds_or_as_a_date_and_bounded(header, wait_s):
    assert seconds(header, now=NOW) == wait_s


date_parts = st.sampled_from(["Tue,", "01", "Jan", "2030", "12:00:00", "GMT", "+0000", "9" * 20])


@given(st.text(max_size=40) | st.lists(date_parts, min_size=4).map(" ".join))
def test_any_retry_after_is_a_bounded_wait_or_none(header):
    wait_s = seconds(header, now=NOW)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_S_MAX
