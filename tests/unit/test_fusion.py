"""Two rankings become one that neither side's scale decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fusion import DENSE_SHARE, fused

KEYS = st.integers(0, 30)
COSINES = st.floats(-1, 1, allow_nan=False)
SHARES = st.floats(0.01, 1, allow_nan=False)


@st.composite
def sides(draw):
    """Every candidate has a dense score, some have a lexical one."""
    dense = draw(st.dictionaries(KEYS, COSINES, max_size=20))
    lexical = draw(
        st.dictionaries(st.sampled_from(sorted(dense)), SHARES) if dense else st.just({})
    )
    return dense, lexical


@given(sides())
def test_every_candidate_is_ranked_once_with_a_score_from_0_to_1_best_first(given_sides):
    dense, lexical = given_sides
    ranked = fused(dense, lexical)
    assert sorted(key for key, _ in ranked) == sorted(dense)
    scores = [score for _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@given(sides())
def test_who_is_ahead_on_both_sides_is_not_behind_in_the_sum(given_sides):
    dense, lexical = given_sides
    scores = dict(fused(dense, lexical))
    for one in dense:
        for other in dense:
            if dense[one] >= dense[other] and lexical.get(one, 0) >= lexical.get(other, 0):
                assert scores[one] >= scores[other] - 1e-9


@given(sides(), KEYS)
def test_the_score_of_a_passage_does_not_depend_on_the_other_candidates(given_sides, gone):
    dense, lexical = given_sides
    some = {key: share for key, share in lexical.items() if key != gone}
    scores = dict(fused(dense, lexical))
    again = dict(fused({key: score for key, score in dense.items() if key != gone}, some))
    if bool(some) == bool(lexical):
        assert again == {key: score for key, score in scores.items() if key != gone}


@given(st.dictionaries(KEYS, COSINES, min_size=1))
def test_without_any_word_found_vectors_decide_alone(dense):
    for key, score in fused(dense, {}):
        assert score == max(dense[key], 0.0)


def test_a_passage_without_the_words_keeps_its_dense_share():
    ranked = dict(fused({"both": 0.2, "meaning": 0.8}, {"both": 1.0}))
    assert ranked == pytest.approx(
        {"both": 0.2 * DENSE_SHARE + 1 - DENSE_SHARE, "meaning": 0.8 * DENSE_SHARE}
    )


def test_nothing_of_nothing():
    assert fused({}, {}) == []


def test_ties_keep_an_order_that_does_not_depend_on_how_the_candidates_came():
    keys = [f"{number:02}" for number in range(12)]
    one = fused(dict.fromkeys(keys, 0.5), dict.fromkeys(keys, 1.0))
    other = fused(dict.fromkeys(reversed(keys), 0.5), dict.fromkeys(reversed(keys), 1.0))
    assert one == other
    assert [key for key, _ in one] == keys


def test_of_two_that_score_the_same_the_one_that_means_more_comes_first():
    ranked = fused({"a": 0.0, "b": 1 - DENSE_SHARE}, {"a": DENSE_SHARE, "b": 0.0})
    assert ranked[0][1] == ranked[1][1] > 0
    assert [key for key, _ in ranked] == ["b", "a"]
