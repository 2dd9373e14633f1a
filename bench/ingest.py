"""From POST to `ready`, end to end: API, workers, Postgres and Redis as an operator would run them.

Rates are passages a second over everything that happens: upload excluded, fetching from storage,
parsing, chunking, embedding, storing and the switch included. The limit is that of bench.embed,
over the very same passages.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.against import peers
from bench.corpora import Corpus, corpus, pages_apart, written
from bench.embed import PROCESSES, bare_loop, embedded_strings, rate
from bench.pages import pages_ratio
from bench.report import Table, show
from bench.rig import MODELS, Rig, rig
from bench.slow_server import models_file, slow_server
from engine.embedding.specs import MINILM
from engine.embedding.tokens import open_tokenizer

HTML_FILES, TEXT_FILES, PDF_PAGES = 120, 60, 600
PDF_FILE_PAGES = 50  # one document is one worker's: a single manual would leave the other idle
SMALL = 40
PARAGRAPH = "Paragraph {number} tells of the {number}th lamp in the hall, and how it was mended. "
HTTP_LATENCY_S = 0.25
COST_PAGES = 300
COST_AMONG = (1_000, 100_000)
COST_NUMBERS = 10**7  # all pages' numbers have as many digits, so that they are as long
ROUNDS = 3
COST_ROUNDS = 5
Figures = dict[str, float | str]


def run() -> None:
    """All parts, in one line of JSON."""
    figures: dict[str, object] = {}
    tables = []
    for name, part in PARTS.items():
        found = part()
        lines = [(key, str(value)) for key, value in found.items()]
        tables.append(Table(title=f"ingest: {name}", head=("figure", "value"), rows=lines))
        print(tables[-1].text(), flush=True)
        figures |= found
    show(*tables, bench="ingest", **figures)


def limits() -> Figures:
    """Each kind of document against the limit, end to end."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as folder:
        manual = pages_apart(
            corpus("pdf"), pages=range(PDF_PAGES), per_file=PDF_FILE_PAGES, folder=Path(folder)
        )
        kinds = (corpus("text", files_max=TEXT_FILES), corpus("html", files_max=HTML_FILES), manual)
        figures: Figures = {}
        for given in kinds:
            figures |= against_limit(given)
    return figures


def against_limit(given: Corpus) -> Figures:
    """Passages a second of the engine, of the limit, and the ratio; medians over ROUNDS."""
    tokenizer = open_tokenizer(MINILM, MODELS)
    passages = [
        text for path in given.paths for text in embedded_strings(path, tokenizer=tokenizer)
    ]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        with rig(workers=PROCESSES) as engine:
            rag_id, seconds = engine.ingest(engine.upload(given.paths))
            ours.append(engine.passages(rag_id) / seconds)
            spent = engine.stage_seconds()
        theirs.append(rate(bare_loop, passages, processes=PROCESSES))
    ratio = statistics.median(found / limit for found, limit in zip(ours, theirs, strict=True))
    return {
        f"{given.name}_passages_per_s": round(statistics.median(ours), 1),
        f"{given.name}_limit_per_s": round(statistics.median(theirs), 1),
        f"{given.name}_ratio_to_limit": round(ratio, 3),
        **{f"{given.name}_{stage}_s": seconds for stage, seconds in spent.items()},
    }


def scaling() -> Figures:
    """Two workers on two cores against one that is pinned to one."""
    rates = []
    for workers, cpus in ((1, [0]), (2, [0, 1])):
        with rig(workers=workers, cpus=cpus) as engine:
            given = corpus("html", files_max=HTML_FILES)
            rag_id, seconds = engine.ingest(engine.upload(given.paths))
            rates.append(engine.passages(rag_id) / seconds)
    return {"scaling_2_workers": round(rates[1] / rates[0], 2)}


