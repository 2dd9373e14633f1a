"""A whole engine under all bombs at once: its memory stays bounded, and others get their turn.

One API process and one worker process with its default limits. A hostile customer comes first
and fills the queue; a well-behaved one comes after.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

import corpus_docx
import corpus_epub
import corpus_html
import corpus_pdf_pages
import corpus_zip
import pytest
from behaviours import WORDS
from fix_archives import docx_of, epub_of, paragraph
from fix_engine import Caller, api_child, new_customer, worker_process
from msgspec.structs import replace
from raw_pdf import pdf
from servers_heads import slowly, stalled

WORKER_BYTES_MAX = 1_500_000_000
API_BYTES_MAX = 600_000_000
# What a worker with its model and one parser takes: less, and nothing was weighed.
WORKER_BYTES_MIN = 200_000_000
READY_WITHIN_S = 60.0
HEAD_START_S = 3.0
WATCHED_S = 300.0
IS_LONG_RUN = os.environ.get("HOSTILE") == "all"
BOMBS_OF_A_SHORT_RUN = 4
SLOW_SERVERS = 8
PAGES = 4
# In the order in which they are claimed: those that never end come first.
ENDLESS = ("endless-attributes.html", "too-many-paragraphs.html", "forms-call-forms.pdf")
TABLES = (corpus_html, corpus_pdf_pages, corpus_docx, corpus_zip, corpus_epub)


def bombs():
    """The heavy files of the corpus, which are made to cost memory or time."""
    heavy = {case.name: case for table in TABLES for case in table.CASES if case.heavy}
    first = [heavy.pop(name) for name in ENDLESS]
    more = list(heavy.values())
    return [*first, *(more if IS_LONG_RUN else more[:: len(more) // BOMBS_OF_A_SHORT_RUN])]


GOOD = {
    **{f"good-{n}.md": f"# Good {n}\n\nPlain words of number {n}.".encode() for n in range(3)},
    **{f"good-{n}.txt": f"Plain words of number {n}.".encode() for n in range(3)},
    **{f"good-{n}.pdf": pdf() for n in range(2)},
    **{f"good-{n}.docx": docx_of(paragraph(f"Words of {n}.")) for n in range(2)},
    **{f"good-{n}.epub": epub_of({"a.xhtml": f"<p>Words of {n}.</p>"}) for n in range(2)},
    **{f"good-{n}.html": f"<html><body><p>Words of {n}.</p>".encode() for n in range(2)},
}


def family(pid):
    """The process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def resident_bytes(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class Scale:
    """Weighs process families ten times a second and keeps the most of each."""

    def __init__(self, **pids):
        self.most = dict.fromkeys(pids, 0)
        self._pids = pids
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._weigh)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._thread.join()

    def _weigh(self):
        while not self._closing.wait(0.1):
            for name, pid in self._pids.items():
                weight = sum(map(resident_bytes, family(pid)))
                self.most[name] = max(self.most[name], weight)


@pytest.fixture
def engine(module_settings, web, tmp_path):
    """The settings, the API's process and the worker's."""
    settings = replace(module_settings, allow_networks=(web.host_port,))
    with (
        api_child(settings, log=tmp_path / "api.log") as api,
        worker_process(settings, log=tmp_path / "worker.log") as worker,
    ):
        yield settings, api, worker


def rag_of(caller, files):
    parts = [("files", (name, data, "application/octet-stream")) for name, data in files.items()]
    return caller.ok("POST", "/rags", data={"name": "files"}, files=parts)["id"]


def bombard(caller, web):
    """A RAG of all bombs and of servers that never finish."""
    files = {case.name: case.make() for case in bombs()}
    rag = rag_of(caller, files)
    urls = []
    for number in range(SLOW_SERVERS):
        play = stalled(b"HTTP/1.1 200") if number % 2 else slowly(b"HTTP/1.1 200 " + b"x" * 9_000)
        urls.append(web.script(f"/slow-{number}", _quiet(play)))
    caller.ok("POST", f"/rags/{rag}/sources", json={"source_urls": urls})
    return rag


def _quiet(play):
    def played(connection, closing):
        with contextlib.suppress(OSError):
            play(connection, closing)

    return played


def ready_after_s(caller, rag):
    """How long until every source of the RAG is ready."""
    began = time.monotonic()
    states = []
    while set(states) != {"ready"}:
        sources = caller.ok("GET", f"/rags/{rag}")["sources"]
        states = [source["status"] for source in sources]
        assert "error" not in states, sources
        assert time.monotonic() - began < READY_WITHIN_S, f"still {states}"
        time.sleep(0.2)
    return time.monotonic() - began


def watch(caller, rag):
    """Let the bombs go on for a while, longer in a long run, so that they are weighed too."""
    ends = time.monotonic() + (WATCHED_S if IS_LONG_RUN else 0)
    while time.monotonic() < ends:
        if caller.ok("GET", f"/rags/{rag}")["status"] in {"ready", "error"}:
            return
        time.sleep(1)


@pytest.mark.timeout(400)
def test_the_well_behaved_are_ready_beside_all_bombs_and_memory_stays_bounded(
    engine, web, measured
):
    settings, api, worker = engine
    for number in range(PAGES):
        web.add(f"/good-{number}", body=b"<p>" + WORDS, media_type="text/html")
    hostile = Caller(settings.base_url, token=new_customer(settings, "hostile"), timeout_s=60)
    good = Caller(settings.base_url, token=new_customer(settings, "good"))
    with hostile, good, Scale(worker=worker.pid, api=api.pid) as scale:
        bombs_rag = bombard(hostile, web)
        time.sleep(HEAD_START_S)
        rag = rag_of(good, GOOD)
        pages = [web.url(f"/good-{number}") for number in range(PAGES)]
        good.ok("POST", f"/rags/{rag}/sources", json={"source_urls": pages})
        took_s = ready_after_s(good, rag)
        watch(hostile, bombs_rag)
    most = {name: f"{held / 1e6:.0f} MB" for name, held in scale.most.items()}
    measured.append(f"beside all bombs: well-behaved ready after {took_s:.1f} s; most held {most}")
    assert took_s < READY_WITHIN_S
    assert WORKER_BYTES_MIN < scale.most["worker"] < WORKER_BYTES_MAX
    assert scale.most["api"] < API_BYTES_MAX
