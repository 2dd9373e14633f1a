"""Stage 3, pure: a document becomes passages that the model can read whole.

What lives here: sections and which of them are joined, what stands above a passage when the model
reads it, and the proof by the model's own tokenizer that it fits. What does not: where a text may
be cut (workers/pieces.py), the tokenizer itself, anything that does I/O. The rules and the figures
behind the constants are in docs/decisions/0005-chunking.md.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile

import msgspec

from engine.errors import TooManyChunks
from engine.models import Block, Document, Passage
from workers.pieces import Layout, Room, Tape, covering, cut_up
from workers.reading import TokenSpans, batches, reading_of
from workers.records import record_starts

# Tokenizers map a very long word to a single unknown token, so tokens alone do not bound a chunk.
# Of 8,000 chunks of manuals and code none held more than 10.1 characters per token.
CHARACTERS_PER_TOKEN = 16
# A section below this share of a chunk is joined with a sibling, until it no longer is.
TINY_SHARE = 0.125
HEADING_CHARACTERS_MAX = 300
# Of these a table is made of records, which are lines only where nothing is between quotes.
QUOTING = {"text/csv", "text/tab-separated-values"}
SEPARATOR = " > "
SEPARATOR_TOKENS = 1


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk may hold. `above_tokens` bounds a heading path, and a table header as well."""

    chunk_tokens: int
    overlap_tokens: int
    embedded_tokens: int

    @property
    def above_tokens(self) -> int:
        return self.embedded_tokens // 3

    @property
    def sure_tokens(self) -> int:
        """What a text may hold under any heading path."""
        return min(self.chunk_tokens, self.embedded_tokens - self.above_tokens)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A range of the text under one path of headings, with the headings that open it."""

    start: int
    end: int
    path: tuple[str, ...]


class Above(msgspec.Struct, frozen=True, kw_only=True):
    """What stands above a text when the model reads it."""

    text: str
    tokens: int


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a section on its way to a passage. `bare`: without anything above it."""

    start: int
    end: int
    section: Section
    bare: bool = False


def chunk(
    document: Document,
    *,
    spans: TokenSpans,
    chunk_tokens: int,
    overlap_tokens: int,
    tokens_max: int,
    special_tokens: int,
    chunks_max: int,
) -> list[Passage]:
    """Cut a document into passages, in order; the same document always gives the same passages.

    A passage's text has at most `chunk_tokens` tokens, what the model reads with it (`embedded`)
    at most `tokens_max - special_tokens`; only a single code point that is over them stands as it
    is. Without overlap passages are disjoint; together they hold every character that is not
    blank. Time is linear in the text.
    Raises TooManyChunks over `chunks_max`, ValueError when nothing can fit.
    """
    caps = Caps(
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap_tokens,
        embedded_tokens=tokens_max - special_tokens,
    )
    if chunk_tokens < 1 or caps.embedded_tokens < 1 or overlap_tokens < 0:
        raise ValueError("chunk_tokens and tokens_max must leave room for text")
    passages: list[Passage] = []
    for passage in _Chunker(document, spans=spans, caps=caps).passages():
        _add(passage, passages=passages)
        if len(passages) > chunks_max:
            raise TooManyChunks(f"The document makes more than {chunks_max:,} chunks.")
    return passages


def _add(passage: Passage, *, passages: list[Passage]) -> None:
    # Where a piece had to be halved, one part of it may lie within its overlapping neighbour.
    if passages and passage.end <= passages[-1].end:
        return
    while passages and passages[-1].start >= passage.start:
        passages.pop()
    passages.append(msgspec.structs.replace(passage, ordinal=len(passages)))


