import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.inverted import Where
from engine.store.termcache import ENTRY_BYTES, TermCache

PLACES = st.tuples(st.integers(1, 4), st.integers(-3, 3), st.integers(0, 50))


def where(count):
    weights = np.full(count, 7, dtype=np.uint16)
    return Where(np.arange(count, dtype=np.uint16), weights, most=7 if count else 0)


def test_what_was_put_is_there_and_nothing_else():
    cache = TermCache()
    cache.put(1, 5, where(3))
    cache.put(1, 6, where(0))
    passages, weights, most = cache.get(1, 5)
    assert (passages.tolist(), weights.tolist(), most) == ([0, 1, 2], [7, 7, 7], 7)
    assert (len(cache.get(1, 6).passages), cache.get(1, 6).most) == (0, 0)
    assert cache.get(1, 7) is None
    assert cache.get(2, 5) is None


def test_the_page_that_a_term_was_read_from_does_not_stay():
    cache = TermCache()
    page = np.zeros(10_000, dtype=np.uint16)
    cache.put(1, 5, Where(page[:2], page[2:4], most=0))
    assert [array.base for array in cache.get(1, 5)[:2]] == [None, None]


def test_the_least_recently_used_gives_way():
    cache = TermCache(bytes_max=2 * ENTRY_BYTES)
    cache.put(1, 1, where(0))
    cache.put(1, 2, where(0))
    assert cache.get(1, 1)
    cache.put(1, 3, where(0))
    assert cache.get(1, 2) is None
    assert cache.get(1, 1)
    assert cache.get(1, 3)


@given(puts=st.lists(PLACES, max_size=60), bytes_max=st.integers(0, 5_000))
def test_it_never_holds_more_than_it_may(puts, bytes_max):
    cache = TermCache(bytes_max=bytes_max)
    for segment_id, key, count in puts:
        cache.put(segment_id, key, where(count))
        held = [cache.get(segment, key) for segment in range(1, 5) for key in range(-3, 4)]
        assert sum(ENTRY_BYTES + 4 * len(each[0]) for each in held if each) <= bytes_max
        assert len(cache) == sum(each is not None for each in held)


@given(puts=st.lists(PLACES, max_size=60))
def test_with_room_enough_everything_stays_as_it_was_first_read(puts):
    cache = TermCache()
    first = {}
    for segment_id, key, count in puts:
        cache.put(segment_id, key, where(count))
        first.setdefault((segment_id, key), count)
    assert {place: len(cache.get(*place)[0]) for place in first} == first
