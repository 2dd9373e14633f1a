"""PDF text, pages a second: the engine's reader against pypdf alone, and how like their words are.

The engine's reader makes the whole document (text, paragraphs, headings); pypdf its pages' text.
"""

import io
import operator
import statistics
import time
from collections import Counter

from bench.corpora import corpus
from engine.config import Limits
from engine.models import Document

PAGES = range(100, 400)  # those that pypdf reads: past the title and the contents
ROUNDS = 3


def pages_ratio() -> dict[str, float]:
    """How many times faster, medians over ROUNDS, and the mean likeness of a page."""
    data = corpus("pdf").paths[0].read_bytes()
    ours_per_s, theirs_per_s = [], []
    for _ in range(ROUNDS):
        document, rate = _engine(data)
        ours_per_s.append(rate)
        theirs, rate = _pypdf(data)
        theirs_per_s.append(rate)
    ours = _words_by_page(document)
    likeness = [
        _likeness(ours[page + 1], Counter(text.split()))
        for page, text in zip(PAGES, theirs, strict=True)
    ]
    ratio = statistics.median(map(operator.truediv, ours_per_s, theirs_per_s))
    return {
        "pdf_pages_per_s": round(statistics.median(ours_per_s), 1),
        "pdf_pages_ratio_to_pypdf": round(ratio, 2),
        "pdf_similarity_to_pypdf": round(statistics.fmean(likeness), 4),
    }


def _engine(data: bytes) -> tuple[Document, float]:
    from workers.extract.pdf import read_pdf

    limits = Limits()
    started = time.perf_counter()
    document = read_pdf(
        data, pages_max=limits.document_pages_max, characters_max=limits.document_characters_max
    )
    seconds = time.perf_counter() - started
    return document, (document.coverage.pages_total or 0) / seconds


def _pypdf(data: bytes) -> tuple[list[str], float]:
    from pypdf import PdfReader

    started = time.perf_counter()
    reader = PdfReader(io.BytesIO(data))
    texts = [reader.pages[page].extract_text() for page in PAGES]
    return texts, len(PAGES) / (time.perf_counter() - started)


def _words_by_page(document: Document) -> dict[int, Counter[str]]:
    found: dict[int, Counter[str]] = {page + 1: Counter() for page in PAGES}
    for block in document.blocks:
        if block.page in found:
            found[block.page].update(document.text[block.start : block.end].split())
    return found


def _likeness(ours: Counter[str], theirs: Counter[str]) -> float:
    """Dice's coefficient over the words of a page, as often as they stand there."""
    return 2 * (ours & theirs).total() / max(ours.total() + theirs.total(), 1)
