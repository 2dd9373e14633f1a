"""What was made of a noun is made once, of each object by itself, and not kept without end."""

from hypothesis import given
from hypothesis import strategies as st

from engine.api.memo import memoised
from engine.models import Counts


def ready(noun: Counts) -> int:
    return noun.ready


def test_the_same_object_is_made_into_something_once() -> None:
    made: list[Counts] = []

    def make(noun: Counts) -> int:
        made.append(noun)
        return len(made)

    memo, noun = memoised(make), Counts(ready=1)
    assert [memo(noun), memo(noun), memo(Counts(ready=1))] == [1, 1, 2]


@given(st.lists(st.integers(0, 5)), st.integers(1, 4))
def test_the_answer_is_that_of_this_object_whatever_was_asked_before(
    asked: list[int], kept_max: int
) -> None:
    memo = memoised(ready, kept_max=kept_max)
    kept = [Counts(ready=number) for number in range(3)]
    for number in asked:
        # The others are gone as soon as they are asked for: their place in memory is used again.
        noun = kept[number] if number < 3 else Counts(ready=number)
        assert memo(noun) == number


def test_no_more_is_kept_than_was_said() -> None:
    made: list[int] = []

    def make(noun: Counts) -> None:
        made.append(noun.ready)

    memo = memoised(make, kept_max=2)
    nouns = [Counts(ready=number) for number in range(3)]
    for noun in [*nouns, nouns[2], nouns[0]]:
        memo(noun)
    assert made == [0, 1, 2, 0]
