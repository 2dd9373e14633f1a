"""engine.cli.client before a busy engine: what may be sent twice is, when it is told to come back.

A real HTTP server answers as scripted, and remembers what it was asked.
"""

import errno
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from engine.cli import client as module
from engine.cli.client import ApiError, Client
from engine.cli.evaluate import evaluate
from engine.cli.exits import CliError, Exit
from engine.cli.place import Where

COUNTS = {"total": 0, "pending": 0, "processing": 0, "ready": 0, "error": 0}
RAG = {"id": "r", "name": "a", "status": "ready", "source_counts": COUNTS}
FILE = {"id": "f", "name": "a.txt", "sha256": "0"}
HITS = {"results": []}


class Busy(NamedTuple):
    """A refusal; `retry_after` None: it does not say when to come back."""

    code: int = 503
    retry_after: str | None = "0"
    reason: str = "OVERLOADED"


class Asked(NamedTuple):
    method: str
    path: str
    key: str | None
    body: bytes
    at_s: float


class Engine:
    """Gives its refusals one by one, then what is asked for; None among them is no refusal."""

    def __init__(self, port: int, *, asked: list[Asked], refusals: list[Busy | None]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked = asked
        self.refusals = refusals

    def client(self, *, again_s: float = 20.0) -> Client:
        return Client(self.url, key="re_key", again_s=again_s)


def answer_to(path: str) -> dict:
    if path == "/readyz":
        return {"checks": {}}
    if path == "/storage_files":
        return FILE
    return HITS if path.endswith("/query") else RAG


@pytest.fixture
def engine() -> Iterator[Engine]:
    asked: list[Asked] = []
    refusals: list[Busy | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.headers.get("Idempotency-Key")
            asked.append(Asked(self.command, self.path, key, body, time.monotonic()))
            busy = refusals.pop(0) if refusals else None
            said = answer_to(self.path) if busy is None else refusal(busy)
            content = json.dumps(said).encode()
            self.send_response(busy.code if busy else 200)
            if busy and busy.retry_after is not None:
                self.send_header("Retry-After", busy.retry_after)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Engine(server.server_address[1], asked=asked, refusals=refusals)
    server.shutdown()
    server.server_close()
    thread.join()


def refusal(busy: Busy) -> dict:
    said = {"status": "UNAVAILABLE", "reason": busy.reason, "message": "Busy.", "request_id": "1"}
    return {"error": said}


def create_rag(client: Client, _: Path) -> None:
    client.create_rag("a")


def add_files(client: Client, _: Path) -> None:
    client.add_files("r", ["f"])


def add_url(client: Client, _: Path) -> None:
    client.add_url("r", "https://a.example/x")


def upload(client: Client, folder: Path) -> None:
    path = folder / "a.txt"
    path.write_bytes(b"some text " * 100_000)
    client.upload(path, name="a.txt")


CREATES = (create_rag, add_files, add_url, upload)


@pytest.mark.parametrize("create", CREATES)
def test_a_create_is_sent_again_whole_and_with_the_same_key(engine, tmp_path, create):
    engine.refusals += [Busy(code=429, reason="RATE_LIMITED"), Busy(code=503)]
    with engine.client() as client:
        create(client, tmp_path)
    assert len(engine.asked) == 3
    assert {(each.method, each.path) for each in engine.asked} == {("POST", engine.asked[0].path)}
    keys = {each.key for each in engine.asked}
    assert len(keys) == 1
    assert len(keys.pop()) == 36
    assert len({len(each.body) for each in engine.asked}) == 1
    assert len(engine.asked[0].body) > (1_000_000 if create is upload else 10)


def test_two_creates_have_two_keys(engine):
    with engine.client() as client:
        client.create_rag("a")
        client.create_rag("a")
    assert len({each.key for each in engine.asked}) == 2


def test_what_only_reads_is_asked_again(engine):
    engine.refusals += [Busy(), Busy(code=429)]
    with engine.client() as client:
        client.query("r", "What?", top_k=3)
        engine.refusals += [Busy()]
        client._ask("GET", "/rags/r", module.answers.Rag)
    assert [each.method for each in engine.asked] == ["POST"] * 3 + ["GET"] * 2


def test_a_deletion_is_not_sent_twice(engine):
    """The second one would find nothing, and say so."""
    engine.refusals += [Busy()]
    with engine.client() as client, pytest.raises(ApiError) as caught:
        client.delete_rag("r")
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert len(engine.asked) == 1


def test_a_check_tells_at_once_what_it_found(engine):
    engine.refusals += [Busy()]
    with engine.client() as client, pytest.raises(ApiError):
        client.readiness()
    assert len(engine.asked) == 1


@pytest.mark.parametrize("code", [400, 401, 404, 409, 413, 500, 502, 504])
def test_other_refusals_are_final(engine, code):
    engine.refusals += [Busy(code=code, reason="OTHER")]
    with engine.client() as client, pytest.raises(ApiError):
        client.create_rag("a")
    assert len(engine.asked) == 1


def test_it_comes_back_no_sooner_than_told_and_not_much_later(engine):
    engine.refusals += [Busy(code=429, retry_after="1", reason="RATE_LIMITED")]
    with engine.client() as client:
        client.create_rag("a")
    first, second = engine.asked
    assert 1.0 <= second.at_s - first.at_s < 3.0


@pytest.mark.parametrize("told", [None, "Wed, 21 Oct 2099 07:28:00 GMT", "soon", "nan", "-5"])
def test_what_cannot_be_waited_for_is_a_short_wait(engine, told, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_WAIT_S", 0.05)
    engine.refusals += [Busy(retry_after=told)]
    with engine.client() as client:
        client.create_rag("a")
    assert len(engine.asked) == 2


def test_it_gives_up_before_it_would_have_waited_too_long(engine):
    engine.refusals += [Busy(retry_after="30")]
    began_s = time.monotonic()
    with engine.client(again_s=5) as client, pytest.raises(ApiError, match="Busy"):
        client.create_rag("a")
    assert time.monotonic() - began_s < 4
    assert len(engine.asked) == 1


def test_an_engine_that_is_busy_for_ever_is_left_in_the_end(engine, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_WAIT_S", 0.1)
    engine.refusals += [Busy() for _ in range(10_000)]
    began_s = time.monotonic()
    with engine.client(again_s=0.5) as client, pytest.raises(ApiError):
        client.create_rag("a")
    assert time.monotonic() - began_s < 5
    assert len(engine.asked) > 1


def test_callers_come_back_at_different_moments_and_none_too_early():
    busy = httpx.Response(429, headers={"Retry-After": "10"})
    waits = {module._wait_s(busy) for _ in range(50)}
    assert len(waits) > 40
    assert min(waits) >= 10
    assert max(waits) <= 12.5


def test_who_has_used_up_its_keys_goes_on_without_one(engine):
    engine.refusals += [Busy(code=429, retry_after="3600", reason="TOO_MANY_IDEMPOTENCY_KEYS")]
    with engine.client() as client:
        client.create_rag("a")
    assert [each.key is None for each in engine.asked] == [False, True]


# Golden questions --------------------------------------------------------------------------------

RAG_ID = "0f7c6a52-6a1b-4c55-8d0e-2b1f9f3c7a10"


def asked_by_evaluate(engine: Engine, folder: Path, *, count: int) -> int:
    """The verb as the command line calls it, with so many questions; its exit code."""
    lines = [{"question": f"What is {n}?", "find": [{"source": "a.txt"}]} for n in range(count)]
    questions, key = folder / "questions.jsonl", folder / "key"
    questions.write_text("\n".join(map(json.dumps, lines)))
    key.write_text("re_key")
    where = Where(url=engine.url, key_file=key)
    return evaluate(RAG_ID, questions, out=folder / "report.json", json=True, where=where)


def test_an_evaluation_waits_for_a_busy_engine_and_asks_every_question_once(
    engine, tmp_path, monkeypatch
):
    """As it goes through a rate limit: none is left out, counted twice or asked too early."""
    monkeypatch.setattr(module, "AGAIN_WAIT_S", 0.05)
    limited = Busy(code=429, retry_after="1", reason="RATE_LIMITED")
    # The RAG at once, then two questions that are refused, the second of them twice.
    engine.refusals += [None, limited, None, Busy(code=503, retry_after=None), limited]
    assert asked_by_evaluate(engine, tmp_path, count=4) == Exit.DONE
    queries = [each for each in engine.asked if each.path == "/rags/r/query"]
    numbers = [json.loads(each.body)["query"] for each in queries]
    assert numbers == [f"What is {number}?" for number in (0, 0, 1, 1, 1, 2, 3)]
    assert queries[1].at_s - queries[0].at_s >= 1.0
    assert queries[4].at_s - queries[3].at_s >= 1.0
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert [each["question"] for each in report["questions"]] == list(dict.fromkeys(numbers))


def test_an_evaluation_that_waits_in_vain_says_how_far_it_came_and_writes_nothing(engine, tmp_path):
    engine.refusals += [None, None, Busy(code=503, retry_after="3600")]
    (tmp_path / "report.json").write_text("of an earlier run")
    with pytest.raises(CliError, match=r"Busy\. \(line 2, 1 of 4 questions asked\)") as caught:
        asked_by_evaluate(engine, tmp_path, count=4)
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert (tmp_path / "report.json").read_text() == "of an earlier run"


def test_an_evaluation_whose_report_cannot_be_written_is_shown_and_leaves_nothing(
    engine, tmp_path, monkeypatch, capsys
):
    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CliError, match=r"report\.json: No space left on device\.$"):
        asked_by_evaluate(engine, tmp_path, count=2)
    assert json.loads(capsys.readouterr().out)["report"]["figures"]["questions"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "questions.jsonl"]


def test_an_evaluation_whose_reader_goes_away_is_written_all_the_same(
    engine, tmp_path, monkeypatch
):
    def closed(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("engine.cli.terminal.say_json", closed)
    with pytest.raises(BrokenPipeError):
        asked_by_evaluate(engine, tmp_path, count=2)
    assert json.loads((tmp_path / "report.json").read_bytes())["figures"]["questions"] == 2
