"""When a golden place counts as found, what the figures are, and what a comparison tells."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.answers import Hit, HitSource
from engine.cli.golden import Place, Question
from engine.cli.scoring import (
    Answered,
    Found,
    Report,
    Settings,
    answered,
    compared,
    figures,
    meets,
    rank_of,
    shared_characters,
)

ID = "f1a2b3c4-d5e6-4890-abcd-ef1234567891"
EXCERPT = "The warranty lasts for five years from the day on the bill."


def hit(text: str = "", **fields: Any) -> Hit:
    source = HitSource(
        name=fields.pop("name", "a.md"), source_url=fields.pop("url", "https://a.example/x")
    )
    made = {"chunk_id": "c", "source_id": ID, "score": 0.5, "start": 100, "end": 200}
    return Hit(**{**made, "text": text, "source": source, **fields})


@pytest.mark.parametrize(
    "source", [ID, ID.upper(), "a.md", "https://a.example/x", "HTTPS://A.example:443/x#top"]
)
def test_a_source_is_known_by_its_id_its_name_and_its_url(source: str) -> None:
    assert meets(hit("anything"), Place(source=source))
    other = hit("anything", source_id="b", name="b", url="https://b.example/")
    assert not meets(other, Place(source=source))


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (f"Before it. {EXCERPT} After it.", True),
        (EXCERPT.replace(" ", "\n  "), True),
        ("The warranty lasts for five", True),  # the hit is inside
        (f"Many words stand before it. {EXCERPT[:30]}", True),  # it ends with half of it
        (f"{EXCERPT[-30:]} Many words stand behind it.", True),
        (f"Many words stand before it, and then more. {EXCERPT[:28]}", False),  # with less
        (f"{EXCERPT[:28]}, and then something else again.", False),
        ("The warranty", False),  # a crumb of it
        ("", False),
        ("Something else altogether, and nothing of the excerpt.", False),
    ],
)
def test_a_text_is_found_where_it_shares_half_of_the_shorter(text: str, is_found: bool) -> None:
    assert meets(hit(text), Place(text=EXCERPT)) is is_found


def test_a_short_text_is_found_whole_or_not_at_all() -> None:
    assert meets(hit("It lasts five years."), Place(text="five years"))
    assert not meets(hit("It lasts for five"), Place(text="five years"))


@pytest.mark.parametrize(
    ("start", "end", "is_found"),
    [
        (100, 200, True),
        (0, 1_000, True),
        (120, 140, True),
        (150, 250, True),
        (151, 251, False),
        (190, 210, False),  # half of it, but ten characters
        (195, 200, True),  # all of a short one
        (200, 300, False),
        (0, 100, False),
    ],
)
def test_offsets_are_found_where_half_of_the_shorter_is_shared(
    start: int, end: int, is_found: bool
) -> None:
    assert meets(hit(), Place(source="a.md", start=start, end=end)) is is_found
    assert not meets(hit(), Place(source="b.md", start=start, end=end))


def test_a_text_and_a_source_have_to_meet_in_one_hit() -> None:
    place = Place(source="b.md", text="five years")
    hits = [hit("It lasts five years."), hit("Other words.", name="b.md")]
    assert rank_of(place, hits) is None
    assert rank_of(place, [*hits, hit("five years", name="b.md")]) == 3


TEXTS = st.text("ab ", max_size=12)


@given(one=TEXTS, other=TEXTS)
def test_what_texts_share_is_the_longest_inside_or_at_their_ends(one: str, other: str) -> None:
    shorter, longer = sorted((one, other), key=len)
    lengths = [
        length
        for length in range(len(shorter) + 1)
        if one.endswith(other[:length]) or other.endswith(one[:length])
    ]
    expected = len(shorter) if shorter in longer else max(lengths)
    assert shared_characters(one, other) == shared_characters(other, one) == expected


# Figures -----------------------------------------------------------------------------------------

RANKS = st.none() | st.integers(1, 12)
QUESTIONS = st.lists(st.lists(RANKS, min_size=1, max_size=3), min_size=1, max_size=8)


def question(name: str, ranks: list[int | None]) -> Answered:
    found = tuple(
        Found(place=Place(source=f"{number}"), rank=rank) for number, rank in enumerate(ranks)
    )
    return Answered(name=name, question=name, found=found)


def report(asked: list[list[int | None]], *, top_k: int = 12, first: int = 0) -> Report:
    questions = tuple(question(f"q{first + n}", ranks) for n, ranks in enumerate(asked))
    return Report(
        made_at="2026-01-01T00:00:00Z",
        rag="a rag",
        rag_id=ID,
        embedding_model="a model",
        settings=Settings(top_k=top_k),
        figures=figures(questions, top_k=top_k),
        questions=questions,
    )


def test_the_figures_of_a_small_set_are_those_of_pencil_and_paper() -> None:
    found = figures([question("a", [1]), question("b", [3, None]), question("c", [None])], top_k=10)
    assert found.questions == 3
    assert found.recall == {"1": 0.3333, "5": 0.5, "10": 0.5}
    assert found.mrr == 0.4444


@pytest.mark.parametrize(
    ("top_k", "cuts"), [(1, "1"), (3, "1 3"), (10, "1 5 10"), (20, "1 5 10 20")]
)
def test_recall_is_told_up_to_the_hits_that_were_looked_at(top_k: int, cuts: str) -> None:
    assert list(figures([question("a", [1])], top_k=top_k).recall) == cuts.split()


@given(asked=QUESTIONS)
def test_figures_are_shares_and_grow_with_k(asked: list[list[int | None]]) -> None:
    found = report(asked).figures
    recall = list(found.recall.values())
    assert recall == sorted(recall)
    assert all(0 <= share <= 1 for share in (*recall, found.mrr))
    assert found.mrr >= found.recall["1"] - 0.001 or any(len(ranks) > 1 for ranks in asked)
    assert (found.mrr == 0) == (recall[-1] == 0)


@given(before=QUESTIONS, after=QUESTIONS)
def test_a_comparison_and_its_reverse_tell_the_same(
    before: list[list[int | None]], after: list[list[int | None]]
) -> None:
    one, other = report(before), report(after)
    there, back = compared(one, other), compared(other, one)
    assert [(e.name, e.place) for e in there.lost] == [(e.name, e.place) for e in back.gained]
    assert [(e.name, e.place) for e in there.gained] == [(e.name, e.place) for e in back.lost]
    assert (there.nearer, there.only_before) == (back.farther, back.only_after)


@given(asked=QUESTIONS)
def test_against_itself_nothing_is_lost(asked: list[list[int | None]]) -> None:
    found = compared(report(asked), report(asked))
    assert (found.lost, found.gained) == ((), ())
    assert (found.nearer, found.farther, found.only_before, found.only_after) == (0, 0, 0, 0)


def test_reports_are_compared_as_far_as_both_looked() -> None:
    found = compared(report([[2], [7], [None]], top_k=10), report([[3], [None], [5]], top_k=5))
    assert found.top_k == 5
    assert found.lost == ()
    assert [(each.name, each.before, each.after) for each in found.gained] == [("q2", None, 5)]
    assert (found.nearer, found.farther) == (0, 1)


def test_questions_of_one_report_alone_are_counted_and_not_lost() -> None:
    found = compared(report([[1], [1]]), report([[1], [None]], first=1))
    assert (found.lost, found.only_before, found.only_after) == ((), 1, 1)


def test_a_question_of_one_report_alone_counts_once_however_much_it_looks_for() -> None:
    found = compared(report([[1], [1, 2, None]]), report([[1], [1], [3, 4]]))
    assert (found.lost, found.only_before, found.only_after) == ((), 1, 1)


def test_a_report_comes_back_from_json_as_it_was() -> None:
    made = report([[1, None], [3]])
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made


def test_a_question_is_answered_by_the_first_hit_for_each_of_its_places() -> None:
    places = (Place(source="a.md"), Place(text="five years"), Place(text="no such words"))
    asked = Question(line=1, name="n", question="q", find=places)
    found = answered(asked, [hit("x", name="b.md", url=None), hit("x"), hit("five years")])
    assert [each.rank for each in found.found] == [2, 3, None]
    assert found.missed == (places[2],)