class _Chunker:
    def __init__(self, document: Document, *, spans: TokenSpans, caps: Caps) -> None:
        self.text = document.text
        self.spans = spans
        self.caps = caps
        self.layout = _layout(document)
        self.reading = reading_of(spans)
        self.tape = self.reading.tape(document.text)
        self.title = " ".join(document.title.split())
        self.words: dict[str, Above] = {}
        self.paths: dict[tuple[str, ...], Above] = {}

    def passages(self) -> Iterator[Passage]:
        """All passages, with ordinal 0."""
        found = sections(self.layout.blocks)
        joined = joined_sections(found, tape=self.tape, caps=self.caps)
        self._weigh({self.title, *(word for one in joined for word in one.path)})
        yield from self._settled(piece for one in joined for piece in self._planned(one))

    def _planned(self, section: Section) -> Iterator[Piece]:
        def room_at(start: int) -> Room:
            above = self._path(section.path).tokens + self._table_header(start).tokens
            tokens = min(self.caps.chunk_tokens, max(1, self.caps.embedded_tokens - above))
            characters = tokens * CHARACTERS_PER_TOKEN
            overlap = self.caps.overlap_tokens
            return Room(tokens=tokens, characters=characters, overlap=overlap)

        ranges = cut_up(
            self.layout, tape=self.tape, start=section.start, end=section.end, room_at=room_at
        )
        for start, end in ranges:
            yield Piece(start=start, end=end, section=section)

    def _settled(self, pieces: Iterable[Piece]) -> Iterator[Passage]:
        # The plan adds up tokens of the whole text; a cut may change how its neighbours are read
        # (an unknown word becomes known syllables), so each passage is counted as it will be read.
        for batch in batches(pieces, size=lambda piece: piece.end - piece.start):
            read = [self._embedded(piece) for piece in batch]
            own_from = [
                len(string) - (piece.end - piece.start)
                for piece, string in zip(batch, read, strict=True)
            ]
            counts = self.reading.counts(read, owned_from=own_from)
            for piece, string, (tokens, own_tokens) in zip(batch, read, counts, strict=True):
                if self._fits(piece, tokens=tokens, own_tokens=own_tokens):
                    yield self._passage(piece, embedded=string, tokens=tokens)
                else:
                    own = self._own_starts(piece, string=string)
                    yield from self._settled(self._halves(piece, own=own))

    def _own_starts(self, piece: Piece, *, string: str) -> "array[int]":
        # Where the tokens of the piece's own text start, as positions of the document.
        offset = len(string) - (piece.end - piece.start)
        own = self.reading.owned(string, owned_from=offset)
        return array("I", (piece.start - offset + start for start in own))

    def _fits(self, piece: Piece, *, tokens: int, own_tokens: int) -> bool:
        if tokens <= self.caps.embedded_tokens and own_tokens <= self.caps.chunk_tokens:
            return True
        return piece.bare and piece.end - piece.start == 1

    def _halves(self, piece: Piece, *, own: "array[int]") -> Iterator[Piece]:
        length = piece.end - piece.start
        if length == 1:
            yield msgspec.structs.replace(piece, bare=True)
            return
        room = Room(tokens=max(1, (len(own) + 1) // 2), characters=(length + 1) // 2)
        tape = Tape(starts=own, end=piece.end)
        ranges = cut_up(
            self.layout, tape=tape, start=piece.start, end=piece.end, room_at=lambda _: room
        )
        for start, end in ranges:
            yield msgspec.structs.replace(piece, start=start, end=end)

    def _passage(self, piece: Piece, *, embedded: str, tokens: int) -> Passage:
        return Passage(
            ordinal=0,
            text=self.text[piece.start : piece.end],
            start=piece.start,
            end=piece.end,
            embedded=embedded,
            tokens=tokens,
            headings=piece.section.path,
            page=self.layout.block_at(piece.start).page,
        )

    def _embedded(self, piece: Piece) -> str:
        text = self.text[piece.start : piece.end]
        if piece.bare:
            return text
        above = (self._path(piece.section.path).text, self._table_header(piece.start).text)
        return "\n".join((*filter(None, above), text))

    def _table_header(self, start: int) -> Above:
        # What the rows after the first piece of a table would otherwise be read without.
        block = self.layout.block_at(start)
        if block.kind != "table" or not block.header_end or start < block.header_end:
            return Above(text="", tokens=0)
        tokens = min(self.tape.count(block.start, block.header_end), self.caps.above_tokens)
        end = min(
            self.tape.reach(block.start, tokens),
            block.start + tokens * CHARACTERS_PER_TOKEN,
            block.header_end,
        )
        return Above(text=self.text[block.start : end].strip(), tokens=tokens)

    def _path(self, path: tuple[str, ...]) -> Above:
        if path not in self.paths:
            self.paths[path] = self._composed(path)
        return self.paths[path]

    def _composed(self, path: tuple[str, ...]) -> Above:
        # The innermost heading says most, then the title, then the headings from inside out.
        inner = [self.words[word] for word in reversed(path) if word.strip()]
        title = [] if self.title in ("", *path) else [self.words[self.title]]
        kept, tokens = 0, 0
        for word in (*inner[:1], *title, *inner[1:]):
            more = word.tokens + (SEPARATOR_TOKENS if kept else 0)
            if tokens + more > self.caps.above_tokens:
                break
            kept, tokens = kept + 1, tokens + more
        title = title[: max(0, kept - len(inner[:1]))]
        headings = inner[: kept - len(title)]
        text = SEPARATOR.join(word.text for word in (*title, *reversed(headings)) if word.text)
        return Above(text=text, tokens=tokens)

    def _weigh(self, words: set[str]) -> None:
        # Titles and headings, each cut to what may stand above a text at all.
        limit = self.caps.above_tokens
        for batch in batches(sorted(words), size=len):
            texts = [" ".join(word[: limit * CHARACTERS_PER_TOKEN].split()) for word in batch]
            for word, text, found in zip(batch, texts, self.spans.spans(texts), strict=True):
                end = found[limit - 1][1] if 0 < limit < len(found) else len(text)
                clipped = text[:end] if limit else ""
                self.words[word] = Above(text=clipped, tokens=min(len(found), limit))


def _layout(document: Document) -> Layout:
    text, blocks = document.text, covering(document.text, blocks=document.blocks)
    quotes = document.media_type in QUOTING and len(blocks) == 1
    records = record_starts(text, start=blocks[0].start, end=blocks[0].end) if quotes else None
    return Layout(text, blocks=blocks, records=records)


def sections(blocks: Sequence[Block]) -> Iterator[Section]:
    """Runs of blocks under one path. Headings belong to the text that follows them."""
    start: int | None = None
    end = 0
    path: tuple[str, ...] = ()
    body = False
    for block in blocks:
        heading = block.kind == "heading"
        if start is not None and body and (heading or _clipped(block.headings) != path):
            yield Section(start=start, end=end, path=path)
            start, body = None, False
        if heading or not body:
            path = _clipped(block.headings)
        start = block.start if start is None else start
        body = body or not heading
        end = block.end
    if start is not None:
        yield Section(start=start, end=end, path=path)


def _clipped(path: tuple[str, ...]) -> tuple[str, ...]:
    if all(len(word) <= HEADING_CHARACTERS_MAX for word in path):
        return path
    return tuple(word[:HEADING_CHARACTERS_MAX] for word in path)


def joined_sections(found: Iterable[Section], *, tape: Tape, caps: Caps) -> list[Section]:
    """Sections with tiny ones joined to a sibling, or to the parent's text just before them."""
    tiny = int(caps.chunk_tokens * TINY_SHARE)
    joined: list[Section] = []

    def tokens(section: Section) -> int:
        return tape.count(section.start, section.end)

    def join(first: Section, second: Section) -> bool:
        path = _common(first.path, second.path)
        near = len(path) >= len(first.path) - (len(first.path) == len(second.path))
        if not near or tape.count(first.start, second.end) > caps.sure_tokens:
            return False
        joined[-1:] = [Section(start=first.start, end=second.end, path=path)]
        return True

    for section in found:
        if joined and tokens(joined[-1]) < tiny and join(joined[-1], section):
            continue
        _join_back(joined, tiny=tiny, tokens=tokens, join=join)
        joined.append(section)
    _join_back(joined, tiny=tiny, tokens=tokens, join=join)
    return joined


def _join_back(
    joined: list[Section],
    *,
    tiny: int,
    tokens: Callable[[Section], int],
    join: Callable[[Section, Section], bool],
) -> None:
    # A last tiny section of its kind goes to the one before it.
    if len(joined) > 1 and tokens(joined[-1]) < tiny:
        last = joined.pop()
        if not join(joined[-1], last):
            joined.append(last)


def _common(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    pairs = zip(first, second, strict=False)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
