"""Documents and servers whose words break databases: what a worker makes of them is clean.

The columns are those of test_text_columns.
"""

import random
from pathlib import Path

import msgspec
import pytest
from fix_hands import open_site, quick
from fix_services import on_database
from fix_web import Web
from msgspec.structs import replace
from test_text_columns import WORST, expect_clean

from engine.config import Settings
from engine.errors import ExtractFailed
from engine.local import Services
from engine.models import Block, Coverage, Document, NewRag, NewSources, State, Warned
from workers.extract.extractor import _decoded

ENTITIES = "&#0;&#1;&#8;&#11;&#27;&#127;&#128;&#155;&#xD800;&#xDFFF;&#xFFFE;&#x10FFFF;&#x110000;"
DOCUMENTS = 3


def odd_words(seed: int) -> str:
    """A few words with the worst characters between and inside of them."""
    drawn = random.Random(seed)
    return " ".join(
        f"word{number}" + "".join(drawn.choices(WORST, k=3)) + "more" for number in range(30)
    )


def encoded(text: str, *, seed: int) -> bytes:
    """With unpaired surrogates, which make another encoding likely, or without."""
    return text.encode("utf-8", "surrogatepass" if seed % 2 else "ignore")


def markdown(seed: int) -> bytes:
    words = odd_words(seed)
    line = words.replace("\n", "").replace("\r", "")[:300]
    return f"# {line}\n\n{words}\n\n## {ENTITIES}{line}\n\n{words}\n".encode(
        "utf-8", "surrogatepass"
    )


def page(seed: int) -> bytes:
    words = odd_words(seed)
    head = f"<html lang='{words[:20]}'><head><title>{ENTITIES}{words}</title></head><body>"
    body = f"<h1>{ENTITIES}{words[:200]}</h1>" + f"<p>{words}{ENTITIES}</p>" * 5
    return encoded(head + body, seed=seed)


def served(web: Web, seed: int) -> list[str]:
    """Pages from servers with much to say about them, in bytes that no server should send."""
    words = odd_words(seed).encode("utf-8", "surrogatepass")
    odd = words.replace(b"\r", b"").replace(b"\n", b"")[:200]
    content = page(seed)
    size = str(len(content)).encode()
    end = b"\r\nContent-Length: " + size + b"\r\n\r\n" + content
    return [
        web.raw("/type", b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=" + odd + end),
        web.raw("/kind", b"HTTP/1.1 200 OK\r\nContent-Type: " + odd + end),
        web.raw("/reason", b"HTTP/1.1 404 " + odd + b"\r\nContent-Length: 0\r\n\r\n"),
        web.raw("/moved", b"HTTP/1.1 302 Found\r\nLocation: /" + odd + b"\r\n\r\n"),
        web.raw(
            "/name",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
            b'Content-Disposition: attachment; filename="' + odd + b'.txt"' + end,
        ),
        web.add("/fine", body=content),
        web.add("/even", body=page(seed + 1)),
    ]


@pytest.mark.anyio
async def test_what_documents_and_servers_say_is_stored_clean(
    settings: Settings, services: Services, web: Web, tmp_path: Path
) -> None:
    ours = replace(quick(settings), allow_networks=(web.host_port,))
    name = settings.database_url.partition("?")[0].rpartition("/")[2]
    async with open_site(ours, folder=tmp_path) as site:
        site.hire()
        uploads = []
        for seed in range(DOCUMENTS):
            for filename, content in (("a.md", markdown(seed)), ("a.html", page(seed))):
                uploads.append(
                    await site.files.receive(
                        site.customer_id,
                        _once(content),
                        filename=f"{odd_words(seed)[:50]}{seed}{filename}",
                        media_type=odd_words(seed)[:60],
                    )
                )
        sources = NewSources(uploads=tuple(uploads), urls=tuple(served(web, DOCUMENTS)))
        rag = await site.rags.create(
            site.customer_id, NewRag(name="odd", sources=sources, chunk_tokens=16)
        )
        rag = await site.until_terminal(rag)
        for source in rag.sources:
            if source.state is State.READY:
                await site.expect_whole(rag, source.id)
        found = expect_clean(on_database(services.admin_url, database=name))
    assert rag.counts.ready > DOCUMENTS
    # They did reach the columns that documents fill.
    for column in ("documents.text", "documents.title", "chunks.text", "chunks.headings"):
        assert any("word0" in text and not text.isascii() for text in found[column]), column
    internal = [s.failure for s in rag.sources if s.failure and "internal" in s.failure.code]
    assert internal == []


async def _once(content: bytes):  # type: ignore[no-untyped-def]
    yield content


SOUND = Document(
    title="A title",
    text="Some text",
    blocks=(Block(kind="paragraph", start=0, end=9, headings=("a heading",)),),
    media_type="text/plain",
    coverage=Coverage(characters=9, warnings=(Warned(code="a_code", message="a message"),)),
)


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x7f"])
@pytest.mark.parametrize(
    "field", ["title", "text", "media_type", "language", "headings", "code", "message"]
)
def test_a_parser_that_was_taken_over_hands_back_nothing_unclean(field: str, bad: str) -> None:
    document = SOUND
    if field == "headings":
        document = replace(SOUND, blocks=(replace(SOUND.blocks[0], headings=("fine", f"a{bad}b")),))
    elif field in ("code", "message"):
        warned = replace(SOUND.coverage.warnings[0], **{field: f"a{bad}b"})
        document = replace(SOUND, coverage=replace(SOUND.coverage, warnings=(warned,)))
    else:
        document = replace(SOUND, **{field: f"a{bad}b"})
    with pytest.raises(ExtractFailed):
        _decoded(msgspec.msgpack.encode(document))
    assert _decoded(msgspec.msgpack.encode(SOUND)) == SOUND
