import pytest

from engine.api.headers import GUARDS, guarded, tell, told


def test_an_answer_is_told_all_that_was_found_out_on_the_way_to_it():
    scope = {"state": {}}
    tell(scope, (b"a", b"1"), (b"b", b"2"))
    tell(scope, (b"c", b"3"))
    assert told(scope) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


@pytest.mark.parametrize("scope", [{}, {"state": {}}])
def test_a_request_of_which_nothing_was_found_out_is_told_nothing(scope):
    assert told(scope) == []


def test_a_guard_stands_back_for_an_answer_that_says_the_same_header_itself():
    own = [(b"Content-Security-Policy", b"sandbox"), (b"etag", b"1")]
    others = [each for each in GUARDS if each[0] != b"content-security-policy"]
    assert guarded(own) == [*own, *others]
