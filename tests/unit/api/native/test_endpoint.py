import pytest

from engine.api.native import wire
from engine.api.native.endpoint import ok, ok_unless_known

SHAPE = wire.Warned(code="a", message="b")


def test_success_is_200_with_a_json_body():
    answer = ok(SHAPE)
    assert (answer.status_code, answer.content) == (200, b'{"code":"a","message":"b"}')


def test_an_etag_is_of_the_body():
    same = ok_unless_known(SHAPE, if_none_match="")
    other = ok_unless_known(wire.Warned(code="a", message="c"), if_none_match="")
    assert same.status_code == 200
    assert same.headers["ETag"] != other.headers["ETag"]
    assert same.headers["ETag"] == ok_unless_known(SHAPE, if_none_match="").headers["ETag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_who_knows_the_answer_gets_304_without_a_body(form):
    etag = ok_unless_known(SHAPE, if_none_match="").headers["ETag"]
    answer = ok_unless_known(SHAPE, if_none_match=form.format(etag))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == etag


def test_another_etag_gets_the_body():
    assert ok_unless_known(SHAPE, if_none_match='"x"').status_code == 200
