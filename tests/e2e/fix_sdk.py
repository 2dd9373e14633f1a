"""The official Python SDK against a running engine: a client per customer, held to its own types.

The SDK builds its answers without validating them, so that a call which does not raise proves
little. Here the raw JSON of every call is held against the type that the SDK declares for it. Test
modules name the fixtures that they use (`engine = fix_sdk.engine`).
"""

import inspect
import re
import ssl
import time
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import httpx
import pydantic
import pytest
from elevenlabs import GetOrCreateRagIndexRequestModel
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from fix_engine import Caller, api_child, new_customer, worker_process
from fix_web import Web, open_web
from msgspec.structs import replace

from engine.config import Settings

MISTRAL = "e5_mistral_7b_instruct"
MULTILINGUAL = "multilingual_e5_large_instruct"
GEMINI = "gemini-embedding-001"
ELEVENLABS = "/v1/convai/knowledge-base"
THREETONE = "/v1/voiceai/knowledge-base"
JWT_KEY = "a secret that is long enough for HS256 to be taken"
JWT_AUDIENCE = "rag-engine-tests"
# Nothing here speaks TLS, and loading the usual certificates takes each client 50 ms.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
INDEXED_TIMEOUT_S = 60.0
FILE_BYTES_MAX = 1_000_000
INDEXED_BYTES_MAX = 200_000
SAFE_ID = re.compile(r"[A-Za-z0-9._~-]+")
RETRIED = {408, 409, 429, *range(500, 600)}
# Threetone tells the names of the folders as well, and one shape serves both doors.
SENT_BESIDES = {("KnowledgeBaseFolderPathSegmentSummaryResponseModel", "name")}
GOING_ON = {"new", "created", "processing"}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """The outside web of a module's engine."""
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def engine(
    module_settings: Settings, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """One API and one worker for the module; every test is a customer of its own."""
    limits = replace(
        module_settings.limits,
        poll_s=0.3,
        sweep_s=0.2,
        retry_base_s=0.2,
        file_bytes_max=FILE_BYTES_MAX,
        customer_indexed_bytes_max=INDEXED_BYTES_MAX,
    )
    settings = replace(
        module_settings,
        limits=limits,
        allow_networks=(web.host_port,),
        jwt_key=JWT_KEY,
        jwt_audience=JWT_AUDIENCE,
    )
    logs = tmp_path_factory.mktemp("logs")
    with (
        api_child(settings, log=logs / "api.log"),
        worker_process(settings, log=logs / "worker.log"),
    ):
        yield settings


@pytest.fixture
def sdk(engine: Settings) -> Iterator["Sdk"]:
    """A customer of the test's own, behind the official client."""
    with plain_client() as http:
        yield Sdk(engine, token=new_customer(engine, "sdk"), http=http)


@pytest.fixture
def stranger(engine: Settings) -> Iterator["Sdk"]:
    """Another customer."""
    with plain_client() as http:
        yield Sdk(engine, token=new_customer(engine, "stranger"), http=http)


@pytest.fixture
def native(sdk: "Sdk", engine: Settings) -> Iterator[Caller]:
    """The native door, for the customer of `sdk`."""
    with Caller(engine.base_url, token=sdk.token) as made:
        yield made


def plain_client(base_url: str = "", **headers: str) -> httpx.Client:
    """A client of httpx with these headers."""
    return httpx.Client(base_url=base_url, headers=headers, timeout=30.0, verify=NO_CERTIFICATES)


def knowledge_base(native: Caller) -> dict[str, Any]:
    """The RAG that documents of this door are in, as the native door shows it, all ready."""
    rags = native.ok("GET", "/rags")["result"]
    found = [rag for rag in rags if rag["name"] == "Knowledge base"]
    assert len(found) == 1, rags
    ready: dict[str, Any] = native.until_done(found[0]["id"])
    return ready


class Sdk:
    """The official client of one customer, and what its users do with it again and again."""

    def __init__(self, settings: Settings, *, token: str, http: httpx.Client) -> None:
        self.token = token
        self.base_url = settings.base_url
        self._answers: list[httpx.Response] = []
        http.event_hooks = {"response": [self._hear]}
        client = ElevenLabs(base_url=settings.base_url, api_key=token, httpx_client=http)
        self.cai: Any = _Checked(client.conversational_ai, answers=self._answers)
        self.kb: Any = self.cai.knowledge_base
        self.documents: Any = self.kb.documents

    def _hear(self, answer: httpx.Response) -> None:
        answer.read()
        # The SDK would send these again and again; no ordinary refusal is one of them.
        assert answer.status_code not in RETRIED, answer.text
        self._answers.append(answer)

    @property
    def answered(self) -> httpx.Response:
        """The raw answer to the last call."""
        return self._answers[-1]

    def text(self, text: str, **more: Any) -> str:
        """Make a text document; returns its id."""
        document_id: str = self.documents.create_from_text(text=text, **more).id
        return document_id

    def listed(self, **asked: Any) -> list[str]:
        """The ids of a list that fits on one page."""
        page = self.kb.list(**asked)
        assert not page.has_more
        assert page.next_cursor is None
        return [document.id for document in page.documents]

    def batch(self, *asked: tuple[str, str], create: bool = True) -> dict[str, Any]:
        """Ask for these (document id, model) pairs in one batch."""
        items = [
            GetOrCreateRagIndexRequestModel(document_id=id_, create_if_missing=create, model=model)
            for id_, model in asked
        ]
        answer: dict[str, Any] = self.kb.get_or_create_rag_indexes(items=items)
        return answer

    def index(self, document_id: str, *, model: str = MISTRAL, create: bool = True) -> Any:
        """The index of a document as a batch of one tells it."""
        value = self.batch((document_id, model), create=create)[document_id]
        assert value.status == "success", value
        return value.data

    def indexed(self, document_id: str, *, model: str = MISTRAL) -> Any:
        """Ask until the index is final; returns it. Its progress must never fall."""
        deadline = time.monotonic() + INDEXED_TIMEOUT_S
        before = 0.0
        while (index := self.index(document_id, model=model)).status in GOING_ON:
            assert before <= index.progress_percentage < 100, index
            assert time.monotonic() < deadline, f"not final after {INDEXED_TIMEOUT_S} s: {index}"
            before = index.progress_percentage
            time.sleep(0.05)
        return index

    def chunks(self, document_id: str, *, model: str = MISTRAL, page_size: int = 100) -> list[Any]:
        """All chunks of an index, page by page; none may come twice."""
        chunks: list[Any] = []
        cursor = None
        while True:
            page = self.documents.chunks.list(
                document_id, embedding_model=model, page_size=page_size, cursor=cursor
            )
            assert len(page.chunks) <= page_size
            chunks += page.chunks
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.chunks) == page_size, "a page in the middle is not full"
        assert len({chunk.id for chunk in chunks}) == len(chunks)
        assert all(SAFE_ID.fullmatch(chunk.id) for chunk in chunks)
        return chunks

    def indexed_text(self, document_id: str, *, model: str = MISTRAL) -> str:
        """What the index answers with, its chunks one after the other."""
        return "\n".join(chunk.content for chunk in self.chunks(document_id, model=model))


