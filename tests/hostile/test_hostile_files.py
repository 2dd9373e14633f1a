"""Every hostile file of the tables beside this, through the real extractor and its sandbox.

Each must end as its table says: a document with that text and those warnings, or that error. A
short run takes a seeded sample; HOSTILE=all takes every file, HOSTILE_SEED another sample.
"""

import asyncio
import os
import random
import re
import tempfile
from pathlib import Path

import corpus_charsets
import corpus_data
import corpus_docx
import corpus_epub
import corpus_html
import corpus_pdf
import corpus_pdf_pages
import corpus_zip
import pytest
from cases import READY

from engine.config import Limits
from engine.errors import PermanentError, SourceError
from engine.text import is_clean
from workers.extract.extractor import Extractor
from workers.shapes import Fetched

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

TABLES = {
    table.__name__.removeprefix("corpus_"): table.CASES
    for table in (
        corpus_pdf,
        corpus_pdf_pages,
        corpus_docx,
        corpus_zip,
        corpus_epub,
        corpus_html,
        corpus_charsets,
        corpus_data,
    )
}
CORPUS = [case for cases in TABLES.values() for case in cases]
FILES_MIN = 250
LIGHT_SHARE, HEAVY_COUNT = 0.25, 1
CHILDREN = 2
SEED = int(os.environ.get("HOSTILE_SEED", "4"))
# What only a programmer may see: paths, modules, exceptions, addresses in memory.
INTERNALS = re.compile(
    r"Traceback|/(?:tmp|work|usr|root|home|proc)|\.py\b|site-packages|0x[0-9a-f]{4}|\w+Error\b"
    r"|\b(?:pypdf|pdfium|lxml|libxml|expat|zipfile|zlib|trafilatura|errno|seccomp|codec)\b",
    re.IGNORECASE,
)


def chosen(cases, *, table):
    """All of them, or a sample that the seed alone decides: one of every kind and then some."""
    if os.environ.get("HOSTILE") == "all":
        return cases
    dice = random.Random(f"{SEED} {table}")
    light = dice.sample(cases, k=len(cases))
    heavy = [case for case in light if case.heavy]
    light = [case for case in light if not case.heavy]
    kinds = {kind_of(case): case for case in light}
    others = [case for case in light if case is not kinds[kind_of(case)]]
    more = max(0, round(len(light) * LIGHT_SHARE) - len(kinds))
    return [*kinds.values(), *others[:more], *heavy[:HEAVY_COUNT]]


def kind_of(case):
    """What it looks like, and how it ends."""
    return case.name.rpartition(".")[2], case.outcome, case.warns


def spooled(case, folder):
    """The file as fetching would leave it."""
    data = case.make()
    path = folder / f"{CORPUS.index(case)}"
    path.write_bytes(data)
    return Fetched(
        path=path,
        byte_count=len(data),
        sha256=bytes(32),
        filename=case.name,
        media_type=case.media_type,
        charset=case.charset,
    )


def document_faults(case, document):
    """Why this document is not the one that the table wants."""
    warned = document.coverage.warnings
    if case.outcome != READY:
        yield f"ready with {document.text[:80]!r}"
    if missing := [words for words in case.says if words not in document.text]:
        yield f"lost {missing!r}"
    if shown := [words for words in case.hides if words in document.text]:
        yield f"shows {shown!r}"
    if sorted(each.code for each in warned) != sorted(case.warns):
        yield f"warns of {[each.code for each in warned]}"
    if bad := [each.message for each in warned if said_badly(each.message)]:
        yield f"says {bad}"
    yield from shape_faults(document)


def shape_faults(document):
    """What no document may be, whatever it was made from."""
    path = [title for block in document.blocks for title in block.headings]
    if not all(map(is_clean, (document.text, document.title, document.language or "", *path))):
        yield "has characters that no database takes"
    if not document.title or len(document.title) > Limits().name_characters_max:
        yield f"has a title of {len(document.title)} characters"
    at = 0
    for block in document.blocks:
        if not at <= block.start < block.end <= len(document.text):
            yield f"has a block from {block.start} to {block.end} behind {at}"
            break
        at = block.end


def error_faults(case, error):
    """Why this error is not the one that the table wants."""
    if error.code != case.outcome:
        yield f"{error.code}: {error.message}"
    if said_badly(error.message) or not error.remedy:
        yield f"says {error.message!r}, {error.remedy!r}"
    if not isinstance(error, PermanentError):
        yield "would be tried again"


def said_badly(message):
    return not message.endswith(".") or INTERNALS.search(message) is not None


async def faults_of(case, *, extractor, folder):
    fetched = await asyncio.to_thread(spooled, case, folder)
    try:
        document = await extractor.extract(fetched, limits=Limits(**case.limits))
    except SourceError as error:
        return list(error_faults(case, error))
    finally:
        fetched.path.unlink()
    return list(document_faults(case, document))


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def extractor(tmp_path_factory):
    """One for all tables, because loading the parsers takes longer than most files."""
    spool = tmp_path_factory.mktemp("sandbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(spool))
        extractor = Extractor(children_max=CHILDREN)
        extractor.start()
        yield extractor
        left = [path.name for path in spool.rglob("*") if path.is_file()]
        extractor.close()
    assert left == []
    assert list(spool.iterdir()) == []


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("table", TABLES)
async def test_a_hostile_file_ends_as_its_table_says(table, extractor, tmp_path, caplog, measured):
    # As many as there are parsers: with somebody waiting, a long one would have to yield.
    at_once = asyncio.Semaphore(CHILDREN)
    found = {}

    async def tried(case):
        async with at_once:
            if faults := await faults_of(case, extractor=extractor, folder=folder):
                found[case.name] = faults

    folder = tmp_path / "fetched"
    folder.mkdir()
    cases = chosen(TABLES[table], table=table)
    await asyncio.gather(*map(tried, cases))
    measured.append(f"hostile files, {table}: {len(cases) - len(found)} of {len(cases)} as said")
    assert found == {}
    assert list(folder.iterdir()) == []
    # What a parser did not foresee is logged, and would be tried again for nothing.
    assert [record.message for record in caplog.records] == []
    assert children_of(extractor._sandbox.pid) == []


def test_a_short_run_has_one_of_every_kind():
    for table, cases in TABLES.items():
        short = chosen(cases, table=table)
        assert {kind_of(case) for case in short} >= {kind_of(c) for c in cases if not c.heavy}
        assert any(case.heavy for case in short) == any(case.heavy for case in cases)


def test_the_corpus_has_its_size_and_its_names_are_unique():
    names = [case.name for case in CORPUS]
    assert len(names) >= FILES_MIN
    assert len(set(names)) == len(names)


def test_the_corpus_covers_every_format_and_every_error_of_extraction():
    kinds = {case.name.rpartition(".")[2] for case in CORPUS}
    formats = "pdf docx epub html md txt csv tsv json xml yaml py js zip"
    assert kinds.issuperset(formats.split())
    outcomes = {case.outcome for case in CORPUS}
    assert outcomes == {
        READY,
        "unsupported_format",
        "empty_text",
        "pdf_encrypted",
        "pdf_image_only",
        "document_broken",
        "document_too_large",
        "document_too_complex",
    }


def test_a_file_is_made_the_same_way_every_time():
    dice = random.Random(SEED)
    for case in dice.sample([case for case in CORPUS if not case.heavy], k=40):
        # A lock is salted at random, so that one file alone differs.
        assert case.name.startswith("locked") or case.make() == case.make(), case.name
