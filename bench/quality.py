"""`python -m bench quality`: are the right passages found, by which settings, and still?

Tables: sizes and overlaps of chunks by what they find and cost, ways of ranking, kinds of
questions, int8 beside fp32. Every figure of a corpus is the mean over its kinds of questions.
Ends with an error where the default profile is below bench/floors.json, which holds for the
corpora whose hashes it names, and where the hybrid finds less of a kind than one of its sides.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.exam import Exam, Model, Variant, cut, exams, judged
from bench.fusion import WAYS
from bench.judging import Judged
from bench.report import Table, show
from engine.config import Settings
from engine.embedding.install import pull
from engine.embedding.specs import MINILM
from engine.embedding.tokens import TokenSpans, open_tokenizer
from engine.hits import Mode

FLOORS = Path(__file__).parent / "floors.json"
HYBRID = Mode.HYBRID.value
MAIN_WAYS = ("dense", "lexical", HYBRID)  # the modes of a query, ranked by the engine's own code
VARIANTS = tuple(
    Variant(size, overlap)
    for size, overlap in (
        (200, 0), (250, 0), (250, 30), (250, 60), (300, 60),
    )
)  # fmt: skip
DEFAULT = Variant(Settings().chunk_tokens, Settings().chunk_overlap_tokens)
MEASURES = ("recall@5", "recall@10", "nDCG@10", "in 1,000 tokens", "in 2,000 tokens")
BEHIND = 0.03  # of a kind: in one, words are far ahead of vectors by the rules that make it
BELOW_FLOOR = 0.01  # how far another machine's arithmetic may move a figure


class Floors(msgspec.Struct, frozen=True, kw_only=True):
    """What the default profile must find: recall@5 and nDCG@10 by corpus and way."""

    chunk_tokens: int
    chunk_overlap_tokens: int
    corpora: dict[str, str]
    recall_5: dict[str, dict[str, float]]
    ndcg_10: dict[str, dict[str, float]]


class Sat(NamedTuple):
    """An exam under one variant and precision, judged way by way."""

    passages: int
    tokens: int
    worth: Mapping[str, Sequence[Judged]]
    kinds: Sequence[str]

    def by_kind(self, way: str) -> dict[str, Judged]:
        """The mean over the questions of each kind."""
        found: dict[str, list[Judged]] = {}
        for kind, worth in zip(self.kinds, self.worth[way], strict=True):
            found.setdefault(kind, []).append(worth)
        return {kind: Judged.mean(worth) for kind, worth in sorted(found.items())}

    def overall(self, way: str) -> Judged:
        """The mean over the kinds."""
        return Judged.mean(list(self.by_kind(way).values()))


def run() -> None:
    # Imported here: a test uses the rest without the packages of a bench.
    from bench.rig import MODELS
    from bench.vectors import Vectored

    pull(MINILM, models_path=MODELS)
    found = exams()
    tokenizer = open_tokenizer(MINILM, MODELS)
    take = partial(sat, tokenizer=tokenizer)
    int8 = Vectored("int8")
    sizes = {
        variant: [take(exam, variant=variant, model=int8) for exam in found]
        for variant in VARIANTS
        if variant != DEFAULT
    }
    main = [take(exam, variant=DEFAULT, model=int8, every_way=True) for exam in found]
    # In full precision the first corpus alone: that takes three times as long.
    exact = [take(exam, variant=DEFAULT, model=Vectored("fp32")) for exam in found[:1]]
    names = [exam.name for exam in found]
    show(
        _sizes_table({**sizes, DEFAULT: main}, names=names),
        *(_ways_table(name, one=one) for name, one in zip(names, main, strict=True)),
        *(_kinds_table(name, one=one) for name, one in zip(names, main, strict=True)),
        _precision_table(names[:1], int8=main[:1], fp32=exact),
        bench="quality",
        questions={exam.name: len(exam.questions) for exam in found},
        default=DEFAULT.name,
        **{name: _figures(one) for name, one in zip(names, main, strict=True)},
    )
    missed = below(floors(), exams=found, sats=main)
    for name, one in zip(names, main, strict=True):
        missed += behind(name, one=one)
    if missed:
        raise SystemExit("below bench/floors.json: " + "; ".join(missed))


def sat(
    exam: Exam, *, variant: Variant, model: Model, tokenizer: TokenSpans, every_way: bool = False
) -> Sat:
    """One exam under one variant."""
    made = cut(exam, variant=variant, tokenizer=tokenizer)
    worth = judged(exam, made=made, model=model, every_way=every_way)
    tokens = sum(passage.tokens for passage in made.passages)
    kinds = [question.kind for question in exam.questions]
    return Sat(len(made.passages), tokens, worth, kinds)


def floors() -> Floors:
    """What is written down."""
    return msgspec.json.decode(FLOORS.read_bytes(), type=Floors)


def below(held: Floors, *, exams: Sequence[Exam], sats: Sequence[Sat]) -> list[str]:
    """What is missed, in words; floors of other corpora or another profile say so."""
    if (held.chunk_tokens, held.chunk_overlap_tokens) != DEFAULT:
        return [f"they are of {held.chunk_tokens}/{held.chunk_overlap_tokens}: measure anew"]
    missed = []
    for exam, one in zip(exams, sats, strict=True):
        if held.corpora[exam.name] != exam.sha256:
            missed.append(f"{exam.name} has other texts ({exam.sha256}): measure anew")
            continue
        for way in held.recall_5[exam.name]:
            figures = one.overall(way)
            for name, figure, floor in (
                ("recall@5", figures.recall_5, held.recall_5[exam.name][way]),
                ("nDCG@10", figures.ndcg_10, held.ndcg_10[exam.name][way]),
            ):
                if figure < floor - BELOW_FLOOR:
                    missed.append(f"{exam.name} {way} {name} {figure:.3f}, floor {floor:.3f}")
    return missed


def behind(name: str, *, one: Sat) -> list[str]:
    """Kinds of questions in which both sides together find less than one of them, recall@5."""
    dense, lexical, hybrid = (one.by_kind(way) for way in MAIN_WAYS)
    return [
        f"{name} {kind} {HYBRID} {figures.recall_5:.3f}, one side {best:.3f}"
        for kind, figures in hybrid.items()
        if figures.recall_5 < (best := max(dense[kind].recall_5, lexical[kind].recall_5)) - BEHIND
    ]


def _figures(one: Sat) -> dict[str, dict[str, float]]:
    return {
        way: {name: round(figure, 4) for name, figure in one.overall(way)._asdict().items()}
        for way in MAIN_WAYS
    }


def _sizes_table(sats: Mapping[Variant, Sequence[Sat]], *, names: Sequence[str]) -> Table:
    rows = []
    for variant, found in sats.items():
        for name, one in zip(names, found, strict=True):
            cost = (f"{one.passages:,}", f"{one.tokens:,}")
            for way in MAIN_WAYS:
                rows.append((f"{variant.name} {name} {way}", *cost, *_percents(one.overall(way))))
            excerpts = one.by_kind(HYBRID)["excerpt"]
            rows.append((f"{variant.name} {name} {HYBRID}, excerpts", *cost, *_percents(excerpts)))
    head = ("tokens/overlap", "passages", "tokens embedded", *MEASURES)
    return Table(title="quality: sizes of chunks", head=head, rows=rows)


def _ways_table(name: str, *, one: Sat) -> Table:
    ways = (*MAIN_WAYS, "rrf 60", "rrf 10", *(way.name for way in WAYS))
    rows = [(way, *_percents(one.overall(way))) for way in ways]
    return Table(title=f"quality: ways to rank, {name}", head=("way", *MEASURES), rows=rows)


def _kinds_table(name: str, *, one: Sat) -> Table:
    rows = [
        (f"{kind} {way}", str(one.kinds.count(kind)), *_percents(figures))
        for way in MAIN_WAYS
        for kind, figures in one.by_kind(way).items()
    ]
    head = ("kind of question", "questions", *MEASURES)
    return Table(title=f"quality: kinds of questions, {name}", head=head, rows=rows)


def _precision_table(names: Sequence[str], *, int8: Sequence[Sat], fp32: Sequence[Sat]) -> Table:
    rows = [
        (f"{name} {way} {precision}", *_percents(one.overall(way)))
        for precision, sats in (("int8", int8), ("fp32", fp32))
        for name, one in zip(names, sats, strict=True)
        for way in ("dense", HYBRID)
    ]
    return Table(title="quality: int8 and fp32", head=("model", *MEASURES), rows=rows)


def _percents(figures: Judged) -> list[str]:
    return [f"{100 * figure:.1f}" for figure in figures]
