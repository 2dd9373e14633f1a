"""The largest memory of a worker with its children, and of the API, on documents that are large."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.corpora import corpus
from bench.report import Table, show
from bench.rig import Rig, rig

PDF_PAGES = 5_000
TEXT_BYTES = 20_000_000
SAMPLE_S = 0.1
MIB = 1024 * 1024


def run() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as folder, rig() as engine:
        documents = [_long_pdf(Path(folder)), _long_text(Path(folder))]
        with peaks(engine) as found:
            for path in documents:
                engine.ingest(engine.upload([path]))
    figures = {f"{name}_rss_mib": round(held / MIB) for name, held in found.items()}
    rows = [(name, str(value)) for name, value in figures.items()]
    show(Table(title="memory: peaks", head=("figure", "MiB"), rows=rows), bench="memory", **figures)


@contextmanager
def peaks(engine: Rig) -> Iterator[dict[str, int]]:
    """Bytes at their peak: `worker` with its children, shared pages counted once, and `api`."""
    found, over = {"worker": 0, "api": 0}, threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            found["worker"] = max(found["worker"], _held(engine.workers[0]))
            assert engine.api
            found["api"] = max(found["api"], _held(engine.api))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _held(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def _long_pdf(folder: Path) -> Path:
    """The manual's pages over and over, up to PDF_PAGES."""
    import pypdfium2

    source = pypdfium2.PdfDocument(corpus("pdf").paths[0])
    target = pypdfium2.PdfDocument.new()
    while len(target) < PDF_PAGES:
        target.import_pages(source, pages=list(range(min(len(source), PDF_PAGES - len(target)))))
    path = folder / "long.pdf"
    target.save(path)
    return path


def _long_text(folder: Path) -> Path:
    texts = "\n\n".join(path.read_text("utf-8", "replace") for path in corpus("text").paths)
    path = folder / "long.txt"
    # The same words again, but no passage twice: each round begins at another place.
    rounds = [texts[start:] for start in range(0, 700, 100)]
    path.write_text("".join(rounds)[:TEXT_BYTES])
    return path
