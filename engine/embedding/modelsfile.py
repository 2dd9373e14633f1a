"""The models file: models behind servers, and what the public names stand for.

What lives here: reading the file into specs, and the access keys that it points to. What does not:
whether a name in it is known (`registry`), talking to a server (`provider`). The format is
described in docs/models.md.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Meta

from engine.config import PREFIX, SettingsError
from engine.embedding.specs import MINILM, Endpoint, ModelSpec
from engine.errors import ModelUnavailable
from engine.models import Noun

FILE_BYTES_MAX = 1_000_000
KEY_CHARACTERS_MAX = 10_000
NAME_CHARACTERS_MAX = 200
# What halfvec columns hold.
DIMENSIONS_MAX = 16_000
TOKENS_MAX = 10_000_000
Positive = Annotated[int, Meta(ge=1)]
S = TypeVar("S", bound=msgspec.Struct)


class ModelsFileError(SettingsError):
    """The models file is wrong; the message names the file, the key, and what would be right."""


class ModelsFile(Noun, frozen=True, kw_only=True):
    """What the file says: models by their name, and the engine model of each public name."""

    models: dict[str, ModelSpec]
    public: dict[str, str]


class _Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One [models.*] table, as it is written."""

    url: str
    dimensions: Annotated[int, Meta(ge=1, le=DIMENSIONS_MAX)]
    tokens_max: Annotated[int, Meta(ge=32, le=TOKENS_MAX)]
    version: Annotated[str, Meta(min_length=1)]
    model: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    tokenizer: str = ""
    timeout_s: Annotated[float, Meta(gt=0, le=3_600)] = 30.0
    concurrency: Annotated[int, Meta(ge=1, le=1_000)] = 4
    batch_tokens: Positive = 16_384
    batch_items: Annotated[int, Meta(ge=1, le=10_000)] = 32


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: dict[str, Any] = {}
    public: dict[str, Any] = {}


def read(path: Path) -> ModelsFile:
    """Read and check the file. Paths in it are relative to its folder. Raises ModelsFileError."""
    file = _converted(_parsed(path), _File, path=path, at="")
    models = {}
    for name, table in file.models.items():
        at = f"[models.{_quoted(name)}]"
        if issue := _name_issue(name):
            raise wrong(path, f"{at} {issue}")
        models[name] = _spec(name, _converted(table, _Model, path=path, at=at), path=path, at=at)
    for public_name, model in file.public.items():
        if not isinstance(model, str):
            raise wrong(path, f"[public] {public_name}: must be the name of a model")
    return ModelsFile(models=models, public=file.public)


def wrong(path: Path, issue: str) -> ModelsFileError:
    """The error for an issue with something in the file."""
    return ModelsFileError(f"{PREFIX}MODELS_FILE: {path}: {issue}")


def access_key(spec: ModelSpec, endpoint: Endpoint) -> str:
    """The key that the server wants, "" when the file names none.

    Raises ModelUnavailable when it is not where the file says. The key is in no message.
    """
    if endpoint.api_key_file:
        try:
            key = endpoint.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelUnavailable(f"The access key of {spec.name} cannot be read.") from error
    elif endpoint.api_key_env:
        key = os.environ.get(endpoint.api_key_env, "").strip()
    else:
        return ""
    if not key:
        raise ModelUnavailable(f"The access key of {spec.name} is not set.")
    # A header holds nothing else, and the library's own complaint would quote the key.
    if len(key) > KEY_CHARACTERS_MAX or not re.fullmatch("[!-~]+", key):
        raise ModelUnavailable(f"The access key of {spec.name} has characters that no key has.")
    return key


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise wrong(path, f"cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise wrong(path, f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise wrong(path, "is not UTF-8") from error
    # Its own error is a ValueError; numbers and nesting beyond all reason raise others.
    except (ValueError, RecursionError) as error:
        raise wrong(path, f"is not TOML: {error}") from error


def _converted(value: object, kind: type[S], *, path: Path, at: str) -> S:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__)
        hint = f" (the keys here are {known})" if "field" in str(error) else ""
        said = str(error).replace("Object contains", "contains").replace("Object missing", "lacks")
        said = said.replace("`object`", "a table").replace(" - at `$.", " at `")
        raise wrong(path, f"{at} {said}{hint}".strip()) from error


def _spec(name: str, table: _Model, *, path: Path, at: str) -> ModelSpec:
    if issue := _url_issue(table.url):
        raise wrong(path, f"{at} url: {issue}")
    if table.api_key_env and table.api_key_file:
        raise wrong(path, f"{at} api_key_env, api_key_file: only one of them can be given")
    folder = path.absolute().parent
    endpoint = Endpoint(
        url=table.url.rstrip("/").removesuffix("/embeddings") + "/embeddings",
        model=table.model or name,
        query_prefix=table.query_prefix,
        passage_prefix=table.passage_prefix,
        api_key_env=table.api_key_env,
        api_key_file=folder / table.api_key_file if table.api_key_file else None,
        tokenizer=folder / table.tokenizer if table.tokenizer else None,
        timeout_s=table.timeout_s,
        concurrency=table.concurrency,
        batch_tokens=table.batch_tokens,
        batch_items=table.batch_items,
    )
    return ModelSpec(
        name=name,
        dimensions=table.dimensions,
        tokens_max=table.tokens_max,
        version=table.version,
        description=f"{endpoint.model} behind a server, from the models file.",
        license="",
        megabytes=0,
        endpoint=endpoint,
    )


def _name_issue(name: str) -> str:
    if name == MINILM.name:
        return "is the name of the built-in model; choose another name"
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        return f"must be a name of 1 to {NAME_CHARACTERS_MAX} printable characters"
    return ""


def _url_issue(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch("[!-~]+", url):
        return "must be like http://127.0.0.1:8080/v1"
    try:  # what would come out only when it is asked
        httpx.URL(url).host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return "is not a URL"
    if parts.username is not None or parts.password is not None:
        return "must not hold a password; use api_key_env or api_key_file"
    if parts.query or parts.fragment:
        return "must not have a query or a fragment"
    return ""


def _quoted(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else f'"{name}"'
