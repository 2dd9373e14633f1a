"""Where a text may be cut: boundaries by rank, token offsets, and the walk that cuts a range.

What lives here: everything about positions. What does not: sections, headings and titles, what the
model reads and whether it fits (workers/chunk.py). Positions are code points of the document.
"""

# ruff: noqa: RUF001 - the sentence marks of many scripts look like each other, and are all meant

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from enum import IntEnum

import msgspec

from engine.models import Block


class Rank(IntEnum):
    """How good a place to cut is, best first. The last two only serve runs of headings."""

    PAGE = 0
    BLOCK = 1
    ITEM = 2
    SENTENCE = 3
    LINE = 4
    WORD = 5
    HEADING = 6
    HEADING_WORD = 7


# Each rank is taken at its last boundary, if that leaves the chunk at least so full; else the next
# rank is tried. Below half, a chunk that ends well is worth less than one that says more.
LADDER: tuple[tuple[Rank, float], ...] = (
    (Rank.PAGE, 0.5),
    (Rank.BLOCK, 0.5),
    (Rank.ITEM, 0.5),
    (Rank.SENTENCE, 0.3),
    (Rank.LINE, 0.3),
    (Rank.WORD, 0.5),
    (Rank.HEADING, 0.1),
    (Rank.HEADING_WORD, 0.5),
)
# The last piece of a range has at least this share of a full chunk: the cut before it moves up.
CRUMB_SHARE = 0.25
GRAPHEME_CODE_POINTS_MAX = 16

