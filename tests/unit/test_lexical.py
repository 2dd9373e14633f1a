"""Terms of texts in several languages and scripts, of identifiers, and of hostile text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.lexical import (
    QUESTION_TERMS_MAX,
    analyser_of,
    language_of,
    question_terms,
    term_key,
    terms,
)

ENGLISH = "The kettle that was bought in the shop may be returned, and the money goes back to you."
GERMAN = "Der Kessel, der in dem Laden gekauft wurde, kann zurückgegeben werden, und das ist gut."

# As many words of Danish as of Norwegian.
NORWEGIAN = "Hvordan tilbakestiller jeg passordet mitt? Klikk på lenken og følg trinnene."


@pytest.mark.parametrize(
    ("text", "declared", "language"),
    [
        (ENGLISH, None, "en"),
        (GERMAN, None, "de"),
        (GERMAN, "en-US", "de"),
        ("Le chat est dans la maison et les enfants sont avec des amis.", None, "fr"),
        ("Кошка в доме, и это не то, что мы видели на улице.", None, "ru"),
        ("kettle parcel storm", "en-GB", "en"),
        (NORWEGIAN, "nb-NO", "no"),
        (NORWEGIAN, "no", "no"),
        ("kjele", "nn", "no"),
        ("kettle parcel storm", None, None),
        ("東京都に行きました", "ja", None),
        ("", "xx", None),
    ],
)
def test_a_document_is_read_in_the_language_of_its_words_else_of_its_declaration(
    text: str, declared: str | None, language: str | None
) -> None:
    assert language_of(text, declared=declared) == language
    assert analyser_of(text, declared=declared) == f"{language or 'none'}.1"


@pytest.mark.parametrize(
    ("analyser", "one", "other"),
    [
        ("en.1", "running kettles", "RUN Kettle"),
        ("de.1", "Straßen und Häuser", "STRASSE Haus"),
        ("fr.1", "les maisons continuées", "maison continuer"),
        ("en.1", "the \ufb01nal co\u00adoperation", "final cooperation"),
        ("none.1", "ｶﾀｶﾅ", "カタカナ"),
        ("en.1", "caf\u00e9", "cafe\u0301"),
        ("en.1", "iPhone and NumPy with PowerShells", "iphone numpy powershell IPHONE"),
        ("en.1", "iphone numpy powershell", "iPhone NumPy PowerShell Iphone"),
        ("en.1", "the policy\u00b9\u2070 of SONY\u2122", "policies sony"),
        ("none.1", "km\u00b2", "km2"),
        ("tr.1", "\u0130stanbul", "istanbul"),
    ],
)
def test_forms_of_a_word_share_a_term(analyser: str, one: str, other: str) -> None:
    made = set(terms(one, analyser=analyser))
    for word in other.split():
        assert made & set(terms(word, analyser=analyser)), word


def test_a_word_that_is_stemmed_is_found_as_it_stands_too_and_that_way_first() -> None:
    assert terms("postings", analyser="en.1") == ["post", "=postings"]
    assert terms("post", analyser="en.1") == ["post"]


@pytest.mark.parametrize(
    ("text", "whole", "parts"),
    [
        ("get_user_name", "get_user_name", {"get", "user", "name"}),
        ("getUserName", "=getusername", {"get", "user", "name"}),
        ("HTTPServer2Go", "httpserver2go", {"http", "server", "2", "go"}),
        ("engine.store.my_file.py", "engine.store.my_file.py", {"my_file", "store", "file", "py"}),
        ("v1.2.3", "v1.2.3", {"1.2.3", "2"}),
        ("well-known", "well-known", {"well", "known"}),
        (
            "550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000",
            {"550e8400", "446655440000"},
        ),
        ("__init__.py", "__init__.py", {"init", "__init__"}),
        ("E_4012", "e_4012", {"4012"}),
    ],
)
def test_an_identifier_is_found_whole_and_in_parts(text: str, whole: str, parts: set[str]) -> None:
    made = terms(f"see {text}, then", analyser="en.1")
    assert whole in made
    assert parts <= set(made)


def test_scripts_without_spaces_are_found_by_pairs_and_single_characters() -> None:
    assert terms("東京都", analyser="none.1") == ["東京", "京都"]
    assert terms("猫 and 犬", analyser="none.1") == ["猫", "and", "犬"]
    assert terms("東京2020年", analyser="none.1") == ["東京", "2020", "年"]


def test_marks_do_not_cut_words_of_indic_scripts() -> None:
    assert terms("हिन्दी में", analyser="none.1") == ["हिन्दी", "में"]


def test_a_question_is_asked_by_each_analyser_without_the_commonest_function_words() -> None:
    asked = question_terms("the running of the kettles kettles", analysers=["en.1", "none.1"])
    assert set(asked) == {"run", "=running", "kettl", "=kettles", "running", "kettles"}
    assert question_terms("what is the running time", analysers=["en.1"])[-1] == "time"
    assert "the" not in question_terms("what is the running time", analysers=["en.1"])


def test_a_question_of_nothing_but_function_words_keeps_them() -> None:
    assert question_terms("to the", analysers=["en.1"]) == ["to", "the"]
    assert question_terms("", analysers=["en.1"]) == []


def test_a_long_question_is_cut_in_all_languages_alike() -> None:
    """The first words count in each of them, wherever the language stands in the alphabet."""
    words = [
        f"{first}{second}ings" for first in "bcdfgklmnp" for second in ("ak", "el", "or", "un")
    ]
    question = " ".join(word + end for end in ("", *"vwxyz") for word in words)
    asked = question_terms(question, analysers=["ca.1", "de.1", "en.1", "fr.1", "sv.1"])
    assert len(asked) == QUESTION_TERMS_MAX
    for analyser in ("ca.1", "de.1", "en.1", "fr.1", "sv.1"):
        assert set(terms(" ".join(words[:10]), analyser=analyser)) <= set(asked), analyser


def test_a_question_has_a_bounded_number_of_terms() -> None:
    words = " ".join(f"word{number}" for number in range(5_000))
    assert len(question_terms(words, analysers=["en.1", "de.1"])) == 256


@pytest.mark.parametrize(
    "piece", ["a", "a_", "a.b-", "aB", "東", "\u0300", "e\u0301", "-", ".", "İ", "\ud800", "ing"]
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (500_000 // len(piece))
    terms(text[:1_000], analyser="en.1")
    started = time.process_time()
    terms(text, analyser="en.1")
    assert time.process_time() - started < 3.0  # a tenth of it, on a quiet machine
    started = time.process_time()
    language_of(text)
    assert time.process_time() - started < 3.0


def test_a_word_of_five_megabytes_is_one_term() -> None:
    assert len(terms("a" * 5_000_000, analyser="en.1")) == 1


@given(st.text(max_size=200), st.sampled_from(["en.1", "de.1", "none.1", "tr.1", "xx.9"]))
def test_any_text_has_terms_that_are_the_same_each_time_and_of_64_bits(
    text: str, analyser: str
) -> None:
    made = terms(text, analyser=analyser)
    assert made == terms(text, analyser=analyser)
    assert all(made)
    for term in made:
        assert -(2**63) <= term_key(term) < 2**63


@given(st.lists(st.sampled_from(["kettle", "get_user", "東京", "v1.2", "the"]), max_size=6))
def test_words_that_stand_apart_do_not_change_each_other(words: list[str]) -> None:
    apart = [term for word in words for term in terms(word, analyser="en.1")]
    assert terms(", ".join(words), analyser="en.1") == apart
