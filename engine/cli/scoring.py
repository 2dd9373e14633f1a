"""How well golden questions were answered, and what became of it since an earlier report. Pure.

A place is found by the first hit that meets it:

- A source: any hit of the source with that id, name or URL.
- Offsets: a hit of that source, if place and hit share enough of their characters.
- A text: a hit, if the two texts share enough. Both are read with every run of white space as one
  space; what they share is the one inside of the other, or the end of the one that is the beginning
  of the other.

Enough is half of the shorter of the two, because another chunk size cuts elsewhere and a passage
that holds most of an excerpt answers; and 20 characters, or all of a place that has less.

recall@k is the share of a question's places found among its first k hits, averaged over questions;
MRR the average of 1 / rank of the first hit that meets any of them, 0 without one.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.addresses import UrlError, normalise_url
from engine.cli.answers import Hit
from engine.cli.golden import Place, Question

SHARE_MIN = 0.5
SHARED_CHARACTERS_MIN = 20
CUTS = (1, 5, 10)
VERSION = 1


Cut = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}$")]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A place and the rank of the first hit that meets it; None: not among the hits."""

    place: Place
    rank: int | None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A question with what was found of it."""

    name: str
    question: str
    found: tuple[Found, ...]

    @property
    def missed(self) -> tuple[Place, ...]:
        return tuple(each.place for each in self.found if each.rank is None)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the questions were asked; `mode` is "" where the engine's default was taken."""

    top_k: Annotated[int, Meta(ge=1)]
    mode: str = ""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """`recall` by its k, as text because keys of JSON are."""

    questions: int
    recall: dict[Cut, float]
    mrr: float


class Report(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rag-engine evaluate"
):
    """What is written to --out and read by --against."""

    version: int = VERSION
    made_at: str
    rag: str
    rag_id: str
    embedding_model: str
    settings: Settings
    figures: Figures
    questions: tuple[Answered, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A place that one of two reports found and the other one did not."""

    name: str
    place: Place
    before: int | None
    after: int | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`top_k`: the smaller one of the two reports, up to which they are compared; `nearer` and
    `farther` count places that both found, at another rank; `only_*` the questions with places
    that the other one did not look for."""

    top_k: int
    lost: tuple[Change, ...]
    gained: tuple[Change, ...]
    nearer: int
    farther: int
    only_before: int
    only_after: int


def answered(question: Question, hits: Sequence[Hit]) -> Answered:
    found = tuple(Found(place=place, rank=rank_of(place, hits)) for place in question.find)
    return Answered(name=question.name, question=question.question, found=found)


def rank_of(place: Place, hits: Sequence[Hit]) -> int | None:
    """Of the first hit that meets the place, from 1."""
    ranks = (rank for rank, hit in enumerate(hits, start=1) if meets(hit, place))
    return next(ranks, None)


def meets(hit: Hit, place: Place) -> bool:
    """Whether a hit is what should be found."""
    if place.source and not _is_of(hit, place.source):
        return False
    if place.start is not None and place.end is not None:
        shared = min(hit.end, place.end) - max(hit.start, place.start)
        return _is_enough(shared, hit=hit.end - hit.start, place=place.end - place.start)
    wanted = _plain(place.text)
    if not wanted:
        return True
    text = _plain(hit.text)
    return _is_enough(shared_characters(text, wanted), hit=len(text), place=len(wanted))


def _is_enough(shared: int, *, hit: int, place: int) -> bool:
    return shared >= SHARE_MIN * min(hit, place) and shared >= min(SHARED_CHARACTERS_MIN, place)


def shared_characters(one: str, other: str) -> int:
    """How many characters two texts share, as the module says."""
    shorter, longer = sorted((one, other), key=len)
    if shorter in longer:
        return len(shorter)
    return max(_overlap(one, other), _overlap(other, one))


def _overlap(first: str, second: str) -> int:
    """The length of the longest end of `first` that `second` begins with, in linear time."""
    pattern = second[: len(first)]
    borders = [0] * len(pattern)
    matched = 0
    for number in range(1, len(pattern)):
        while matched and pattern[number] != pattern[matched]:
            matched = borders[matched - 1]
        matched += pattern[number] == pattern[matched]
        borders[number] = matched
    matched = 0
    for character in first[len(first) - len(pattern) :]:
        while matched and (matched == len(pattern) or character != pattern[matched]):
            matched = borders[matched - 1]
        matched += character == pattern[matched]
    return matched


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_of(hit: Hit, source: str) -> bool:
    if source in (hit.source_id, hit.source.name):
        return True
    if source.lower() == hit.source_id:
        return True
    return hit.source.source_url is not None and _same_url(hit.source.source_url, source)


def _same_url(one: str, other: str) -> bool:
    try:
        return one == other or normalise_url(one) == normalise_url(other)
    except (UrlError, ValueError):
        return False


def figures(questions: Sequence[Answered], *, top_k: int) -> Figures:
    """Over at least one question; recall up to `top_k`."""
    cuts = sorted({*(cut for cut in CUTS if cut < top_k), top_k})
    return Figures(
        questions=len(questions),
        recall={str(cut): _mean(_recall(each, cut=cut) for each in questions) for cut in cuts},
        mrr=_mean(map(_reciprocal, questions)),
    )


def _recall(question: Answered, *, cut: int) -> float:
    return _mean(
        each.rank is not None and each.rank <= cut for each in question.found
    )  # fmt: skip


def _reciprocal(question: Answered) -> float:
    ranks = [each.rank for each in question.found if each.rank is not None]
    return 1 / min(ranks) if ranks else 0.0


def _mean(values: Iterable[float]) -> float:
    listed = [*values]
    return round(sum(listed) / len(listed), 4)


def compared(before: Report, after: Report) -> Comparison:
    """Place by place, by the question's name and what should be found."""
    top_k = min(before.settings.top_k, after.settings.top_k)
    ranks_before, ranks_after = _ranks(before, top_k=top_k), _ranks(after, top_k=top_k)
    both = [key for key in ranks_after if key in ranks_before]
    changes = [
        Change(name=key[0], place=key[1], before=ranks_before[key], after=ranks_after[key])
        for key in both
    ]
    ranked = [(each.before, each.after) for each in changes if each.before and each.after]
    return Comparison(
        top_k=top_k,
        lost=tuple(each for each in changes if each.before and not each.after),
        gained=tuple(each for each in changes if each.after and not each.before),
        nearer=sum(a < b for b, a in ranked),
        farther=sum(a > b for b, a in ranked),
        only_before=_questions(ranks_before.keys() - ranks_after.keys()),
        only_after=_questions(ranks_after.keys() - ranks_before.keys()),
    )


def have_common(report: Report, questions: Iterable[Question]) -> bool:
    """Whether there will be anything to compare once these have been asked."""
    asked = {(question.name, place) for question in questions for place in question.find}
    return not asked.isdisjoint(_ranks(report, top_k=1))


def _questions(places: Iterable[tuple[str, Place]]) -> int:
    return len({name for name, _ in places})


def _ranks(report: Report, *, top_k: int) -> dict[tuple[str, Place], int | None]:
    return {
        (question.name, each.place): each.rank if each.rank and each.rank <= top_k else None
        for question in report.questions
        for each in question.found
    }