_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_NONBLANK = re.compile(r"\S")
# Every pattern looks at a position once: lookbehinds of fixed width and possessive runs, so that
# no text can make it slow. A match ends where the next piece would begin.
_SENTENCE = re.compile(
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’»)\]])|(?<=[.!?…][\"'”’»)\]]{2}))\s++(?![a-zß-öø-ÿ])"
    r"|(?:(?<=[。！？｡।॥؟۔။។።։།༎])(?![。！？｡।॥؟۔။។።։།༎])|(?<=．)(?![．0-9０-９]))"
    r"[」』”’）】》〉\"')\]]{0,3}\s*+"
)
_BLANK_LINE = r"\n[^\S\n]*+\n\s*+"
_LINE = re.compile(r"\n\s*+")
_ITEM = r"\n(?=[^\S\n]{0,40}(?:[-*+•‣◦▪–]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s)"
_CELL = re.compile(r"[|\t][^\S\n]*+")
_WORD = re.compile(r"\s++|(?<=[、，；：،་])")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[\"'.])(?:[A-Za-z]|[DMS]r|Mrs|Ms|Prof|St|vs|cf|etc|Inc|Ltd|Co|No|Nr|Fig|Eq|Sec|Abs"
    r"|Art|approx|ca|bzw|al|pp|ed|Vol)\.$|(?:^|\n)[^\S\n]*\d{1,3}\.$"
)

_PROSE = {
    Rank.ITEM: re.compile(f"{_BLANK_LINE}|{_ITEM}"),
    Rank.SENTENCE: _SENTENCE,
    Rank.LINE: _LINE,
    Rank.WORD: _WORD,
}
_PATTERNS: dict[str, dict[Rank, re.Pattern[str]]] = {
    "list": {**_PROSE, Rank.ITEM: re.compile(_ITEM)},
    "table": {Rank.ITEM: _LINE, Rank.SENTENCE: _CELL, Rank.WORD: _WORD},
    "records": {Rank.SENTENCE: _CELL, Rank.LINE: _LINE, Rank.WORD: _WORD},
    "code": {Rank.ITEM: re.compile(_BLANK_LINE), Rank.LINE: re.compile(r"\n"), Rank.WORD: _WORD},
    "heading": {Rank.HEADING_WORD: _WORD},
}


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tokens of a text start, ascending. Counting and measuring are bisections."""

    starts: "array[int]"
    end: int

    def count(self, start: int, end: int) -> int:
        """How many tokens start in [start, end)."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def reach(self, start: int, tokens: int) -> int:
        """The first position that `tokens` tokens from `start` on leave out."""
        return self._at(bisect_left(self.starts, start) + tokens)

    def back(self, end: int, tokens: int) -> int:
        """The first position from which at most `tokens` tokens start before `end`."""
        index = max(0, bisect_left(self.starts, end) - tokens)
        if 0 < index < len(self.starts) and self.starts[index - 1] == self.starts[index]:
            index = bisect_right(self.starts, self.starts[index])
        return self._at(index)

    def _at(self, index: int) -> int:
        return self.starts[index] if index < len(self.starts) else self.end


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What one piece may hold. `overlap` is how many tokens of it may repeat the one before."""

    tokens: int
    characters: int
    overlap: int = 0


class Layout:
    """A text with its blocks, in order and without gaps that hold text: see `covering`.

    `records`: where the rows of its tables begin, if these are not its lines.
    """

    def __init__(
        self, text: str, *, blocks: list[Block], records: "array[int] | None" = None
    ) -> None:
        self.text = text
        self.blocks = blocks
        self.records = records
        self.starts = array("I", (block.start for block in blocks))
        self.paged = any(block.page is not None for block in blocks)

    def block_at(self, position: int) -> Block:
        """The block that holds `position`, or the last one before it."""
        return self.blocks[max(0, bisect_right(self.starts, position) - 1)]

    def skip_blank(self, position: int) -> int:
        """The first position from here on that is not blank, or the end of the text."""
        found = _NONBLANK.search(self.text, position)
        return found.start() if found else len(self.text)

    def last(self, rank: Rank, *, after: int, upto: int) -> int | None:
        """The last boundary of this rank in (after, upto]."""
        index = bisect_right(self.starts, upto) - 1
        while index >= 0 and self.blocks[index].end > after:
            if found := self._inside(index, rank=rank, after=after, upto=upto):
                return found[-1]
            index -= 1
        return None

    def first(self, rank: Rank, *, after: int, upto: int) -> int | None:
        """The first boundary of this rank in (after, upto]."""
        index = max(0, bisect_right(self.starts, after) - 1)
        while index < len(self.blocks) and self.blocks[index].start <= upto:
            if found := self._inside(index, rank=rank, after=after, upto=upto):
                return found[0]
            index += 1
        return None

    def before_headings(self, cut: int) -> int:
        """`cut`, or the start of the headings that would otherwise stand last before it."""
        index = bisect_left(self.starts, cut) - 1
        if index + 1 >= len(self.blocks) or cut < self.blocks[index].end:
            return cut
        while index >= 0 and self.blocks[index].kind == "heading":
            cut = self.blocks[index].start
            index -= 1
        return cut

    def kept_whole(self, position: int, *, within: int) -> tuple[int, int]:
        """The block of code, or the row of a table, that holds what stands before `position`.

        Nothing where neither does; of a longer one than `within`, some of it that is longer, too.
        """
        block = self.block_at(position - 1)
        if block.kind == "code":
            return block.start, block.end
        if block.kind != "table":
            return position, position
        if self.records is not None:
            index = bisect_left(self.records, position)
            behind = self.records[index] - 1 if index < len(self.records) else block.end
            return self.records[index - 1], behind
        low, high = max(block.start, position - 1 - within), min(block.end, position + within)
        start, end = (
            self.text.rfind("\n", low, position - 1),
            self.text.find("\n", position - 1, high),
        )
        return (low if start < 0 else start + 1), (high if end < 0 else end)

    def _inside(self, index: int, *, rank: Rank, after: int, upto: int) -> list[int]:
        block = self.blocks[index]
        if rank in (Rank.PAGE, Rank.BLOCK, Rank.HEADING):
            opens = after < block.start <= upto and self._opens(index, rank=rank)
            return [block.start] if opens else []
        low, high = max(after, block.start), min(upto, block.end)
        kind = block.kind
        if kind == "table" and self.records is not None:
            if rank is Rank.ITEM:
                return self._records_in(low, high)
            kind = "records"
        pattern = _PATTERNS.get(kind, _PROSE).get(rank)
        if pattern is None:
            return []
        matches = pattern.finditer(self.text, max(low - 1, block.start), high + 1)
        found = [match for match in matches if low < match.end() <= high]
        if rank is Rank.SENTENCE and block.kind != "table":
            found = [match for match in found if not self._abbreviated(match.start())]
        return [match.end() for match in found]

    def _records_in(self, after: int, upto: int) -> list[int]:
        records = self.records or array("I")
        return [*records[bisect_right(records, after) : bisect_right(records, upto)]]

    def _opens(self, index: int, *, rank: Rank) -> bool:
        if index == 0:
            return False
        block, before = self.blocks[index], self.blocks[index - 1]
        if rank is Rank.HEADING:
            return block.kind == before.kind == "heading"
        if before.kind == "heading":
            return False
        return rank is Rank.BLOCK or block.page != before.page

    def _abbreviated(self, position: int) -> bool:
        before = self.text[max(0, position - 10) : position]
        return before.endswith(".") and _ABBREVIATED.search(before) is not None


def covering(text: str, *, blocks: tuple[Block, ...]) -> list[Block]:
    """The blocks, disjoint and in order, and a paragraph for each text that none of them holds."""
    found: list[Block] = []
    end = 0
    for block in (*blocks, Block(kind="end", start=len(text), end=len(text))):
        if block.start > end and not text[end : block.start].isspace():
            found.append(_filler(text, after=found[-1:], start=end, end=block.start))
        start = max(block.start, end)
        if start < block.end:
            clipped = start != block.start
            found.append(msgspec.structs.replace(block, start=start) if clipped else block)
        end = max(end, block.end)
    return found


def _filler(text: str, *, after: list[Block], start: int, end: int) -> Block:
    headings: tuple[str, ...] = ()
    for block in after:
        own = text[block.start : block.end].strip("# \n")
        headings = (*block.headings, own) if block.kind == "heading" else block.headings
    page = after[0].page if after else None
    return Block(kind="paragraph", start=start, end=end, headings=headings, page=page)


def cut_up(
    layout: Layout, *, tape: Tape, start: int, end: int, room_at: Callable[[int], Room]
) -> Iterator[tuple[int, int]]:
    """Cut [start, end) into pieces (start, end), without blanks at their ends, in order.

    A piece holds no more tokens and characters than `room_at(its start)` allows (table headers take
    from it). It starts up to `overlap` tokens before the end of the one before it.
    """
    walk = _Walk(layout, tape=tape, end=end)
    fresh = start = layout.skip_blank(start)
    while fresh < end:
        room = room_at(start)
        cut = walk.cut(start, fresh=fresh, room=room)
        yield start, start + len(layout.text[start:cut].rstrip())
        fresh = layout.skip_blank(cut)
        start = walk.restart(start, cut=cut, fresh=fresh, room=room)


class _Walk:
    def __init__(self, layout: Layout, *, tape: Tape, end: int) -> None:
        self.layout = layout
        self.tape = tape
        self.end = end

    def cut(self, start: int, *, fresh: int, room: Room) -> int:
        """Where the piece from `start` ends: behind `fresh`, at the best boundary in reach."""
        reach = min(self.tape.reach(start, room.tokens), start + room.characters, self.end)
        limit = max(self._crumbless(start, reach=reach, room=room), fresh + 1)
        half = self._share(start, limit=limit, tokens=room.tokens, share=0.5)
        if reach >= self.end:
            return self._page(after=max(fresh, half), upto=limit) or self.end
        cut = self._climbed(start, fresh=fresh, limit=limit, room=room)
        return self._beside_whole(cut, fresh=fresh, reach=reach, room=room)

    def _climbed(self, start: int, *, fresh: int, limit: int, room: Room) -> int:
        for rank, share in LADDER:
            if rank is Rank.PAGE and not self.layout.paged:
                continue
            least = self._share(start, limit=limit, tokens=room.tokens, share=share)
            found = self.layout.last(rank, after=max(fresh, least - 1), upto=limit)
            if found is not None:
                return found
        return self._forced(limit, fresh=fresh)

    def restart(self, start: int, *, cut: int, fresh: int, room: Room) -> int:
        """Where the next piece starts: `fresh`, or before `cut` by up to the overlap."""
        overlap = min(room.overlap, room.tokens // 2)
        torn = fresh == cut and self.tape.count(cut, cut + 1) == 0
        if not overlap or fresh >= self.end or torn:
            return fresh
        least = max(self.tape.back(cut, overlap), start + 1, fresh - room.characters // 2)
        for rank in (Rank.BLOCK, Rank.ITEM, Rank.SENTENCE, Rank.LINE, Rank.WORD):
            found = self.layout.first(rank, after=least - 1, upto=cut - 1)
            if found is not None:
                begin = self.layout.skip_blank(found)
                whole = self._leaves_whole(begin, fresh=fresh, room=room)
                return begin if whole and not self._tears_row(begin, room=room) else fresh
        return fresh

    def _beside_whole(self, cut: int, *, fresh: int, reach: int, room: Room) -> int:
        # What must not be torn, if it fits by itself, is left to the next piece, however little
        # this one keeps. If the piece begins with it, a crumb behind it is no reason to tear it.
        start, end = self.layout.kept_whole(cut, within=room.characters)
        if cut >= end or not self._fits(start, end, room=room):
            return cut
        before = self.layout.before_headings(start)
        if before > fresh:
            return before
        return end if end <= reach else cut

    def _leaves_whole(self, begin: int, *, fresh: int, room: Room) -> bool:
        # An overlap is dropped where it would tear what the piece is to begin with.
        start, end = self.layout.kept_whole(fresh + 1, within=room.characters)
        return not self._fits(start, end, room=room) or self._fits(begin, end, room=room)

    def _tears_row(self, begin: int, *, room: Room) -> bool:
        # The header above the end of a row would name columns that its cells do not stand in.
        if self.layout.block_at(begin).kind != "table":
            return False
        start, end = self.layout.kept_whole(begin + 1, within=room.characters)
        return start < begin and self._fits(start, end, room=room)

    def _fits(self, start: int, end: int, *, room: Room) -> bool:
        return self.tape.count(start, end) <= room.tokens and end - start <= room.characters

    def _page(self, *, after: int, upto: int) -> int | None:
        if not self.layout.paged:
            return None
        return self.layout.last(Rank.PAGE, after=after, upto=upto)

    def _forced(self, limit: int, *, fresh: int) -> int:
        # Nothing but a token boundary, or a place inside an unreadable token.
        cut = whole_grapheme(self.layout.text, cut=limit, after=fresh)
        pulled = self.layout.before_headings(cut)
        return pulled if pulled > fresh else cut

    def _share(self, start: int, *, limit: int, tokens: int, share: float) -> int:
        # By tokens; by characters where a few unreadable tokens fill the piece.
        by_tokens = self.tape.reach(start, int(tokens * share))
        return min(by_tokens, start + int((limit - start) * share))

    def _crumbless(self, start: int, *, reach: int, room: Room) -> int:
        crumb = int(room.tokens * CRUMB_SHARE)
        if reach < self.end and self.tape.count(reach, self.end) >= crumb:
            return reach
        middle = start + (self.end - start) // 2
        return min(reach, max(self.tape.back(self.end, crumb), middle))


def whole_grapheme(text: str, *, cut: int, after: int) -> int:
    """`cut`, moved before the character cluster that it would tear, if that stays over `after`."""
    position = cut
    for _ in range(GRAPHEME_CODE_POINTS_MAX):
        if not _joined(text, position, after=after):
            return position
        position -= 1
        if position <= after:
            break
    return cut


def _joined(text: str, position: int, *, after: int) -> bool:
    if not 0 < position < len(text):
        return False
    before, here = text[position - 1], text[position]
    if here.isascii():
        return before == "\r" and here == "\n"
    if here in _FLAG_LETTERS and before in _FLAG_LETTERS:
        # Two of these letters make a flag; an odd one before the cut waits for its second.
        lead = text[after:position]
        return (len(lead) - len(lead.rstrip(_FLAG_LETTERS))) % 2 == 1
    return (
        unicodedata.category(here)[0] == "M"
        or "\u200d" in (before, here)
        or "\U0001f3fb" <= here <= "\U0001f3ff"
        or "\u1160" <= here <= "\u11ff"
    )
