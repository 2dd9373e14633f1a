import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.buckets import Buckets, Rate

RATE = Rate(per_s=2.0, burst=3)


def taken(buckets: Buckets, *, at_s: float, times: int, key: str = "a") -> list[bool]:
    return [buckets.take(key, now_s=at_s).is_granted for _ in range(times)]


def test_a_new_bucket_is_full_and_no_fuller():
    assert taken(Buckets(RATE), at_s=0, times=5) == [True] * 3 + [False] * 2


def test_tokens_come_back_at_the_rate():
    buckets = Buckets(RATE)
    taken(buckets, at_s=0, times=3)
    assert taken(buckets, at_s=0.49, times=1) == [False]
    assert taken(buckets, at_s=0.5, times=2) == [True, False]
    assert taken(buckets, at_s=100, times=4) == [True] * 3 + [False]


def test_who_gets_nothing_is_told_how_long_to_wait_and_it_is_long_enough():
    buckets = Buckets(RATE)
    taken(buckets, at_s=0, times=3)
    left = buckets.take("a", now_s=0.1)
    assert (left.burst, left.remaining) == (3, 0)
    assert left.wait_s == pytest.approx(0.4)
    assert buckets.take("a", now_s=0.1 + left.wait_s + 1e-9).is_granted


def test_what_is_left_is_told():
    left = Buckets(RATE).take("a", now_s=0)
    assert (left.remaining, left.wait_s, left.full_s) == (2, 0, 0.5)


def test_one_key_takes_nothing_from_another():
    buckets = Buckets(RATE)
    taken(buckets, at_s=0, times=3)
    assert taken(buckets, at_s=0, times=1, key="b") == [True]


def test_a_token_that_is_given_back_can_be_taken_again_and_never_overfills():
    buckets = Buckets(RATE)
    taken(buckets, at_s=0, times=3)
    buckets.give_back("a", now_s=0)
    assert taken(buckets, at_s=0, times=2) == [True, False]
    buckets.give_back("b", now_s=0)
    assert taken(buckets, at_s=0, times=4, key="b") == [True] * 3 + [False]


def test_a_clock_that_goes_back_makes_no_tokens():
    buckets = Buckets(RATE)
    taken(buckets, at_s=10, times=3)
    assert taken(buckets, at_s=5, times=1) == [False]


def test_the_number_of_buckets_is_bounded_and_the_last_used_one_stays():
    buckets = Buckets(RATE, buckets_max=2)
    taken(buckets, at_s=0, times=3, key="a")
    taken(buckets, at_s=0, times=1, key="b")
    taken(buckets, at_s=0, times=1, key="a")
    taken(buckets, at_s=0, times=1, key="c")
    assert taken(buckets, at_s=0, times=1, key="a") == [False]
    assert taken(buckets, at_s=0, times=3, key="b") == [True] * 3


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
    st.floats(0.1, 20),
    st.integers(1, 10),
)
def test_no_stretch_of_time_grants_more_than_burst_and_rate_allow(pauses, per_s, burst):
    buckets = Buckets(Rate(per_s=per_s, burst=burst))
    now_s, granted = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if buckets.take("a", now_s=now_s).is_granted:
            granted.append(now_s)
    for first, begun_s in enumerate(granted):
        for last in range(first, len(granted)):
            most = burst + per_s * (granted[last] - begun_s)
            assert last - first + 1 <= most + 1e-6
