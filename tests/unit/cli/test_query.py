"""Citations as people read them."""

import pytest

from engine.cli import main
from engine.cli.answers import Hit, HitSource, Neighbour
from engine.cli.exits import CliError, Exit
from engine.cli.query import beside, citation, passage, read_filter


def hit(**fields: object) -> Hit:
    given = {
        "chunk_id": "c",
        "source_id": "s",
        "text": "One.\n\nTwo.",
        "score": 0.756,
        "start": 10,
        "end": 20,
        "source": HitSource(name="guide.pdf", storage_file_id="f"),
    }
    return Hit(**(given | fields))  # type: ignore[arg-type]


def test_a_citation_names_score_source_headings_page_and_offsets() -> None:
    shown = citation(hit(headings=("Care", "Limescale"), page=3))
    assert shown == "[0.76] guide.pdf · Care › Limescale · page 3 · characters 10-20"


def test_a_citation_leaves_out_what_a_source_does_not_have() -> None:
    assert citation(hit()) == "[0.76] guide.pdf · characters 10-20"


def test_a_web_page_is_cited_with_its_address_beside_its_title() -> None:
    source = HitSource(name="Brewing", source_url="https://a.example/b")
    assert citation(hit(source=source)).endswith("Brewing · characters 10-20 · https://a.example/b")
    bare = HitSource(name="https://a.example/b", source_url="https://a.example/b")
    assert citation(hit(source=bare)).count("https://") == 1


def test_a_passage_keeps_every_word_and_its_lines() -> None:
    long = "word " * 60
    lines = passage(hit(text=f"Head\n\n{long}")).splitlines()
    assert lines[0] == "   Head"
    assert all(line.startswith("   ") and len(line) <= 100 for line in lines)
    assert sum(line.count("word") for line in lines) == 60


def test_a_neighbour_is_set_apart_line_by_line() -> None:
    lines = beside(Neighbour(text=f"Head\n\n{'word ' * 60}", start=0, end=9)).splitlines()
    assert lines[0] == "   | Head"
    assert all(line.startswith("   | ") and len(line) <= 100 for line in lines)
    assert sum(line.count("word") for line in lines) == 60


def test_a_filter_is_read_as_json_and_nothing_else() -> None:
    assert read_filter('{"eq": {"key": "year", "value": 2026}}') == {
        "eq": {"key": "year", "value": 2026}
    }


@pytest.mark.parametrize("text", ["{", "year=2026", "\udcff", "{}{}", " "])
def test_what_is_no_json_is_no_filter(text: str) -> None:
    with pytest.raises(CliError, match=r"^--filter is not JSON: [^\n`]+\.$") as raised:
        read_filter(text)
    assert raised.value.exit_code is Exit.USAGE


@pytest.mark.parametrize("least", ["nan", "inf", "-inf", "-0.1", "1.01"])
def test_what_is_no_score_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], least: str
) -> None:
    assert main(["query", "a rag", "Why?", f"--min-score={least}"]) == Exit.USAGE
    assert capsys.readouterr().err == "rag-engine: --min-score must be from 0 to 1.\n"
