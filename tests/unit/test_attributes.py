"""What a source's attributes must be like, and every offence by its place."""

from uuid import uuid4

import pytest

from engine.attributes import AttributeRules
from engine.config import Limits
from engine.models import FileId, NewSources, Upload
from engine.sources import attribute_issues, attribute_rules, attributes_of

RULES = AttributeRules(pairs_max=3, key_characters_max=8, value_characters_max=10)
GOOD = ("", "ü" * 10, 0, -1.5, 2**53, -(2**53), 1e300, True, False, [], ["a", "b"], ["x" * 9, ""])


def issues(given: dict[str, object]) -> dict[str, str]:
    return {each.field: each.issue for each in RULES.issues(given, field="attributes")}


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_a_string_a_number_a_boolean_and_a_list_of_strings_are_values(value: object) -> None:
    assert issues({"a": value}) == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "must be a string, a number, a list of strings or a boolean"),
        ({}, "must be a string"),
        ([1], "nothing but strings"),
        (["a", None], "nothing but strings"),
        ([["a"]], "nothing but strings"),
        ("x" * 11, "at most 10 characters"),
        (["x" * 6, "y" * 5], "at most 10 characters in all"),
        ([""] * 11, "at most 10 characters in all"),
        ("a\0b", "control characters"),
        ("a\x1bb", "control characters"),
        ("\ud800", "control characters"),
        (["\x07"], "control characters"),
        (2**53 + 1, "send it as a string"),
        (-(10**400), "send it as a string"),
        (float("inf"), "finite"),
        (float("nan"), "finite"),
    ],
    ids=repr,
)
def test_another_value_is_refused_in_words(value: object, words: str) -> None:
    assert words in issues({"a": value})["attributes.a"]


@pytest.mark.parametrize("key", ["a", "_", "A1._-", "x" * 8])
def test_a_key_begins_with_a_letter_and_is_a_word(key: str) -> None:
    assert issues({key: 1}) == {}


@pytest.mark.parametrize("key", ["", "1a", "-a", "a b", "ä", "a$", 'a"', "a\n", "x" * 9, "a\0"])
def test_another_key_is_refused(key: str) -> None:
    assert "1 to 8 letters" in issues({key: 1})[f"attributes.{key}"]


def test_all_offences_are_named_and_their_number_is_bounded() -> None:
    assert set(issues({"a": None, "b c": 1, "d": 1, "e": 2})) == {
        "attributes",
        "attributes.a",
        "attributes.b c",
    }
    assert len(issues({f"{number}": 1 for number in range(10_000)})) == 100


def upload(filename: str) -> Upload:
    return Upload(name="x", filename=filename, media_type="", file_bytes=1, sha256=b"")


FILE_ID = FileId(uuid4())
URL = "https://a.example/x"


def new(**more: object) -> NewSources:
    return NewSources(
        file_ids=(FILE_ID,),
        urls=(URL,),
        uploads=(upload("a.txt"), upload("b.txt")),
        **more,  # type: ignore[arg-type]
    )


def test_a_single_source_has_the_attributes_of_all_and_its_own_above_them() -> None:
    given = new(
        attributes={"all": 1, "each": 1},
        source_attributes={
            str(FILE_ID).upper(): {"each": 2},
            URL: {"own": 3},
            "a.txt": {"each": 4},
        },
    )
    assert attribute_issues(given, limits=Limits()) == []
    of = attributes_of(given)
    assert of(FILE_ID) == {"all": 1, "each": 2}
    assert of(URL) == {"all": 1, "each": 1, "own": 3}
    assert of("a.txt") == {"all": 1, "each": 4}
    assert of("b.txt") == {"all": 1, "each": 1}


def test_own_attributes_of_what_is_no_source_of_the_request_are_refused() -> None:
    found = attribute_issues(new(source_attributes={"c.txt": {"a": 1}}), limits=Limits())
    assert [(each.field, each.issue) for each in found] == [
        ("source_attributes.c.txt", "is not a source of this request")
    ]


def test_attributes_of_all_and_own_ones_are_counted_together() -> None:
    limits = Limits(source_attributes_max=2)
    given = new(attributes={"a": 1, "b": 1}, source_attributes={URL: {"b": 2, "c": 3}})
    assert [each.field for each in attribute_issues(given, limits=limits)] == [
        f"source_attributes.{URL}"
    ]
    fine = new(attributes={"a": 1, "b": 1}, source_attributes={URL: {"b": 2, "a": 3}})
    assert attribute_issues(fine, limits=limits) == []
    assert attribute_rules(limits).pairs_max == 2
