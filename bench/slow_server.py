"""An embeddings server of a fixed latency, however many ask at once: what the engine waits for, and
not how fast somebody else computes, is measured with it."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.rig import free_port

DIMENSIONS = 384
NAME = "slow"
SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def slow_server(*, latency_s: float) -> Iterator[str]:
    """Yields the base URL of a server in a process of its own."""
    port = free_port()
    child = SPAWN.Process(target=_serve, args=(port, latency_s), daemon=True)
    child.start()
    url = f"http://127.0.0.1:{port}/v1"
    _until_up(url)
    try:
        yield url
    finally:
        child.terminate()
        child.join()


def models_file(folder: Path, *, url: str) -> tuple[Path, str]:
    """A models file with the server in it, and the model's name."""
    path = folder / "models.toml"
    path.write_text(
        f'[models.{NAME}]\nurl = "{url}"\nmodel = "{NAME}"\ndimensions = {DIMENSIONS}\n'
        'tokens_max = 512\nversion = "1"\nbatch_items = 64\nconcurrency = 1\n'
    )
    return path, NAME


def _until_up(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.post(f"{url}/embeddings", json={"model": NAME, "input": ["up"]}, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit("the embeddings server of the bench did not start")


def _serve(port: int, latency_s: float) -> None:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await asyncio.sleep(latency_s)
        answer = json.dumps({"data": _items(json.loads(body)["input"])}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, port=port, log_level="error", lifespan="off")


def _items(texts: list[str]) -> list[dict[str, Any]]:
    ones = [1.0] * DIMENSIONS
    return [{"index": number, "embedding": ones} for number in range(len(texts))]
