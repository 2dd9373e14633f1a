"""Documents and a tokenizer for tests of the chunker: a word, a mark or an ideograph is a token."""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.models import Block, Coverage, Document, Passage
from workers.chunk import chunk


class WordSpans:
    """A real tokenizer without a vocabulary. Keeps the size of the largest batch it was given."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        self.tokenizer.normalizer = normalizers.BertNormalizer()
        self.tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self.pieces = None
        self.characters_max = 0
        self.characters = 0

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        characters = sum(map(len, texts))
        self.characters += characters
        self.characters_max = max(self.characters_max, characters)
        found = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.offsets for encoding in found]


def document_of(*parts: tuple[str, str], title: str = "", pages: Sequence[int] = ()) -> Document:
    """Blocks (kind, text) with blank lines between. Kinds h1, h2, h3 are headings that nest."""
    text = ""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    for index, (kind, body) in enumerate(parts):
        start = len(text) + 2 if text else 0
        text = f"{text}\n\n{body}" if text else body
        level = int(kind[1]) if kind in ("h1", "h2", "h3") else 0
        if level:
            path = [(above, word) for above, word in path if above < level]
        headings = tuple(word for _, word in path)
        if level:
            path.append((level, body))
        page = pages[index] if pages else None
        block = Block(
            kind="heading" if level else kind,
            start=start,
            end=len(text),
            headings=headings,
            page=page,
            header_end=start + len(body.split("\n")[0]) if kind == "table" else None,
        )
        blocks.append(block)
    return plain(text, blocks=blocks, title=title)


def plain(text: str, *, blocks: Sequence[Block] | None = None, title: str = "") -> Document:
    whole = [Block(kind="paragraph", start=0, end=len(text))]
    return Document(
        title=title,
        text=text,
        blocks=tuple(whole if blocks is None else blocks),
        media_type="text/plain",
        coverage=Coverage(characters=len(text)),
    )


def passages_of(
    document: Document,
    *,
    chunk_tokens: int = 20,
    overlap_tokens: int = 0,
    tokens_max: int = 256,
    chunks_max: int = 100_000,
    spans: WordSpans | None = None,
) -> list[Passage]:
    return chunk(
        document,
        spans=spans or WordSpans(),
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap_tokens,
        tokens_max=tokens_max,
        special_tokens=2,
        chunks_max=chunks_max,
    )


def texts_of(document: Document, **caps: int) -> list[str]:
    return [passage.text for passage in passages_of(document, **caps)]


def words(count: int, *, name: str = "w") -> str:
    return " ".join(f"{name}{index}" for index in range(count))
