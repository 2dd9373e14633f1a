"""What bench quality asks of what: two corpora, cut as the engine cuts, ranked without a database.

Pages of the PostgreSQL manual (HTML), and prose (FAQs and guides: plain text, HTML and Markdown).
Questions are made by rule (bench/questions.py), worth is counted by ranges of text
(bench/judging.py). The three modes of a query are ranked by the engine's own code
(bench/answering.py), other ways for comparison. What is compared: bench/quality.py.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from bench.answering import Answering
from bench.bm25 import Bm25
from bench.corpora import Corpus, corpus
from bench.excerpts import by_excerpt
from bench.fusion import WAYS, Candidates, Row, Sides
from bench.judging import Judge, Judged, Piece
from bench.links import by_links
from bench.manuals import Manual, manuals
from bench.questions import Question, by_rule
from engine.embedding.specs import MINILM
from engine.embedding.tokens import TokenSpans
from engine.hits import Mode
from engine.lexical import Analyser, analyser_of, question_terms, terms
from engine.models import Passage
from workers.chunk import chunk

HTML_PAGES = 100
PROSE_FILES = 30


class Variant(NamedTuple):
    """Settings of a profile."""

    chunk_tokens: int
    overlap_tokens: int

    @property
    def name(self) -> str:
        return f"{self.chunk_tokens}/{self.overlap_tokens}"

    @property
    def usual_length(self) -> int:
        """As profiles.lexical_length has it."""
        return max(self.chunk_tokens * 2 // 3, 1)


class Exam(NamedTuple):
    """What is searched, and what is asked."""

    name: str
    sha256: str
    manuals: Sequence[Manual]
    questions: Sequence[Question]


class Cut(NamedTuple):
    """A corpus under one variant; `analysers` are those of the passages."""

    variant: Variant
    passages: Sequence[Passage]
    pieces: Sequence[Piece]
    analysers: Sequence[Analyser]


class Model(Protocol):
    """Makes vectors of texts."""

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Of shape (len(texts), dimensions), of length 1, in their order."""
        ...


def exams() -> list[Exam]:
    """Both corpora."""
    html = corpus("html", files_max=HTML_PAGES)
    prose = corpus("prose", files_max=PROSE_FILES)
    return [_html_exam(html), exam_of("prose", prose)]


def exam_of(name: str, found: Corpus) -> Exam:
    """With the questions that every corpus has."""
    documents = manuals(found.paths)
    return Exam(name, found.sha256, documents, [*by_rule(documents), *by_excerpt(documents)])


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
    analysers = [_analyser(manual) for manual in exam.manuals]
    return Cut(variant, passages, pieces, [analysers[number] for number in numbers])


def judged(
    exam: Exam, *, made: Cut, model: Model, every_way: bool = False
) -> dict[str, list[Judged]]:
    """The worth of each mode of a query, question by question; and of all ways, if so wanted."""
    judge = Judge(made.pieces, questions=exam.questions)
    cosines = _cosines(exam, made=made, model=model)
    worth: dict[str, list[Judged]] = {}
    for number, found in enumerate(_answered(exam, made=made, cosines=cosines)):
        for name, rows in found.items():
            worth.setdefault(name, []).append(judge.judged(number, rows))
    if every_way:
        for number, sides in enumerate(_sides(exam, made=made, cosines=cosines)):
            for name, ranked in rankings(sides).items():
                worth.setdefault(name, []).append(judge.judged(number, ranked.tolist()))
    return worth


def rankings(sides: Sides) -> dict[str, Row]:
    """What each way puts first."""
    offered = Candidates(sides)
    return {
        "rrf 60": offered.reciprocal(k=60),
        "rrf 10": offered.reciprocal(k=10),
    } | {way.name: offered.convex(way) for way in WAYS}


def _cosines(exam: Exam, *, made: Cut, model: Model) -> np.ndarray:
    """A row for each question, a column for each passage."""
    embedded = [passage.embedded for passage in made.passages]
    asked = [question.text for question in exam.questions]
    return np.asarray(model.vectors(asked) @ model.vectors(embedded).T)


def _answered(exam: Exam, *, made: Cut, cosines: np.ndarray) -> Iterator[dict[str, list[int]]]:
    answering = Answering(
        made.passages, pieces=made.pieces, analysers=made.analysers,
        usual_length=made.variant.usual_length,
    )  # fmt: skip
    for question, row in zip(exam.questions, cosines, strict=True):
        yield {mode.value: answering.rows(question.text, cosines=row, mode=mode) for mode in Mode}


def _sides(exam: Exam, *, made: Cut, cosines: np.ndarray) -> Iterator[Sides]:
    read = [
        terms(passage.embedded, analyser=analyser)
        for passage, analyser in zip(made.passages, made.analysers, strict=True)
    ]
    words = Bm25(read, length=made.variant.usual_length)
    analysers = sorted(set(made.analysers))
    for question, row in zip(exam.questions, cosines, strict=True):
        asked = question_terms(question.text, analysers=analysers)
        yield Sides(row, *words.scores(asked))


def _analyser(manual: Manual) -> Analyser:
    return analyser_of(manual.document.text, declared=manual.document.language)
