from uuid import UUID

import pytest
from litestar.datastructures import MultiDict

from engine.api.edge import place_token
from engine.api.query import Query
from engine.entries import EntryCursor, EntryKind
from engine.errors import InvalidRequest
from engine.models import Cursor


def query(*pairs: tuple[str, str]) -> Query:
    return Query(MultiDict(pairs))


def field_of(caught: pytest.ExceptionInfo[InvalidRequest]) -> str:
    return caught.value.details[0].field


def test_an_empty_value_is_not_given_and_the_last_one_counts():
    given = query(("a", "1"), ("a", "2"), ("b", ""))
    assert (given.text("a"), given.text("b"), given.text("c", default="x")) == ("2", "", "x")
    assert given.texts("a") == ["1", "2"]


def test_a_page_size_has_a_default_and_a_maximum():
    assert query().page_size(default=30, page_size_max=100) == 30
    assert query(("page_size", "100")).page_size(default=30, page_size_max=100) == 100
    for text in ("0", "101", "-1", "x", "1.5", "9" * 30):
        with pytest.raises(InvalidRequest) as caught:
            query(("page_size", text)).page_size(default=30, page_size_max=100)
        assert field_of(caught) == "query.page_size"


def test_choices_are_all_of_an_enum_or_refused():
    given = query(("types", "url"), ("types", "text"))
    assert given.choices("types", EntryKind) == (EntryKind.URL, EntryKind.TEXT)
    with pytest.raises(InvalidRequest) as caught:
        query(("types", "movie")).choices("types", EntryKind)
    assert field_of(caught) == "query.types"


def test_a_flag_is_true_or_false():
    assert query(("force", "true")).flag("force")
    assert not query(("force", "false")).flag("force")
    assert not query().flag("force")
    with pytest.raises(InvalidRequest) as caught:
        query(("force", "perhaps")).flag("force")
    assert field_of(caught) == "query.force"


def test_a_cursor_comes_back_as_it_went():
    place = Cursor(position=41)
    assert query(("cursor", place_token(place) or "")).cursor(Cursor) == place
    assert query().cursor(Cursor) is None


@pytest.mark.parametrize(
    "token", ["x", "%%%", "é", "eyJ", "W10", "e30", "A" * 20_000, "W1tbW1tbW1tb" * 600]
)
def test_a_cursor_that_is_none_is_refused(token):
    with pytest.raises(InvalidRequest) as caught:
        query(("cursor", token)).cursor(EntryCursor)
    assert field_of(caught) == "query.cursor"


def test_a_cursor_of_another_kind_of_list_is_refused():
    token = place_token(EntryCursor(group=0, key="a", id=UUID(int=1)))
    with pytest.raises(InvalidRequest) as caught:
        query(("cursor", token or "")).cursor(Cursor)
    assert field_of(caught) == "query.cursor"


def test_a_cursor_with_characters_that_no_database_takes_is_refused():
    token = place_token(EntryCursor(group=0, key="a\0b", id=UUID(int=1)))
    with pytest.raises(InvalidRequest):
        query(("cursor", token or "")).cursor(EntryCursor)