def scaling_http() -> Figures:
    """Four workers against one, with a model behind a server that takes its time."""
    rates = []
    with tempfile.TemporaryDirectory() as folder, slow_server(latency_s=HTTP_LATENCY_S) as url:
        path, name = models_file(Path(folder), url=url)
        for workers in (1, 4):
            with rig(workers=workers, model=name, models_file=path) as engine:
                given = corpus("html", files_max=HTML_FILES)
                rag_id, seconds = engine.ingest(engine.upload(given.paths), embedding_model=name)
                rates.append(engine.passages(rag_id) / seconds)
    return {"scaling_http_4_workers": round(rates[1] / rates[0], 2)}


def small() -> Figures:
    """POST of a one-page text to ready, on an engine that has nothing else to do."""
    times_ms = []
    with rig(workers=1) as engine:
        for number in range(SMALL):
            text = page_text(number)
            started = time.perf_counter()
            files = {"files": (f"{number}.txt", text.encode())}
            rag = engine.post("/rags", data={"name": "small"}, files=files)
            engine.until_terminal(str(rag["id"]), poll_s=0.002)
            times_ms.append((time.perf_counter() - started) * 1000)
    times_ms.sort()
    return {
        "small_ready_ms_median": round(statistics.median(times_ms), 1),
        "small_ready_ms_p95": round(times_ms[int(0.95 * len(times_ms))], 1),
    }


def reuse() -> Figures:
    """What the same bytes cost again, and what one changed paragraph of a long text costs."""
    text = "\n\n".join(page_text(number) for number in range(500))
    changed = text.replace("the 25000th lamp", "the newest lamp", 1)
    with tempfile.TemporaryDirectory() as folder, rig(workers=1) as engine:
        path = Path(folder) / "long.txt"
        counts = []
        for version in (text, text, changed):
            path.write_text(version)
            before = engine.inferences()
            rag_id, _ = engine.ingest(engine.upload([path]))
            counts.append(engine.inferences() - before)
        passages = engine.passages(rag_id)
    assert counts[0] == passages, (counts, passages)
    return {
        "reingest_inferences": counts[1],
        "edit_reembedded_share": round(counts[2] / passages, 4),
    }


def cost_curve() -> Figures:
    """Time per passage among 100,000 passages against that among 1,000; median over COST_ROUNDS.

    Two engines take turns, with pages of the same length each time: the machine's speed moves by
    more than what is looked for.
    """
    with tempfile.TemporaryDirectory() as given, ExitStack() as stack:
        folder = Path(given)
        engines = [stack.enter_context(_filled(passages, folder)) for passages in COST_AMONG]
        turns = [
            [_cost(engine, folder, pages=COST_PAGES, first=turn * COST_PAGES) for engine in engines]
            for turn in range(COST_ROUNDS)
        ]
    return {"cost_curve": round(statistics.median(many / few for few, many in turns), 3)}


@contextmanager
def _filled(passages: int, folder: Path) -> Iterator[Rig]:
    with rig(workers=PROCESSES) as engine:
        (one,) = written(folder, texts=[page_text(COST_NUMBERS - 1)])
        rag_id, _ = engine.ingest(engine.upload([one]))
        engine.fill(rag_id, passages=passages)
        yield engine


def _cost(engine: Rig, folder: Path, *, pages: int, first: int) -> float:
    texts = [page_text(COST_NUMBERS + number) for number in range(first, first + pages)]
    rag_id, seconds = engine.ingest(engine.upload(written(folder, texts=texts)))
    return seconds / engine.passages(rag_id)


def page_text(number: int) -> str:
    """About a page that no other page equals."""
    return " ".join(PARAGRAPH.format(number=number * 100 + line) for line in range(30))


PARTS: Mapping[str, Callable[[], Figures]] = {
    "limits": limits,
    "scaling": scaling,
    "scaling_http": scaling_http,
    "small": small,
    "reuse": reuse,
    "cost_curve": cost_curve,
    "pages": lambda: dict(pages_ratio()),
    "peers": peers,
}
