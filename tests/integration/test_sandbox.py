"""The sandbox with real processes: parsers that misbehave cost their own document, and no more."""

import asyncio
import io
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from fix_archives import docx_of, epub_of, paragraph
from fpdf import FPDF
from pypdf import PdfWriter

from engine.config import MIB, Limits
from engine.errors import (
    DocumentBroken,
    DocumentTooComplex,
    DocumentTooLarge,
    EmptyText,
    ExtractFailed,
    PdfEncrypted,
    PdfImageOnly,
    UnsupportedFormat,
)
from tests.integration import hostile_parsers, slow_parsers
from workers.extract.confine import missing_nets
from workers.extract.extractor import Extractor
from workers.extract.sandbox import Allowance, Sandbox
from workers.extract.sniff import Format
from workers.shapes import Fetched

pytestmark = pytest.mark.anyio

ALLOWANCE = Allowance(memory_bytes=128 * MIB, cpu_s=20, timeout_s=20.0, result_bytes_max=MIB)
needs_all_nets = pytest.mark.skipif(bool(missing_nets()), reason="needs seccomp and Landlock")


@pytest.fixture
def sandbox(monkeypatch):
    monkeypatch.setenv("RAG_ENGINE_DATABASE_URL", "postgresql://secret@host/db")
    sandbox = Sandbox(preload=(hostile_parsers.__name__,), children_max=4)
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "document"
    path.write_bytes(b" in a file")
    return path


def named(function):
    return f"{hostile_parsers.__name__}:{function}"


async def run(sandbox, function, path, *, argument=b"", **allowed):
    allowance = Allowance(
        memory_bytes=allowed.get("memory_bytes", ALLOWANCE.memory_bytes),
        cpu_s=allowed.get("cpu_s", ALLOWANCE.cpu_s),
        timeout_s=allowed.get("timeout_s", ALLOWANCE.timeout_s),
        result_bytes_max=allowed.get("result_bytes_max", ALLOWANCE.result_bytes_max),
    )
    return await sandbox.run(named(function), path, argument=argument, allowance=allowance)


