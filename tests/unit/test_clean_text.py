"""The sanitiser before every insert: afterwards Postgres takes it and a terminal stays calm."""

from hypothesis import given
from hypothesis import strategies as st

from engine.text import clean_line, clean_text

# All code points, unpaired surrogates among them.
ANYTHING = st.text(st.characters(codec=None, categories=None))
FORBIDDEN = {chr(n) for n in (*range(32), 127)} - {"\t", "\n", "\r"}


def test_what_cannot_be_stored_or_shown_goes_and_the_rest_stays() -> None:
    assert clean_text("a\x00b\x1b[31mc\ud800d\x7f") == "ab[31mcd"
    assert clean_text("tab\tline\nreturn\r é 漢 🎉") == "tab\tline\nreturn\r é 漢 🎉"


def test_a_line_is_one_line_without_blanks_at_its_ends() -> None:
    assert clean_line("  a\n b\t\tc \x00", limit=100) == "a b c"
    assert clean_line("abcdef", limit=3) == "abc"
    assert clean_line(" \n ", limit=3) == ""


@given(ANYTHING)
def test_clean_text_can_be_encoded_and_holds_no_control_character(value: str) -> None:
    cleaned = clean_text(value)
    cleaned.encode("utf-8")
    assert FORBIDDEN.isdisjoint(cleaned)
    assert clean_text(cleaned) == cleaned


@given(ANYTHING, st.integers(0, 50))
def test_a_clean_line_keeps_its_limit(value: str, limit: int) -> None:
    line = clean_line(value, limit=limit)
    assert len(line) <= limit
    assert "\n" not in line
    line.encode("utf-8")


def test_a_line_shows_what_it_is_and_steers_no_terminal() -> None:
    assert clean_line("red \x9b31m\x85text", limit=100) == "red 31m text"
    assert clean_line("a\x0bb\x1cc\u2028d", limit=100) == "a b c d"
    assert clean_line("invoice\u202efdp.exe\u2066", limit=100) == "invoicefdp.exe"
    assert clean_line("שלום \u200fعالم", limit=100) == "שלום \u200fعالم"


@given(ANYTHING)
def test_a_clean_line_is_clean_already(value: str) -> None:
    line = clean_line(value, limit=1_000)
    assert clean_line(line, limit=1_000) == line
    assert not any(character in line for character in map(chr, range(0x80, 0xA0)))
