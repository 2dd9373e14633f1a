"""Filters as callers write them: what is read, and every offence by its place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.attributes import AttributeRules
from engine.errors import InvalidRequest
from engine.filters import Comparison, FilterRules, Group, Joint, Operator, predicate, read_filter

RULES = FilterRules(
    depth_max=4,
    conditions_max=5,
    values_max=10,
    attributes=AttributeRules(pairs_max=16, key_characters_max=64, value_characters_max=256),
)


def eq(key: str = "a", value: object = 1) -> dict[str, Any]:
    return {"eq": {"key": key, "value": value}}


def among(values: object) -> dict[str, Any]:
    return {"in": {"key": "a", "value": values}}


def offences(given_filter: object) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read_filter(given_filter, rules=RULES)
    return {each.field: each.issue for each in caught.value.details}


def test_a_tree_is_read_as_it_is_written() -> None:
    tree = {"or": [{"and": [eq(), {"in": {"key": "b", "value": ["x", True, 2.5]}}]}, eq("c", "d")]}
    assert read_filter(tree, rules=RULES) == Group(
        joint=Joint.OR,
        parts=(
            Group(
                joint=Joint.AND,
                parts=(
                    Comparison(operator=Operator.EQ, key="a", values=(1,)),
                    Comparison(operator=Operator.IN, key="b", values=("x", True, 2.5)),
                ),
            ),
            Comparison(operator=Operator.EQ, key="c", values=("d",)),
        ),
    )


@pytest.mark.parametrize("word", Operator)
def test_every_operator_compares_a_key_with_a_value(word: Operator) -> None:
    value: object = ["x"] if word is Operator.IN else "x"
    found = read_filter({str(word): {"key": "a", "value": value}}, rules=RULES)
    assert found == Comparison(operator=word, key="a", values=("x",))


@pytest.mark.parametrize(
    ("tree", "places"),
    [
        (None, ["filter"]),
        ([], ["filter"]),
        ({}, ["filter"]),
        ({**eq(), "ne": {"key": "a", "value": 1}}, ["filter"]),
        ({"not": eq()}, ["filter.not"]),
        ({"and": []}, ["filter.and"]),
        ({"and": eq()}, ["filter.and"]),
        ({"and": [eq(), 1, {"eq": 2}]}, ["filter.and[1]", "filter.and[2].eq"]),
        ({"eq": {}}, ["filter.eq.key", "filter.eq.value"]),
        ({"eq": {"key": 1, "value": None}}, ["filter.eq.key", "filter.eq.value"]),
        ({"eq": {"key": "a", "value": 1, "x": 2, "y": 3}}, ["filter.eq.x", "filter.eq.y"]),
        (eq("a b"), ["filter.eq.key"]),
        (eq("a" * 65), ["filter.eq.key"]),
        (eq(value=["x"]), ["filter.eq.value"]),
        (eq(value={"x": 1}), ["filter.eq.value"]),
        (eq(value="x" * 257), ["filter.eq.value"]),
        (eq(value="\0"), ["filter.eq.value"]),
        (eq(value=2**53 + 1), ["filter.eq.value"]),
        (eq(value=float("nan")), ["filter.eq.value"]),
        (among("x"), ["filter.in.value"]),
        (among([]), ["filter.in.value"]),
        (among(["x", None, []]), ["filter.in.value[1]", "filter.in.value[2]"]),
        ({"gt": {"key": "a", "value": True}}, ["filter.gt.value"]),
        ({"or": [{"and": [eq("")]}]}, ["filter.or[0].and[0].eq.key"]),
        (among(["x"] * 11), ["filter"]),
        ({"and": [eq()] * 6}, ["filter"]),
    ],
)
def test_every_offence_is_named_by_its_place(tree: object, places: list[str]) -> None:
    assert sorted(offences(tree)) == places


def test_as_many_conditions_and_values_as_allowed_are_taken_and_no_more() -> None:
    half = among(["x"] * 5)
    assert read_filter({"and": [half, half]}, rules=RULES)
    assert offences({"and": [half, half, eq()]}) == {"filter": "has more than 10 values"}
    assert read_filter({"or": [eq()] * 5}, rules=RULES)
    assert offences({"or": [eq()] * 6}) == {"filter": "has more than 5 conditions"}


def test_nodes_lie_in_one_another_as_deep_as_allowed_and_no_deeper() -> None:
    tree: dict[str, Any] = eq()
    for _ in range(RULES.depth_max - 1):
        tree = {"and": [tree]}
    assert read_filter(tree, rules=RULES)
    (place,) = offences({"or": [tree]})
    assert place == "filter.or[0].and[0].and[0].and[0].eq"


def test_a_very_long_list_of_offences_is_not_read_to_its_end() -> None:
    assert len(offences({"or": [1] * 1_000_000})) == 100
    assert len(offences(among([None] * 1_000_000))) == 1
    assert len(offences({"eq": dict.fromkeys(map(str, range(10_000)))})) <= 102


WORDS = ["and", "or", "eq", "in", "gt", "ne", "key", "value", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(tree=JSON)
def test_any_json_is_a_filter_or_refused(tree: object) -> None:
    try:
        found, details = read_filter(tree, rules=RULES), ()
    except InvalidRequest as error:
        found, details = None, error.details
    assert all(each.field.startswith("filter") and each.issue for each in details)
    assert bool(details) != bool(found and predicate(found).path.isascii())
