from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import edge
from engine.errors import InvalidRequest
from engine.models import Cursor, State

TIMES = st.datetimes(timezones=st.just(UTC))
POSITIONS = st.integers(min_value=0, max_value=2**59)


def details_of(error: InvalidRequest) -> list[str]:
    return [each.field for each in error.details]


@given(at=TIMES, position=POSITIONS)
def test_a_list_cursor_survives_its_token(at, position):
    cursor = Cursor(at=at, position=position)
    assert edge.time_cursor(edge.page_token(cursor)) == cursor


@given(position=POSITIONS)
def test_a_position_cursor_survives_its_token(position):
    cursor = Cursor(position=position)
    assert edge.position_cursor(edge.page_token(cursor)) == cursor


@given(at=TIMES, position=POSITIONS)
def test_a_token_is_safe_in_a_url(at, position):
    token = edge.page_token(Cursor(at=at, position=position))
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(text=st.text(max_size=80))
def test_any_text_as_page_token_is_a_cursor_or_refused(text):
    for read in (edge.time_cursor, edge.position_cursor):
        try:
            outcome = read(text)
        except InvalidRequest as error:
            outcome = details_of(error)
        if text == "":
            assert outcome is None
        else:
            assert outcome == ["page_token"] or isinstance(outcome, Cursor)


def test_the_last_page_has_an_empty_token():
    assert edge.page_token(None) == ""
    assert edge.time_cursor("") is None
    assert edge.time_cursor(None) is None


@pytest.mark.parametrize(
    "token",
    [
        "2026-03-15 09:00:00.000000",
        "2026-03-15T09:00:00.000000",
        "2026-03-15T09:00:00.000000Z",
        "2026-03-15T09:00:00Z",
        "2026-03-15T11:00:00+02:00",
        "2026-03-15T11:00:00 02:00",
        "2026-03-15 11:00:00.000000 02:00",
    ],
)
def test_a_time_in_the_old_form_is_a_page_token(token):
    at = datetime(2026, 3, 15, 9, tzinfo=UTC)
    assert edge.time_cursor(token) == Cursor(at=at, position=0)


def test_tokens_of_the_two_kinds_of_lists_are_not_mixed_up():
    with pytest.raises(InvalidRequest):
        edge.time_cursor(edge.page_token(Cursor(position=3)))
    with pytest.raises(InvalidRequest):
        edge.position_cursor(edge.page_token(Cursor(at=datetime(2026, 1, 1, tzinfo=UTC))))


def test_a_time_in_another_zone_is_the_same_moment():
    at = datetime(2026, 3, 15, 9, tzinfo=UTC)
    there = at.astimezone(timezone(timedelta(hours=-7)))
    assert edge.page_token(Cursor(at=there)) == edge.page_token(Cursor(at=at))


@pytest.mark.parametrize("given_id", ["a", "A-b_9", "x" * 64])
def test_a_well_formed_request_id_is_kept(given_id):
    assert edge.request_id_of(given_id) == given_id


@pytest.mark.parametrize("given_id", [None, "", "x" * 65, "a b", "a\n", "é", "a;b"])
def test_any_other_request_id_is_replaced(given_id):
    made = edge.request_id_of(given_id)
    assert made != given_id
    assert edge.request_id_of(made) == made


@pytest.mark.parametrize(
    ("headers", "path", "accesskey", "token"),
    [
        ({"authorization": "Bearer re_1"}, "/rags", None, "re_1"),
        ({"authorization": "bearer  re_1 "}, "/rags", None, "re_1"),
        ({"x-api-key": "re_2"}, "/rags", None, "re_2"),
        ({"authorization": "Bearer re_1", "x-api-key": "re_2"}, "/rags", None, "re_1"),
        ({"authorization": "Basic re_1"}, "/rags", None, None),
        ({"authorization": "Bearer"}, "/rags", None, None),
        ({}, "/v1.0/rags", "re_3", "re_3"),
        ({}, "/v1.0", "re_3", "re_3"),
        ({}, "/v1.0/rags", "", None),
        ({}, "/rags", "re_3", None),
        ({}, "/v1.01/rags", "re_3", None),
    ],
)
def test_the_key_is_read_from_headers_and_from_the_query_under_the_old_prefix_only(
    headers, path, accesskey, token
):
    assert edge.token_of(headers=headers, path=path, accesskey=accesskey) == token


@pytest.mark.parametrize("text", ["0", "101", "-1", "", "x", "1.5", "٣", "9" * 400])
def test_a_page_size_out_of_range_is_refused_by_name(text):
    with pytest.raises(InvalidRequest) as caught:
        edge.page_size_of(text, page_size_max=100)
    assert details_of(caught.value) == ["page_size"]


@pytest.mark.parametrize(("text", "size"), [(None, 100), ("1", 1), ("100", 100), ("007", 7)])
def test_a_page_size_in_range_is_taken(text, size):
    assert edge.page_size_of(text, page_size_max=100) == size


def test_a_malformed_id_is_refused_by_its_name():
    with pytest.raises(InvalidRequest) as caught:
        edge.id_of("abc", field="source_id")
    assert details_of(caught.value) == ["source_id"]


def test_a_parameter_given_twice_is_refused():
    assert edge.single(["a"], field="x") == "a"
    assert edge.single([], field="x") is None
    with pytest.raises(InvalidRequest):
        edge.single(["a", "a"], field="x")


@pytest.mark.parametrize(
    ("text", "flag"), [(None, False), ("true", True), ("1", True), ("", True), ("False", False)]
)
def test_flags_are_read(text, flag):
    assert edge.flag_of(text, field="force") is flag


def test_a_flag_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(InvalidRequest):
        edge.flag_of("maybe", field="force")


def test_a_choice_outside_of_the_enum_is_refused_with_what_would_be_right():
    assert edge.choice_of("ready", State, field="status") is State.READY
    assert edge.choice_of(None, State, field="status") is None
    with pytest.raises(InvalidRequest) as caught:
        edge.choice_of("done", State, field="status")
    assert "ready" in caught.value.details[0].issue
