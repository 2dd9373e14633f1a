"""Passages a second: the engine's workers, fastembed as it comes, and the limit of the machine.

The limit is a bare loop over ONNX Runtime with the same int8 graph: tokenised beforehand, sorted by
length, in batches of the same area, in as many processes as the machine has cores. All three read
the same passages in turn, several times in one run; the figures are medians.
"""

import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from bench.corpora import corpus
from bench.report import Table, show
from bench.rig import MODELS
from engine.config import Limits, Settings
from engine.embedding.batches import batches
from engine.embedding.graph import encoder
from engine.embedding.install import pull, verified_folder
from engine.embedding.opened import open_embedder
from engine.embedding.specs import MINILM
from engine.embedding.tokens import TokenSpans, open_tokenizer
from engine.embedding.weights import WEIGHTS_FILE, obtain, read_tensors
from workers.chunk import chunk
from workers.extract.parse import document_of
from workers.shapes import Fetched

PASSAGES = 800
ROUNDS = 3
PROCESSES = os.cpu_count() or 1
SETTINGS = Settings()
BATCH_TOKENS = SETTINGS.embed_batch_tokens
SPAWN = multiprocessing.get_context("spawn")
# Loads what it needs and returns what is timed.
Loaded = Callable[[Sequence[str]], Callable[[], None]]


def run() -> None:
    pull(MINILM, models_path=MODELS)
    passages = html_passages(PASSAGES)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as folder:
        fp32 = fp32_folder(Path(folder))
        ways: dict[str, tuple[Loaded, int]] = {
            "engine": (engine_worker, PROCESSES),
            "engine_one_process": (partial(engine_worker, threads=PROCESSES), 1),
            "fastembed": (partial(fastembed_default, folder=fp32), 1),
            "limit": (bare_loop, PROCESSES),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (load, processes) in ways.items():
                rates[name].append(rate(load, passages, processes=processes))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    rows = [(name, f"{medians[name]:.1f}") for name in ways]
    show(
        Table(title=f"embed: {len(passages)} passages", head=("way", "passages/s"), rows=rows),
        bench="embed",
        ratio_to_fastembed=round(medians["engine"] / medians["fastembed"], 2),
        ratio_to_limit=round(medians["engine"] / medians["limit"], 3),
        **{f"{name}_passages_per_s": round(found, 1) for name, found in medians.items()},
    )


def rate(load: Loaded, passages: Sequence[str], *, processes: int) -> float:
    """Passages a second of `processes` that begin together, from the first start to the last end.

    Loading and the first call of a model are over before the clock starts.
    """
    barrier, spans = SPAWN.Barrier(processes), SPAWN.SimpleQueue()
    shares = [passages[number::processes] for number in range(processes)]
    children = [
        SPAWN.Process(target=_timed, args=(load, share, barrier, spans)) for share in shares
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise RuntimeError("a process of the bench failed: its error stands above")
    found: list[tuple[float, float]] = [spans.get() for _ in children]
    return len(passages) / (max(end for _, end in found) - min(start for start, _ in found))


def _timed(load: Loaded, passages: Sequence[str], barrier: Barrier, spans: object) -> None:
    try:
        timed = load(passages)
    except BaseException:
        barrier.abort()
        raise
    barrier.wait()
    start = time.monotonic()
    timed()
    spans.put((start, time.monotonic()))  # type: ignore[attr-defined]


def engine_worker(passages: Sequence[str], *, threads: int = 1) -> Callable[[], None]:
    """As a worker process embeds them; more `threads` are what the layout is measured against."""
    embedder = open_embedder(MINILM, models_path=MODELS, threads=threads, batch_tokens=BATCH_TOKENS)
    embedder.embed(passages[:4])
    return lambda: _discard(embedder.embed(passages))


def fastembed_default(passages: Sequence[str], *, folder: Path) -> Callable[[], None]:
    """fastembed with everything left as it comes: fp32, all cores, batches of 256."""
    from fastembed import TextEmbedding

    model = TextEmbedding(MINILM.name, specific_model_path=str(folder), local_files_only=True)
    next(iter(model.embed(["warm up"])))
    return lambda: _discard(list(model.embed(passages)))


def bare_loop(passages: Sequence[str]) -> Callable[[], None]:
    """Nothing but the graph: what no engine around it can beat."""
    import onnxruntime
    from tokenizers import Tokenizer

    folder = verified_folder(MINILM, models_path=MODELS)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        folder / MINILM.model_file, options, providers=["CPUExecutionProvider"]
    )
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(passages))]
    rectangles = [
        _rectangle([ids[row] for row in rows])
        for rows in batches([len(row) for row in ids], batch_tokens=BATCH_TOKENS)
    ]
    session.run(None, rectangles[-1])
    return lambda: _discard([session.run(None, inputs)[0][0, 0, 0] for inputs in rectangles])


def _rectangle(rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    shape = (len(rows), max(len(row) for row in rows))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def _discard(_: object) -> None:
    """The clock stops when the answer is there."""


def html_passages(count: int) -> list[str]:
    """Embedded strings of the HTML corpus, evenly spread over it."""
    pages = corpus("html", files_max=count // 4).paths
    tokenizer = open_tokenizer(MINILM, MODELS)
    found = [passage for page in pages for passage in embedded_strings(page, tokenizer=tokenizer)]
    return [found[index * len(found) // count] for index in range(count)]


def embedded_strings(page: Path, *, tokenizer: TokenSpans | None = None) -> list[str]:
    """What the engine embeds of a file, passage by passage."""
    tokenizer = tokenizer or open_tokenizer(MINILM, MODELS)
    fetched = Fetched(path=page, byte_count=0, sha256=b"", filename=page.name)
    document = document_of(page.read_bytes(), fetched=fetched, limits=Limits())
    passages = chunk(
        document, spans=tokenizer, chunk_tokens=SETTINGS.chunk_tokens,
        overlap_tokens=SETTINGS.chunk_overlap_tokens,
        tokens_max=MINILM.tokens_max, special_tokens=tokenizer.special_tokens, chunks_max=100_000,
    )  # fmt: skip
    return [passage.embedded for passage in passages]


def fp32_folder(work: Path) -> Path:
    """The model as its authors published it: what fastembed would fetch from its hub."""
    folder = work / "fp32"
    shutil.copytree(verified_folder(MINILM, models_path=MODELS), folder)
    assert MINILM.weights
    fetched = obtain(MINILM, MINILM.weights, into=work, moved=lambda held: None)
    graph = encoder(read_tensors(fetched / WEIGHTS_FILE), int8=False)
    (folder / MINILM.model_file).write_bytes(graph)
    return folder
