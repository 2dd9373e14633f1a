"""Questions about excerpts: where the answers lie, and that they are asked in other words."""

from itertools import pairwise
from pathlib import Path

import pytest

from bench.excerpts import asked_for, by_excerpt, excerpts, otherwise
from bench.manuals import Manual, manuals
from bench.questions import Question, telling

SAMPLE = Path(__file__).parent.parent / "data" / "manual"
TEXT = """The pump starts by itself when the tank is half empty, and stops at the upper mark. It
takes water from the deep well below the farm house, and more of it in dry summer months.

In winter the valve behind the pump has to be closed by hand before the first frost comes. Who
forgets that will find a broken pipe and a wet cellar some weeks later in spring.

```
pump --close
```

Spare parts of the pump are sold by the shop that sits beside the railway station in town.
"""


@pytest.fixture(scope="module")
def sample() -> list[Manual]:
    return manuals(sorted(SAMPLE.glob("*.md")))


@pytest.fixture(scope="module")
def asked(sample: list[Manual]) -> list[Question]:
    return by_excerpt(sample)


def answer_of(question: Question, *, sample: list[Manual]) -> str:
    return sample[question.manual].document.text[question.start : question.end]


def test_an_excerpt_has_one_to_four_neighbouring_sentences_and_nothing_between_them() -> None:
    found = [TEXT[start:end] for start, end in excerpts(TEXT)]
    assert "".join("".join(found).split()) == "".join(
        "".join(part for part in TEXT.split("```")[::2]).split()
    )
    assert not any("pump --close" in each for each in found)
    assert all(1 <= each.count(".") <= 4 for each in found)


def test_some_excerpts_go_on_in_the_next_paragraph(
    sample: list[Manual], asked: list[Question]
) -> None:
    across = [each for each in asked if "\n\n" in answer_of(each, sample=sample)]
    assert len(asked) > 100
    assert len(across) > 20


def test_excerpts_do_not_overlap(asked: list[Question]) -> None:
    places = sorted((each.manual, each.start, each.end) for each in asked)
    assert all(one[0] < other[0] or one[2] <= other[1] for one, other in pairwise(places))


def test_a_question_has_few_of_the_words_of_its_answer_and_none_of_their_order(
    sample: list[Manual], asked: list[Question]
) -> None:
    kept = total = 0
    for question in asked:
        answer = answer_of(question, sample=sample)
        words = telling(answer)
        said = [word for word in telling(question.text) if word in words]
        kept, total = kept + len(set(said)), total + len(set(words))
        assert question.text not in answer
    assert kept < total / 4


def test_the_same_answer_is_always_asked_for_in_the_same_words() -> None:
    (first, *_) = [TEXT[start:end] for start, end in excerpts(TEXT)]
    assert asked_for(first) == "take drys tanks come winters pumps uppers"
    assert asked_for("The pump starts.") == ""


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("allowed", "permit"), ("permits", "allows"), ("creating", "make"), ("indexes", "indexe"),
        ("replication", "replicated"), ("locking", "locked"), ("queries", "query"),
        ("PostgreSQL", "PostgreSQL"), ("pg_dump", "pg_dump"), ("9.6", "9.6"), ("class", "class"),
    ],
)  # fmt: skip
def test_a_word_is_said_otherwise_and_a_name_is_not(word: str, other: str) -> None:
    assert otherwise(word) == other
