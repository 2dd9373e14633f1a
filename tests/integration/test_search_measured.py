"""What bench quality takes for the engine's answers is what a query gives, on a real database."""

from pathlib import Path

import numpy as np
import pytest
from fix_words import USUAL_LENGTH, document_of
from test_search_rag import Desk, desk, placed

from bench.answering import Answering
from bench.judging import Piece
from engine.hits import Mode
from engine.lexical import analyser_of
from engine.models import Passage

__all__ = ["desk"]

pytestmark = pytest.mark.anyio

MANUALS = sorted((Path(__file__).parent.parent / "data" / "manual").glob("*.md"))[:4]
QUESTIONS = (
    "How do I back up all databases of a cluster?",
    "restoring a dump with psql",
    "What takes a ShareUpdateExclusiveLock?",
    "bytea",
    "Which replication needs no shared disk, and what does it cost?",
    "of the and to",
    "zzyzx",
)


def paragraphs(path: Path) -> list[str]:
    """The first dozen, and one of them once more, which a query folds away."""
    found = [" ".join(part.split()) for part in path.read_text().split("\n\n")]
    kept = [part for part in found if len(part) > 80][:12]
    return [*kept, kept[0]]


async def test_the_bench_ranks_as_a_query_does(desk: Desk):
    passages: list[Passage] = []
    pieces, analysers = [], []
    for number, path in enumerate(MANUALS):
        texts = paragraphs(path)
        await desk.source(texts)
        found = placed(texts, overlap=0)
        passages += found
        pieces += [Piece(number, each.start, each.end, each.tokens) for each in found]
        analysers += [analyser_of(document_of(texts).text)] * len(found)
    answering = Answering(passages, pieces=pieces, analysers=analysers, usual_length=USUAL_LENGTH)
    embedder = await desk.models.open(desk.settings.embedding_model)
    # As they are stored: near ties are decided by the rounding.
    vectors = (await embedder.embed([passage.text for passage in passages])).astype(np.float16)
    for question in QUESTIONS:
        cosines = vectors.astype(np.float32) @ await embedder.embed_query(question)
        for mode in Mode:
            rows = answering.rows(question, cosines=cosines, mode=mode)
            hits = await desk.ask(question, mode=mode, top_k=20)
            assert [hit.text for hit in hits] == [passages[row].text for row in rows][:20], question
