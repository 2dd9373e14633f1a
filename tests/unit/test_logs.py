"""JSON logs: one object a line, with the fields that are bound to the task that writes it."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from engine import logs

pytestmark = pytest.mark.anyio


class Lines(logging.Handler):
    """Keeps what is logged, rendered as in production."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonFormatter())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)


log = logging.getLogger("tests.logs")


def test_a_line_says_when_how_grave_who_and_what(lines: Lines) -> None:
    log.warning("fetched %d bytes", 3, extra={"bytes": 3})
    (line,) = lines.objects
    at = line.pop("at")
    assert line == {
        "level": "warning",
        "logger": "tests.logs",
        "event": "fetched 3 bytes",
        "bytes": 3,
    }
    assert at.endswith("+00:00")


def test_a_line_stays_one_line_whatever_is_in_it(lines: Lines) -> None:
    log.info("two\nlines", extra={"id": UUID(int=1), "cause": 'a "quote"\n'})
    assert "\n" not in lines.texts[0]
    assert lines.objects[0]["id"] == str(UUID(int=1))


def test_bound_fields_are_in_every_line_of_the_block_and_gone_after_it(lines: Lines) -> None:
    with logs.bind(source="s", attempt=1):
        with logs.bind(stage="fetch"):
            log.info("inner")
        log.info("outer")
    log.info("after")
    inner, outer, after = lines.objects
    assert (inner["source"], inner["attempt"], inner["stage"]) == ("s", 1, "fetch")
    assert outer["source"] == "s"
    assert "stage" not in outer
    assert "source" not in after


async def test_tasks_do_not_see_the_fields_of_each_other(lines: Lines) -> None:
    async def work(name: str) -> None:
        with logs.bind(source=name):
            await asyncio.sleep(0.01)
            log.info(name)

    await asyncio.gather(*(work(name) for name in ("a", "b", "c")))
    assert {(line["event"], line["source"]) for line in lines.objects} == {
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
    }


def test_an_exception_comes_with_its_trace(lines: Lines) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    assert "ValueError: broken" in lines.objects[0]["exception"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("re_" + "aB3" * 11, "re_" + "aB3" * 11),  # 33 characters are no key
        ("the key re_" + "aB3x" * 8 + " of", "the key … of"),
        ("eyJhbGciOiJI.eyJjdXN0b21lciI.c2lnbmF0dXJl", "…"),
        ("postgresql://user:pass/word@host/name", "postgresql://…@host/name"),
        ("https://example.org:8080/a?b=c", "https://example.org:8080/a?b=c"),
    ],
)
def test_what_has_the_form_of_a_secret_is_covered(lines: Lines, said: str, shown: str) -> None:
    log.info(said, extra={"cause": said})
    (line,) = lines.objects
    assert (line["event"], line["cause"]) == (shown, shown)


def test_a_line_with_unpaired_surrogates_is_written_without_them() -> None:
    # Made here and not logged: what pytest captures has to be sent between its processes.
    record = logging.makeLogRecord({"msg": "a\ud800b", "cause": "c\udfffd"})
    line = json.loads(logs.JsonFormatter().format(record))
    assert (line["event"], line["cause"]) == ("a?b", "c?d")
