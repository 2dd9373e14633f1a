"""The same storage over the S3 protocol, against a local server that speaks it."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from uuid import uuid4

import httpx
import pytest
from fix_services import free_port

from engine.blobs import Blobs
from engine.errors import StorageUnavailable
from engine.models import CustomerId

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            client.put(f"{url}/bucket").raise_for_status()
        yield url
        server.terminate()


@pytest.fixture
def blobs(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return Blobs("s3://bucket/prefix")


@pytest.mark.parametrize("file_bytes", [0, 5, 20_000_000])
async def test_what_was_put_is_read_until_it_is_deleted(
    blobs: Blobs, tmp_path: Path, file_bytes: int
) -> None:
    data = os.urandom(file_bytes)
    path = tmp_path / "file"
    await asyncio.to_thread(path.write_bytes, data)
    customer_id, sha256 = CustomerId(uuid4()), hashlib.sha256(data).digest()

    for _ in range(2):
        await blobs.put(path, customer_id=customer_id, sha256=sha256, file_bytes=file_bytes)
    stream = blobs.read(customer_id=customer_id, sha256=sha256)
    assert b"".join([piece async for piece in stream]) == data

    for _ in range(2):
        await blobs.delete(customer_id=customer_id, sha256=sha256)
    with pytest.raises(FileNotFoundError):
        await anext(blobs.read(customer_id=customer_id, sha256=sha256))


async def test_a_bucket_that_answers_is_told_from_one_that_is_away(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blobs.ping()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnavailable):
        await Blobs("s3://bucket/prefix").ping()
