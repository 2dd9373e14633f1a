"""The default profile finds what it found: a frozen part of a manual, with floors of its own."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.corpora import corpus_of
from bench.exam import Exam, exam_of
from bench.quality import DEFAULT, HYBRID, Sat, behind, below, floors, sat
from engine.embedding import open_embedder
from engine.embedding.specs import MINILM
from engine.embedding.tokens import open_tokenizer

SAMPLE = Path(__file__).parent.parent / "data" / "manual"


class Model:
    def __init__(self, models_path: Path) -> None:
        self._embedder = open_embedder(MINILM, models_path=models_path, batch_tokens=1_024)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        return self._embedder.embed(texts)


@pytest.fixture(scope="module")
def exam() -> Exam:
    return exam_of("sample", corpus_of("sample", sorted(SAMPLE.glob("*.md"))))


@pytest.fixture(scope="module")
def taken(exam: Exam, models_path: Path) -> Sat:
    tokenizer = open_tokenizer(MINILM, models_path)
    return sat(exam, variant=DEFAULT, model=Model(models_path), tokenizer=tokenizer)


def test_the_default_profile_is_not_below_its_floors(
    exam: Exam, taken: Sat, measured: list[str]
) -> None:
    found = taken.overall(HYBRID)
    measured.append(f"quality of the sample: recall@5 {found.recall_5:.3f}, {found}")
    assert below(floors(), exams=[exam], sats=[taken]) == []


def test_both_sides_together_find_more_than_each_alone(taken: Sat) -> None:
    hybrid, dense, lexical = (taken.overall(way).ndcg_10 for way in (HYBRID, "dense", "lexical"))
    assert hybrid >= max(dense, lexical)
    assert hybrid >= dense + 0.05


def test_of_no_kind_of_question_one_side_finds_more_than_both(taken: Sat) -> None:
    assert behind("sample", one=taken) == []
    worse = {**taken.worth, HYBRID: taken.worth["dense"]}
    missed = behind("sample", one=taken._replace(worth=worse))
    assert any(words.startswith("sample excerpt hybrid 0.") for words in missed)


def test_the_answer_of_every_question_is_where_it_says(exam: Exam) -> None:
    assert len(exam.questions) > 60
    for question in exam.questions:
        text = exam.manuals[question.manual].document.text
        answer = text[question.start : question.end]
        assert answer.strip() == answer != ""


def test_a_heading_that_was_held_out_stands_nowhere(exam: Exam) -> None:
    held = {(number, section.name) for number, manual in enumerate(exam.manuals)
            for section in manual.sections if section.held}  # fmt: skip
    assert held
    for number, name in held:
        document = exam.manuals[number].document
        assert f"# {name}\n" not in document.text
        assert all(name not in block.headings for block in document.blocks)
        assert all(first.end <= second.start for first, second in pairwise(document.blocks))


def test_floors_of_other_texts_hold_nothing(exam: Exam, taken: Sat) -> None:
    other = exam._replace(sha256="0" * 64)
    (missed,) = below(floors(), exams=[other], sats=[taken])
    assert "measure anew" in missed


def test_a_ranking_that_finds_nothing_is_below_its_floors(exam: Exam, taken: Sat) -> None:
    nothing = {way: [type(one)(0, 0, 0, 0, 0) for one in found]
               for way, found in taken.worth.items()}  # fmt: skip
    missed = below(floors(), exams=[exam], sats=[taken._replace(worth=nothing)])
    assert [words.split(", floor")[0] for words in missed] == [
        f"sample {HYBRID} recall@5 0.000", f"sample {HYBRID} nDCG@10 0.000"
    ]  # fmt: skip
