"""The words of a generation: its passages as segments of the inverted index. Pure."""

from collections.abc import Sequence

from engine.inverted import PASSAGES_MAX, build
from engine.lexical import analyser_of, terms
from engine.models import Document, Passage
from engine.store.segments import NewSegment


def words(
    document: Document, *, passages: Sequence[Passage], usual_length: int
) -> list[NewSegment]:
    """What the model reads is what is found by its words: the headings above a passage as well."""
    analyser = analyser_of(document.text, declared=document.language)
    return [
        NewSegment(
            first_ordinal=first,
            chunk_count=len(part),
            analyser=analyser,
            postings=build(
                [terms(passage.embedded, analyser=analyser) for passage in part],
                length=usual_length,
            ),
        )
        for first in range(0, len(passages), PASSAGES_MAX)
        if (part := passages[first : first + PASSAGES_MAX])
    ]
