"""What bench quality asks of what: two corpora, cut as the engine cuts, ranked without a database.

Pages of the PostgreSQL manual (HTML), and prose (FAQs and guides: plain text, HTML and Markdown).
Questions are made by rule (bench/questions.py), worth is counted by ranges of text
(bench/judging.py). What is compared, and what is printed: bench/quality.py.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from py_rust_stemmers import SnowballStemmer

from bench.bm25 import Bm25
from bench.corpora import Corpus, corpus
from bench.fusion import WAYS, Candidates, Row, Sides
from bench.judging import Judge, Judged, Piece
from bench.links import by_links
from bench.manuals import Manual, manuals
from bench.questions import Question, by_rule
from engine.embedding.specs import MINILM
from engine.embedding.tokens import TokenSpans
from engine.models import Passage
from workers.chunk import chunk

HTML_PAGES = 200


class Variant(NamedTuple):
    """Settings of a profile."""

    chunk_tokens: int
    overlap_tokens: int

    @property
    def name(self) -> str:
        return f"{self.chunk_tokens}/{self.overlap_tokens}"


class Exam(NamedTuple):
    """What is searched, and what is asked."""

    name: str
    sha256: str
    manuals: Sequence[Manual]
    questions: Sequence[Question]


class Cut(NamedTuple):
    """A corpus under one variant."""

    passages: Sequence[Passage]
    pieces: Sequence[Piece]


class Searched(NamedTuple):
    """All scores of all questions under one variant."""

    judge: Judge
    sides: Sequence[Sides]


class Model(Protocol):
    """Makes vectors of texts."""

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Of shape (len(texts), dimensions), of length 1, in their order."""
        ...


def exams() -> list[Exam]:
    """Both corpora."""
    html, prose = corpus("html", files_max=HTML_PAGES), corpus("prose")
    return [_html_exam(html), exam_of("prose", prose)]


def exam_of(name: str, found: Corpus) -> Exam:
    """With the questions that every corpus has."""
    documents = manuals(found.paths)
    return Exam(name, found.sha256, documents, by_rule(documents))


def _html_exam(found: Corpus) -> Exam:
    exam = exam_of("postgres", found)
    index = found.paths[0].with_name("bookindex.html")
    pages = [path for path in corpus("html").paths if path != index]
    linked = by_links(pages, index=index, manuals=exam.manuals)
    return exam._replace(questions=[*exam.questions, *linked])


def cut(exam: Exam, *, variant: Variant, tokenizer: TokenSpans) -> Cut:
    """The passages of all manuals."""
    passages: list[Passage] = []
    numbers: list[int] = []
    for number, manual in enumerate(exam.manuals):
        found = chunk(
            manual.document, spans=tokenizer, chunk_tokens=variant.chunk_tokens,
            overlap_tokens=variant.overlap_tokens, tokens_max=MINILM.tokens_max,
            special_tokens=tokenizer.special_tokens, chunks_max=100_000,
        )  # fmt: skip
        passages += found
        numbers += [number] * len(found)
    tokens = tokenizer.counts([passage.text for passage in passages])
    pieces = [
        Piece(number, passage.start, passage.end, count)
        for number, passage, count in zip(numbers, passages, tokens, strict=True)
    ]
    return Cut(passages, pieces)


def searched(exam: Exam, *, made: Cut, model: Model) -> Searched:
    """Every passage scored for every question, by meaning and by words."""
    embedded = [passage.embedded for passage in made.passages]
    asked = [question.text for question in exam.questions]
    dense = model.vectors(asked) @ model.vectors(embedded).T
    words = Bm25(embedded, terms=terms)
    sides = [
        Sides(row, *words.scores(question)) for row, question in zip(dense, asked, strict=True)
    ]
    return Searched(Judge(made.pieces, questions=exam.questions), sides)


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    return str(_STEMMER.stem_word(word))


_STEMMER = SnowballStemmer("english")


def terms(text: str) -> list[str]:
    """Stems of words, lower case: until the engine's own analyser is here."""
    return [_stem(word) for word in re.findall(r"\w+", text.lower())]


def rankings(sides: Sides) -> dict[str, Row]:
    """What each way puts first."""
    offered = Candidates(sides)
    return {
        "dense": offered.dense,
        "lexical": offered.lexical,
        "rrf 60": offered.reciprocal(k=60),
        "rrf 10": offered.reciprocal(k=10),
    } | {way.name: offered.convex(way) for way in WAYS}


def judged(found: Searched, *, ways: Collection[str] | None = None) -> dict[str, list[Judged]]:
    """The worth of each way, question by question."""
    worth: dict[str, list[Judged]] = {}
    for number, sides in enumerate(found.sides):
        for name, ranked in rankings(sides).items():
            if ways is None or name in ways:
                worth.setdefault(name, []).append(found.judge.judged(number, ranked.tolist()))
    return worth
