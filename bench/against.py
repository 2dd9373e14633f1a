"""The engine's peers, in turn with the engine: the same files, passages of the same size, the same
Postgres; once with the model as they get it (fp32), once with the engine's int8 file.

They live in an environment of their own, which `make bench-peers` makes.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench.corpora import corpus, pages_apart
from bench.embed import PROCESSES, SETTINGS, fp32_folder
from bench.rig import MODELS, REPOSITORY, rig
from engine.embedding.install import verified_folder
from engine.embedding.specs import MINILM
from engine.local import LocalServices

ENVIRONMENT = REPOSITORY / ".venv-peers"
PEERS = ("llamaindex", "haystack")
HTML_FILES, TEXT_FILES, PDF_PAGES, PDF_FILE_PAGES = 40, 10, range(100, 200), 25


def peers() -> dict[str, float | str]:
    """Passages a second of the engine and of each peer with either file, and the ratios."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        return {"peers": "not measured: make bench-peers"}
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as name:
        work = Path(name)
        work.chmod(0o711)
        paths = documents(work / "documents")
        with rig(workers=PROCESSES) as engine:
            rag_id, seconds = engine.ingest(engine.upload(paths))
            ours = engine.passages(rag_id) / seconds
        figures: dict[str, float | str] = {"engine_passages_per_s": round(ours, 1)}
        folders = {"": fp32_folder(work), "_int8": verified_folder(MINILM, models_path=MODELS)}
        with LocalServices(work / "data") as local:
            for peer in PEERS:
                for suffix, folder in folders.items():
                    theirs = _rate(peer, admin_url=local.services.admin_url, model=folder,
                                   documents=work / "documents")  # fmt: skip
                    figures[f"{peer}{suffix}_passages_per_s"] = round(theirs, 1)
                    figures[f"ratio_to_{peer}{suffix}"] = round(ours / theirs, 2)
    return figures


def documents(folder: Path) -> Sequence[Path]:
    """HTML, text and pages of a PDF, side by side in one folder."""
    folder.mkdir()
    for name, files_max in (("html", HTML_FILES), ("text", TEXT_FILES)):
        for path in corpus(name, files_max=files_max).paths:
            shutil.copy(path, folder / path.name.removesuffix(".rst.txt").removesuffix(".txt"))
    for path in folder.iterdir():
        if path.suffix not in (".html", ".md"):
            path.rename(path.with_suffix(".txt"))
    pages_apart(corpus("pdf"), pages=PDF_PAGES, per_file=PDF_FILE_PAGES, folder=folder)
    return sorted(folder.iterdir())


def _rate(peer: str, *, admin_url: str, model: Path, documents: Path) -> float:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS peers")
        connection.execute("CREATE DATABASE peers")
    command = [
        str(ENVIRONMENT / "bin" / "python"), f"{peer}_run.py",
        "--database-url", _peers_url(admin_url),
        "--model", MINILM.name, "--model-folder", str(model),
        "--chunk-tokens", str(SETTINGS.chunk_tokens),
        str(documents),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=Path(__file__).parent / "peers", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["passages"] / found["seconds"])


def _peers_url(admin_url: str) -> str:
    given = conninfo_to_dict(admin_url)
    return f"postgresql://{given['user']}@/peers?host={given['host']}&port={given['port']}"
