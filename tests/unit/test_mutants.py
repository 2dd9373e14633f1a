"""The wrong versions that the mutation check tries, and what is said of those nobody notices."""

import ast
from textwrap import dedent

import pytest

from bench.equivalents import EQUIVALENT
from bench.mutants import mutants
from bench.mutation import REPOSITORY, TARGETS, keys_of

RULE = """
def rule(a, b):
    if a < 3 and not b:
        return [n + 1 for n in a if n if b]
    return "SELECT 1 WHERE id = 7 AND attempt = %(attempt)s AND deleted_at IS NULL"

def other(a):
    return a == 1
"""


def bodies(source: str, *, functions: frozenset[str] | None = None) -> dict[str, str]:
    return {m.what: m.source for m in mutants(dedent(source), functions=functions)}


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a < 3 -> a <= 3", "if a <= 3 and (not b):"),
        ("a < 3 and (not b) -> a < 3 or not b", "if a < 3 or not b:"),
        ("a < 3 and (not b) -> a < 3", "if a < 3:"),
        ("a < 3 and (not b) -> not b", "if not b:"),
        ("not b -> b", "if a < 3 and (not not b):"),
        ("3 -> 4", "if a < 4 and (not b):"),
        ("3 -> 2", "if a < 2 and (not b):"),
        ("if a < 3 and (not b) -> if True", "if True:"),
        ("if a < 3 and (not b) -> if False", "if False:"),
        ("n + 1 -> n - 1", "return [n - 1 for n in a if n if b]"),
        ("if n -> without the condition", "return [n + 1 for n in a if b]"),
        ("if b -> without the condition", "return [n + 1 for n in a if n]"),
        (
            "AND attempt = %(attempt)s -> nothing",
            "return 'SELECT 1 WHERE id = 7 AND deleted_at IS NULL'",
        ),
        (
            "AND deleted_at IS NULL -> nothing",
            "return 'SELECT 1 WHERE id = 7 AND attempt = %(attempt)s'",
        ),
    ],
)
def test_a_rule_is_changed_in_one_place(what: str, line: str) -> None:
    original = ast.unparse(ast.parse(RULE)).splitlines()
    changed = bodies(RULE, functions=frozenset({"rule"}))[what].splitlines()
    different = [now for before, now in zip(original, changed, strict=True) if before != now]
    assert [now.strip() for now in different] == [line]


def test_the_changes_of_one_mutant_are_taken_back_before_the_next() -> None:
    original = ast.unparse(ast.parse(RULE)).splitlines()
    for source in bodies(RULE).values():
        pairs = zip(original, source.splitlines(), strict=True)
        assert sum(before != now for before, now in pairs) == 1


def test_only_the_functions_that_are_named_are_changed_and_they_must_be_there() -> None:
    assert set(bodies(RULE, functions=frozenset({"other"}))) == {
        "a == 1 -> a != 1", "1 -> 2", "1 -> 0",
    }  # fmt: skip
    with pytest.raises(AssertionError, match="no such function"):
        bodies(RULE, functions=frozenset({"nobody"}))


@pytest.mark.parametrize("name", TARGETS)
def test_every_mutant_of_a_target_has_a_name_of_its_own(name: str) -> None:
    keys = list(keys_of(TARGETS[name]))
    assert keys
    assert len(set(keys)) == len(keys)
    for tried in TARGETS[name].rounds:
        assert [test for test in tried.tests if not (REPOSITORY / test).is_file()] == []


def test_an_explanation_is_of_a_mutant_that_there_is_and_says_more_than_a_word() -> None:
    keys = {key for target in TARGETS.values() for key in keys_of(target)}
    assert EQUIVALENT.keys() - keys == set()
    assert [key for key, reason in EQUIVALENT.items() if len(reason.split()) < 8] == []