class Door(typing.NamedTuple):
    """One of the two doors: how it is reached, and what it calls its models."""

    name: str
    prefix: str
    header: str
    models: tuple[str, ...]


DOORS = {
    "elevenlabs": Door("elevenlabs", ELEVENLABS, "xi-api-key", (MISTRAL, MULTILINGUAL)),
    "threetone": Door("threetone", THREETONE, "x-api-key", (MISTRAL, MULTILINGUAL, GEMINI)),
}


def client_of(door: Door, settings: Settings) -> httpx.Client:
    """A plain client of one door, for a new customer."""
    token = new_customer(settings, "wire")
    return plain_client(settings.base_url + door.prefix, **{door.header: token})


def item(document: str, *, create: bool = True, model: str = MISTRAL) -> dict[str, Any]:
    """One item of a batch, as it goes over the wire."""
    return {"document_id": document, "create_if_missing": create, "model": model}


class Refusal(typing.NamedTuple):
    """How a call was refused."""

    code: int
    status: str
    message: str


def refused(call: Callable[..., Any], *arguments: Any, **more: Any) -> Refusal:
    """The refusal of a call that must be refused, in the contract's shape."""
    with pytest.raises(ApiError) as caught:
        call(*arguments, **more)
    body = caught.value.body
    assert isinstance(body, dict), caught.value
    detail = body["detail"]
    assert isinstance(detail, dict), detail
    assert set(detail) - {"param"} == {"type", "code", "status", "message", "request_id"}
    assert all(isinstance(value, str) and value for value in detail.values()), detail
    assert detail["code"] == detail["status"]
    return Refusal(caught.value.status_code or 0, detail["status"], detail["message"])


