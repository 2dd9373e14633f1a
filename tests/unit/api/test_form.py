from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api.form import FormRules, is_form, read_form
from engine.errors import BodyTooLarge, InvalidRequest, TooManySources
from engine.models import Upload

pytestmark = pytest.mark.anyio

BOUNDARY = "cut-here"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
RULES = FormRules(file_field="files", files_max=3, text_bytes_max=100)


def part(name: str, body: bytes, *, filename: str | None = None, media_type: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    if media_type:
        head += f"\r\nContent-Type: {media_type}"
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + body + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def receive(filename: str, media_type: str, chunks: AsyncIterator[bytes]) -> Upload:
    data = b"".join([chunk async for chunk in chunks])
    return Upload(
        name=filename, filename=filename, media_type=media_type, file_bytes=len(data), sha256=data
    )


async def read(body: bytes, *, rules: FormRules = RULES, size: int = 7, **more):
    given_type = more.get("content_type", CONTENT_TYPE)
    return await read_form(
        in_pieces(body, size), content_type=given_type, rules=rules, receive=receive
    )


async def test_texts_and_files_are_told_apart():
    form = await read(
        whole(
            part("name", "Käse".encode()),
            part("files", b"one", filename="a.txt", media_type="text/plain"),
            part("source_urls", b"u1"),
            part("source_urls", b"u2"),
            part("files", b"two", filename="b.bin"),
        )
    )
    assert form.texts == {"name": ["Käse"], "source_urls": ["u1", "u2"]}
    assert [(each.filename, each.media_type, each.sha256) for each in form.uploads] == [
        ("a.txt", "text/plain", b"one"),
        ("b.bin", "", b"two"),
    ]
    assert form.details == []


@settings(max_examples=50)
@given(data=st.binary(max_size=300), size=st.integers(min_value=1, max_value=64))
async def test_file_bytes_arrive_as_they_were_sent_however_they_are_cut(data, size):
    if f"--{BOUNDARY}".encode() in data:
        return
    form = await read(whole(part("files", data, filename="a")), size=size)
    assert form.uploads[0].sha256 == data


async def test_a_file_is_handed_on_before_the_body_has_ended():
    seen: list[int] = []
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield whole(part("files", b"", filename="a"))[: -len(BOUNDARY) - 8]
        for _ in range(50):
            sent += 1
            yield b"x" * 100
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    async def note(filename: str, media_type: str, chunks: AsyncIterator[bytes]) -> Upload:
        async for _ in chunks:
            seen.append(sent)
        return Upload(name="", filename="", media_type="", file_bytes=0, sha256=b"")

    await read_form(body(), content_type=CONTENT_TYPE, rules=RULES, receive=note)
    assert seen[0] <= 2
    assert seen == sorted(seen)
    assert seen[-1] == 50


async def test_every_odd_part_is_named():
    form = await read(
        whole(
            part("files", b"text without a filename"),
            part("cover", b"x", filename="a.png"),
            part("name", b"\xff"),
            part("files", b"x", filename="late.txt"),
        )
    )
    assert [each.field for each in form.details] == ["files", "cover", "name"]
    assert form.uploads == []
    assert form.texts == {}


async def test_an_empty_file_input_of_a_browser_is_no_file():
    form = await read(whole(part("files", b"", filename=""), part("name", b"a")))
    assert (form.uploads, form.details) == ([], [])


async def test_a_second_file_is_refused_where_there_may_be_one():
    rules = FormRules(file_field="file", files_max=1, text_bytes_max=100)
    two = whole(part("file", b"1", filename="a"), part("file", b"2", filename="b"))
    form = await read(two, rules=rules)
    assert [each.issue for each in form.details] == ["is given more than once"]


async def test_too_many_files_are_refused_while_reading():
    body = whole(*(part("files", b"1", filename="a") for _ in range(4)))
    with pytest.raises(TooManySources):
        await read(body)


async def test_too_much_text_is_refused_while_reading():
    with pytest.raises(BodyTooLarge):
        await read(whole(part("a", b"x" * 60), part("b", b"x" * 60)))


async def test_too_many_parts_are_refused_while_reading():
    with pytest.raises(BodyTooLarge):
        await read(whole(*(part("a", b"") for _ in range(2_100))), size=4_096)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a form at all",
        whole(part("a", b"x"))[:-8],
        whole(part("a", b"x")).replace(b"form-data;", b"attachment;"),
        whole(part("a", b"x")).replace(b"Content-Disposition", b"Content Disposition"),
        whole(part("a", b"x")).replace(b"\r\n\r\n", b"\n\n"),
        whole(part("a", b"x")).replace(b'name="a"', b'name="\xff"'),
        f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
    ],
)
async def test_a_broken_form_is_refused(body):
    with pytest.raises(InvalidRequest) as caught:
        await read(body)
    assert [each.field for each in caught.value.details] == ["body"]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a\nb"',
    ],
)
async def test_a_form_without_a_usable_boundary_is_refused(content_type):
    with pytest.raises(InvalidRequest) as caught:
        await read(whole(), content_type=content_type)
    assert [each.field for each in caught.value.details] == ["Content-Type"]


@given(body=st.binary(max_size=400))
async def test_any_bytes_are_a_form_or_refused(body):
    try:
        form = await read(b"--cut-here\r\n" + body)
    except (InvalidRequest, BodyTooLarge):
        return
    assert form.uploads == [] or form.uploads[0].file_bytes >= 0


def test_forms_are_known_by_their_content_type():
    assert is_form("Multipart/Form-Data; boundary=x")
    assert not is_form("multipart/mixed; boundary=x")
