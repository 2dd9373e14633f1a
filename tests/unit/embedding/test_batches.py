from hypothesis import given
from hypothesis import strategies as st

from engine.embedding.batches import batches, slabs

LENGTHS = st.lists(st.integers(0, 300), max_size=200)


@given(lengths=LENGTHS, budget=st.integers(1, 5_000))
def test_every_text_is_in_exactly_one_batch(lengths, budget):
    rows = [row for batch in batches(lengths, batch_tokens=budget) for row in batch]
    assert sorted(rows) == list(range(len(lengths)))


@given(lengths=LENGTHS, budget=st.integers(1, 5_000))
def test_no_batch_is_larger_than_its_budget_unless_it_is_one_text(lengths, budget):
    for batch in batches(lengths, batch_tokens=budget):
        area = len(batch) * max(lengths[row] for row in batch)
        assert batch
        assert area <= budget or len(batch) == 1


@given(lengths=LENGTHS.filter(bool), budget=st.integers(1, 5_000))
def test_texts_of_like_length_go_together_longest_first(lengths, budget):
    order = [lengths[row] for batch in batches(lengths, batch_tokens=budget) for row in batch]
    assert order == sorted(lengths, reverse=True)


def test_a_batch_is_filled_before_the_next_one_begins():
    assert [len(batch) for batch in batches([10] * 25, batch_tokens=100)] == [10, 10, 5]


@given(sizes=LENGTHS, slab_size=st.integers(1, 1_000))
def test_slabs_cover_all_in_order_and_keep_their_size(sizes, slab_size):
    found = list(slabs(sizes, slab_size=slab_size))
    assert [index for slab in found for index in slab] == list(range(len(sizes)))
    for slab in found:
        assert len(slab) == 1 or sum(sizes[index] for index in slab) <= slab_size


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 100), st.integers(1, 10))
def test_slabs_hold_each_item_once_in_order_and_no_more_than_they_may(sizes, slab_size, items_max):
    found = list(slabs(sizes, slab_size=slab_size, items_max=items_max))
    assert [index for slab in found for index in slab] == list(range(len(sizes)))
    for slab in found:
        assert 1 <= len(slab) <= items_max
        assert len(slab) == 1 or sum(sizes[index] for index in slab) <= slab_size
