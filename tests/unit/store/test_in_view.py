"""How much of a graph is kept in view: more of a larger one, within what pgvector allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store.near import IN_VIEW, IN_VIEW_MAX, VIEWED_ENTRIES, in_view


@pytest.mark.parametrize("entries", [0, 2_000, VIEWED_ENTRIES])
def test_up_to_a_size_it_is_always_as_much(entries: int):
    assert in_view(entries) == IN_VIEW


@given(st.integers(0, 10**10), st.integers(0, 10**10))
def test_a_larger_graph_has_no_less_in_view(one: int, other: int):
    small, large = sorted((one, other))
    assert IN_VIEW <= in_view(small) <= in_view(large) <= IN_VIEW_MAX


def test_of_ten_times_as_many_entries_more_is_in_view():
    assert in_view(10 * VIEWED_ENTRIES) > 1.5 * IN_VIEW
