"""The words of a generation: its passages as segments of the inverted index. Pure."""

from collections.abc import Sequence

from engine.inverted import PASSAGES_MAX, build
from engine.lexical import Analyser, analyser_of, terms
from engine.models import Document, Passage
from engine.store.segments import NewSegment


def words(
    document: Document, *, passages: Sequence[Passage], usual_length: int
) -> list[NewSegment]:
    """What the model reads is what is found by its words: the headings above a passage as well."""
    return words_of(
        [passage.embedded for passage in passages],
        analyser=analyser_of(document.text, declared=document.language),
        usual_length=usual_length,
    )


def words_of(texts: Sequence[str], *, analyser: Analyser, usual_length: int) -> list[NewSegment]:
    """A segment for each 65,536 passages."""
    return [
        NewSegment(
            first_ordinal=first,
            chunk_count=len(part),
            analyser=analyser,
            postings=build([terms(text, analyser=analyser) for text in part], length=usual_length),
        )
        for first in range(0, len(texts), PASSAGES_MAX)
        if (part := texts[first : first + PASSAGES_MAX])
    ]