def is_alive(pid):
    """Not a zombie either: those are dead, and only wait to be counted."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


async def until(condition, *, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_function_gets_the_open_file_and_its_argument(sandbox, file):
    assert await run(sandbox, "echo", file, argument=b"words") == b"words in a file"


async def test_every_call_has_a_child_of_its_own(sandbox, file):
    seen = [json.loads(await run(sandbox, "where", file)) for _ in range(3)]
    assert len({one["pid"] for one in seen}) == 3
    assert all(one["session"] == one["pid"] for one in seen)


async def test_a_child_sees_no_environment_and_no_descriptor_of_the_worker(sandbox, file):
    seen = json.loads(await run(sandbox, "where", file))
    assert "secret" not in json.dumps(seen)
    assert not [name for name in seen["environment"] if name.startswith("RAG_ENGINE")]
    assert set(seen["descriptors"]) <= {0, 1, 2, 3, 4}
    assert seen["folder"] == "FileNotFoundError"  # it stands in none


@needs_all_nets
async def test_a_child_reaches_nothing_outside(sandbox, file):
    answer = await run(sandbox, "attempts", file, argument=str(os.getpid()).encode())
    found = json.loads(answer)
    assert {name: error for name, error in found.items() if error.startswith("succeeded")} == {}
    assert len(found) == 18
    assert found["socket"] == found["fork"] == found["write"] == "PermissionError"


@needs_all_nets
async def test_every_child_may_signal_itself_and_nobody_else(sandbox, file):
    """The filter is compiled once for all children, and each puts its own id into it."""
    for _ in range(2):
        assert await run(sandbox, "signals_itself", file) == b"PermissionError"


def test_the_worker_can_do_what_a_child_cannot(tmp_path, monkeypatch):
    """The control of the test above: there the sandbox refuses, not the machine."""
    monkeypatch.chdir(tmp_path)
    tries = hostile_parsers.tries(os.getpid())
    for name in ("socket", "write", "list the root", "read the worker's environment"):
        assert hostile_parsers.attempt(tries[name]).startswith("succeeded"), name


@pytest.mark.parametrize("bomb", ["memory_bomb", "native_memory_bomb"])
async def test_a_memory_bomb_is_too_complex(sandbox, file, bomb):
    with pytest.raises(DocumentTooComplex, match="memory") as caught:
        await run(sandbox, bomb, file)
    assert caught.value.code == "document_too_complex"


@pytest.mark.parametrize("endless", ["endless_loop", "endless_sleep"])
async def test_what_never_ends_is_killed_by_the_wall_limit(sandbox, file, endless):
    await run(sandbox, "echo", file)
    began = time.monotonic()
    with pytest.raises(DocumentTooComplex, match=r"longer than 0\.5 s"):
        await run(sandbox, endless, file, timeout_s=0.5)
    assert time.monotonic() - began < 3
    assert children_of(sandbox.pid) == []


async def test_processor_time_is_limited_by_itself(sandbox, file):
    with pytest.raises(DocumentTooComplex, match="processor time"):
        await run(sandbox, "endless_loop", file, cpu_s=1)


async def test_the_whole_group_is_killed_with_its_leader(file):
    open_sandbox = Sandbox(preload=(hostile_parsers.__name__,), seccomp=False)
    open_sandbox.start()
    try:
        grandchild = int(await run(open_sandbox, "brood", file, timeout_s=5.0))
        await until(lambda: not is_alive(grandchild))
        with pytest.raises(DocumentTooComplex):
            await run(open_sandbox, "brood_and_wait", file, timeout_s=0.5)
        assert children_of(open_sandbox.pid) == []
    finally:
        open_sandbox.close()


async def test_cancelling_a_call_kills_its_child(sandbox, file):
    await run(sandbox, "echo", file)
    task = asyncio.create_task(run(sandbox, "endless_loop", file))
    await until(lambda: children_of(sandbox.pid))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not children_of(sandbox.pid))
    assert await run(sandbox, "echo", file, argument=b"still") == b"still in a file"


@pytest.mark.parametrize("function", ["crash", "segfault", "leave", "lie", "pretend"])
async def test_an_end_that_nobody_can_explain_is_transient(sandbox, file, function):
    with pytest.raises(ExtractFailed) as caught:
        await run(sandbox, function, file)
    assert caught.value.code == "extract_failed"
    assert caught.value.retryable
    assert "bug" not in caught.value.message


async def test_a_permanent_error_comes_out_as_it_went_in(sandbox, file):
    with pytest.raises(PdfImageOnly, match="no text in here"):
        await run(sandbox, "refuse", file)


async def test_endless_recursion_is_too_complex(sandbox, file):
    with pytest.raises(DocumentTooComplex, match="nested"):
        await run(sandbox, "recurse", file)


async def test_results_have_a_limit_of_size(sandbox, file):
    assert len(await run(sandbox, "large_result", file, argument=b"900000")) == 900_000
    with pytest.raises(DocumentTooComplex, match="larger"):
        await run(sandbox, "large_result", file, argument=b"50000000")


async def test_the_next_call_works_after_the_template_was_killed(sandbox, file):
    await run(sandbox, "echo", file)
    running = asyncio.create_task(run(sandbox, "endless_sleep", file))
    await until(lambda: children_of(sandbox.pid))
    (child,) = children_of(sandbox.pid)
    os.kill(sandbox.pid, signal.SIGKILL)
    with pytest.raises(ExtractFailed):
        await running
    await until(lambda: not is_alive(child))
    assert await run(sandbox, "echo", file, argument=b"again") == b"again in a file"


async def test_a_missing_file_is_an_error_of_its_own_source(sandbox, tmp_path):
    with pytest.raises(ExtractFailed):
        await run(sandbox, "echo", tmp_path / "nothing")


async def test_the_event_loop_is_never_held_up(sandbox, file):
    await run(sandbox, "echo", file)
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(run(sandbox, "echo", file) for _ in range(20)))
    watcher.cancel()
    assert longest < 0.25


async def test_parsers_that_are_still_loaded_send_no_document_away(file):
    """Who waits for them does not keep the others waiting."""
    starting = Sandbox(preload=(slow_parsers.__name__,))
    starting.start()
    asked = [
        starting.run(f"{slow_parsers.__name__}:echo", file, argument=b"1", allowance=ALLOWANCE)
        for _ in range(4)
    ]
    try:
        assert await asyncio.gather(*asked) == [b"1 in a file"] * 4
    finally:
        starting.close()


async def test_closing_leaves_no_process(file):
    closed = Sandbox(preload=(hostile_parsers.__name__,))
    closed.start()
    await run(closed, "echo", file)
    template = closed.pid
    closed.close()
    closed.close()
    assert not is_alive(template)


# From here on the production parser.


@pytest.fixture
def extractor():
    extractor = Extractor()
    extractor.start()
    yield extractor
    extractor.close()


def fetched(tmp_path, data, *, filename="a.txt"):
    path = tmp_path / filename
    path.write_bytes(data)
    return Fetched(path=path, byte_count=len(data), sha256=b"", filename=filename)


def pdf_of(*pages, password=""):
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for text in pages:
        pdf.add_page()
        pdf.cell(text=text)
    writer = PdfWriter(clone_from=io.BytesIO(bytes(pdf.output())))
    if password:
        writer.encrypt(password)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "filename", "media_type", "text"),
    [
        (b"# Title\n\nWords.", "a.md", "text/markdown", "# Title\n\nWords."),
        (pdf_of("One.", "Two."), "a.txt", "application/pdf", "One.\n\nTwo."),
        (b"<html><body><h1>T</h1><p>Words.</p>", "a.html", "text/html", "# T\n\nWords."),
        (docx_of(paragraph("Words.")), "a.docx", Format.DOCX, "Words."),
        (epub_of({"a.xhtml": "<p>Words.</p>"}), "a.epub", Format.EPUB, "Words."),
        ("Grüße".encode("utf-16"), "a.txt", "text/plain", "Grüße"),
        ("これは日本語の文章です。".encode("shift_jis") * 9, "a", "text/plain", None),
    ],
)
async def test_documents_come_out_of_the_sandbox(
    extractor, tmp_path, data, filename, media_type, text
):
    document = await extractor.extract(fetched(tmp_path, data, filename=filename), limits=Limits())
    assert document.media_type == media_type
    assert document.text == (text or "これは日本語の文章です。" * 9)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyText),
        (b"\x89PNG\r\n\x1a\n", UnsupportedFormat),
        (pdf_of("Secret.", password="user"), PdfEncrypted),
        (docx_of(paragraph("Words."))[:-30], DocumentBroken),
        (epub_of({"a.xhtml": bytes(64 * MIB)}), DocumentTooLarge),
    ],
)
async def test_errors_come_out_of_the_sandbox(extractor, tmp_path, data, error):
    with pytest.raises(error):
        await extractor.extract(fetched(tmp_path, data), limits=Limits())


async def test_a_tag_with_endless_attributes_costs_its_own_document_only(extractor, tmp_path):
    attributes = " ".join(f"a{number}=1" for number in range(300_000))
    hostile = fetched(tmp_path, f"<html><body {attributes}>x</body>".encode(), filename="a.html")
    good = fetched(tmp_path, b"fine", filename="b.txt")
    bad, fine = await asyncio.gather(
        extractor.extract(hostile, limits=Limits(sandbox_timeout_s=1.0)),
        extractor.extract(good, limits=Limits()),
        return_exceptions=True,
    )
    assert isinstance(bad, DocumentTooComplex)
    assert fine.text == "fine"


async def test_a_dense_word_document_fits_into_a_quarter_of_the_default_memory(extractor, tmp_path):
    cell = f"<w:tc>{paragraph('some words')}</w:tc>"
    row = f"<w:tr>{cell * 6}</w:tr>"
    words = "".join(paragraph(f"Paragraph {number}.") for number in range(50_000))
    data = docx_of(f"<w:tbl>{row * 10_000}</w:tbl>{words}")
    limits = Limits(sandbox_memory_bytes=128 * MIB, archive_ratio_max=1_000)
    document = await extractor.extract(fetched(tmp_path, data), limits=limits)
    assert len(document.blocks) == 50_001


async def test_twenty_documents_at_once_all_come_out(extractor, tmp_path):
    sources = [
        fetched(tmp_path, f"# Number {n}\n\nwords".encode(), filename=f"{n}.md") for n in range(20)
    ]
    documents = await asyncio.gather(*(extractor.extract(s, limits=Limits()) for s in sources))
    assert [document.title for document in documents] == [f"Number {n}" for n in range(20)]


async def test_a_large_text_fits_into_the_default_memory(extractor, tmp_path):
    text = "Ein Satz über Größe und Maß.\n\n" * 300_000
    document = await extractor.extract(fetched(tmp_path, text.encode()), limits=Limits())
    assert len(document.blocks) == 300_000