UNKNOWN = "knowledge_base_documentation_not_found"


def is_unknown(refusal: Refusal) -> bool:
    """Whether it says that there is no such document."""
    return (refusal.code, refusal.status) == (404, UNKNOWN)


def uncovered(text: str, *, parts: list[str]) -> str:
    """What of `text` is in none of its `parts`, which come in order; white space does not count.

    Each part has to be a passage of the text, word for word.
    """
    left, end = "", 0
    for part in parts:
        start = text.find(part, max(0, end - len(part)))
        assert start >= 0, f"no passage of the text: {part!r}"
        left += text[end:start]
        end = max(end, start + len(part))
    return (left + text[end:]).strip()


class _Checked:
    """A client of the SDK. What its calls get is held against the types that they declare."""

    def __init__(self, inner: Any, *, answers: list[httpx.Response]) -> None:
        self._inner = inner
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.ismethod(found):
            return _Checked(found, answers=self._answers)

        def call(*arguments: Any, **more: Any) -> Any:
            result = found(*arguments, **more)
            declared = typing.get_type_hints(found, include_extras=True)["return"]
            answer = self._answers[-1]
            assert answer.status_code == 200, answer
            if declared not in (str, type(None)):
                assert answer.headers["content-type"].startswith("application/json")
                assert faults(answer.json(), declared) == [], answer.text
            return result

        return call


def faults(value: Any, declared: Any, *, at: str = "$") -> list[str]:
    """Where a JSON value is not what the SDK declares: wrong type, missing, or not known to it.

    Stricter than the SDK: its enums are closed here, and a discriminator has to be sent.
    """
    if declared is Any:
        return []
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is typing.Annotated:
        return faults(value, arguments[0], at=at)
    if origin in (typing.Union, types.UnionType):
        return _faults_of_union(value, arguments, at=at)
    if origin is Literal:
        return [] if value in arguments else [f"{at}: {value!r} is none of {arguments}"]
    if origin in (list, typing.Sequence) and isinstance(value, list):
        return [f for n, v in enumerate(value) for f in faults(v, arguments[0], at=f"{at}[{n}]")]
    if origin is dict and isinstance(value, dict):
        return [f for k, v in value.items() for f in faults(v, arguments[1], at=f"{at}.{k}")]
    if inspect.isclass(declared) and issubclass(declared, pydantic.BaseModel):
        return _faults_of_model(value, declared, at=at)
    return [] if _is_plain(value, declared) else [f"{at}: {value!r} is no {declared}"]


def _is_plain(value: Any, declared: Any) -> bool:
    if isinstance(value, bool) or declared is bool:
        return isinstance(value, bool) and declared is bool
    kinds = {float: (int, float), int: (int,), str: (str,), type(None): (type(None),)}
    return isinstance(value, kinds.get(declared, ()))


def _faults_of_union(value: Any, arms: tuple[Any, ...], *, at: str) -> list[str]:
    if any(get_origin(arm) is Literal for arm in arms):
        arms = tuple(arm for arm in arms if arm is not Any)  # an open enum
    found = [faults(value, arm, at=at) for arm in arms]
    return min(found, key=len)


def _faults_of_model(value: Any, model: type[pydantic.BaseModel], *, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no {model.__name__}"]
    found = [
        f"{at}.{key}: not known to {model.__name__}"
        for key in value.keys() - _names(model)
        if (model.__name__, key) not in SENT_BESIDES
    ]
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in value:
            found += faults(value[key], field.annotation, at=f"{at}.{key}")
        elif field.is_required() or get_origin(field.annotation) is Literal:
            found.append(f"{at}.{key}: missing in {model.__name__}")
    return found


def _names(model: type[pydantic.BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}
