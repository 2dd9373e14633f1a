"""Settings: typed, validated, frozen. The only reader of the environment.

Every name has the prefix RAG_ENGINE_; each may also be given as RAG_ENGINE_<NAME>_FILE, the path
of a file with the value, for secrets. Docs: docs/operating.md (a test compares).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from engine.addresses import AllowList, AllowListError

PREFIX = "RAG_ENGINE_"
MIB = 1024 * 1024
OPTIONAL_PATHS = frozenset({"models_dir", "models_file"})  # set but empty: not given
# Bytes that a shared secret must have, by algorithm: as many as its hash (RFC 7518, 3.2).
JWT_SECRET_BYTES_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}
JWT_RSA_BITS_MIN = 2048
JWT_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
JWT_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
JWT_ALGORITHMS = (*JWT_SECRET_BYTES_MIN, *JWT_RSA, *JWT_CURVES, "EdDSA")
BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})|%00")
S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it and says what would be right."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine refuses. Each can be set as RAG_ENGINE_<NAME IN CAPITALS>."""

    file_bytes_max: int = 100 * MIB
    request_bytes_max: int = 1024 * MIB
    json_bytes_max: int = 10 * MIB
    fetch_bytes_max: int = 50 * MIB
    fetch_redirects_max: int = 5
    fetch_timeout_s: float = 30.0
    document_characters_max: int = 20_000_000
    document_pages_max: int = 10_000
    document_chunks_max: int = 100_000
    archive_members_max: int = 10_000
    archive_inflated_bytes_max: int = 256 * MIB
    archive_ratio_max: int = 200
    sandbox_memory_bytes: int = 512 * MIB
    sandbox_timeout_s: float = 120.0
    request_sources_max: int = 1_000
    rag_sources_max: int = 100_000
    name_characters_max: int = 255
    description_characters_max: int = 4_096
    url_characters_max: int = 2_048
    query_characters_max: int = 4_096
    top_k_max: int = 100
    source_attributes_max: int = 16
    attribute_key_characters_max: int = 64
    attribute_value_characters_max: int = 256
    filter_conditions_max: int = 32
    filter_values_max: int = 256
    filter_depth_max: int = 8
    exact_chunks_max: int = 2_000
    ann_s: float = 10.0
    ann_memory_bytes: int = 512 * MIB
    ann_processes: int = 1
    terms_remembered_bytes_max: int = 256 * MIB
    folder_depth_max: int = 20
    customer_folders_max: int = 10_000
    customer_indexed_bytes_max: int = 10 * 1024 * MIB
    customer_stored_bytes_max: int = 100 * 1024 * MIB
    customer_sources_max: int = 1_000_000
    customer_queued_sources_max: int = 100_000
    customer_requests_per_s: float = 200.0
    customer_requests_burst: int = 2_000
    address_requests_per_s: float = 50.0
    address_requests_burst: int = 500
    customer_idempotency_keys_max: int = 100_000
    idempotency_keep_s: float = 86_400.0
    database_waiting_max: int = 200
    uploads_max: int = 64
    spool_free_bytes_min: int = 256 * MIB
    indexed_document_bytes_min: int = 500
    text_wait_s: float = 10.0
    link_expire_s: float = 3_600.0
    page_size_max: int = 100
    faults_max: int = 3
    retry_base_s: float = 5.0
    lease_s: float = 60.0
    poll_s: float = 2.0
    sweep_s: float = 2.0
    orphan_age_s: float = 3_600.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of RAG_ENGINE_*. Empty DATABASE_URL or REDIS_URL: `up` starts embedded ones."""

    database_url: str = ""
    redis_url: str = ""
    storage_url: str = ""
    data_dir: Path = Path(".data")
    models_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    workers: int = 1
    api_processes: int = 1
    worker_jobs: int = 4
    database_connections: int = 10
    log_level: str = "INFO"
    bootstrap_key: str = ""
    allow_networks: tuple[str, ...] = ()
    models_file: Path | None = None
    jwt_key: str = ""
    jwt_algorithm: str = "HS256"
    jwt_audience: str = ""
    embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    # Measured: the figures are in docs/decisions/0005-chunking.md.
    chunk_tokens: int = 250
    chunk_overlap_tokens: int = 60
    embed_batch_tokens: int = 1_024
    failpoint: str = ""
    limits: Limits = Limits()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Read RAG_ENGINE_* (overrides win). Raises SettingsError, naming the setting."""
        env = os.environ if environ is None else environ
        given = _given(cls, env) | {key: v for key, v in overrides.items() if v is not None}
        limits = _converted(Limits, _given(Limits, env))
        settings = _converted(cls, given | {"limits": limits})
        _check(settings)
        return settings

    @property
    def models_path(self) -> Path:
        """Where model folders are cached."""
        return self.models_dir or self.data_dir / "models"

    @property
    def blobs_url(self) -> str:
        """Where bytes are stored: STORAGE_URL, else a folder in the data folder."""
        return self.storage_url or (self.data_dir.absolute() / "blobs").as_uri()

    @property
    def base_url(self) -> str:
        """The address under which clients reach the API, without a trailing slash."""
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where they are reached
        host = wildcards.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    def env(self) -> dict[str, str]:
        """These settings as RAG_ENGINE_* variables, for a child process."""
        values = msgspec.to_builtins(self, enc_hook=str)
        limits = values.pop("limits")
        flat = {**values, **limits}
        return {
            PREFIX + name.upper(): ",".join(value) if name == "allow_networks" else str(value)
            for name, value in flat.items()
            if value is not None
        }


def _given(kind: type[msgspec.Struct], env: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        if name == "limits":
            continue
        value = _read(env, PREFIX + name.upper())
        if value is not None and not (value == "" and name in OPTIONAL_PATHS):
            found[name] = _split(value) if name == "allow_networks" else value
    return found


def _read(env: Mapping[str, str], variable: str) -> str | None:
    if path := env.get(variable + "_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{variable}_FILE: cannot read {path}: {error.strerror}") from error
    return env.get(variable)


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _converted(kind: type[S], values: dict[str, Any]) -> S:
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, kind, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{PREFIX}{name.upper()}: {error} (got {value!r})") from error
    return msgspec.convert(values, kind, strict=False, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser()
    raise NotImplementedError(kind)


def _check(settings: Settings) -> None:
    for url_name in ("database_url", "redis_url", "storage_url", "public_url"):
        url = getattr(settings, url_name)
        if url and not urlsplit(url).scheme:
            raise SettingsError(f"{PREFIX}{url_name.upper()}: needs a scheme, like postgresql://…")
        if url_name in ("database_url", "redis_url") and BARE_PERCENT.search(url):
            # Told here and without the value: libraries would quote the password it stands in.
            raise SettingsError(f"{PREFIX}{url_name.upper()}: write % in a password as %25")
    for name in ("workers", "api_processes", "worker_jobs", "chunk_tokens", "database_connections"):
        if getattr(settings, name) < 1:
            raise SettingsError(f"{PREFIX}{name.upper()}: must be at least 1")
    try:
        AllowList.parse(settings.allow_networks)
    except AllowListError as error:
        raise SettingsError(f"{PREFIX}ALLOW_NETWORKS: {error}") from error
    if not 0 <= settings.chunk_overlap_tokens < settings.chunk_tokens:
        raise SettingsError(f"{PREFIX}CHUNK_OVERLAP_TOKENS: must be below CHUNK_TOKENS")
    for name in Limits.__struct_fields__:
        if getattr(settings.limits, name) <= 0:
            raise SettingsError(f"{PREFIX}{name.upper()}: must be above 0")
    _check_jwt(settings)


def _check_jwt(settings: Settings) -> None:
    if settings.jwt_algorithm not in JWT_ALGORITHMS:
        raise SettingsError(f"{PREFIX}JWT_ALGORITHM: must be one of {', '.join(JWT_ALGORITHMS)}")
    if not settings.jwt_key:
        return
    if not settings.jwt_audience:
        raise SettingsError(f"{PREFIX}JWT_AUDIENCE: is needed together with JWT_KEY")
    issue = (
        _secret_issue(settings.jwt_key, bytes_min=JWT_SECRET_BYTES_MIN[settings.jwt_algorithm])
        if settings.jwt_algorithm in JWT_SECRET_BYTES_MIN
        else _public_key_issue(settings.jwt_key, algorithm=settings.jwt_algorithm)
    )
    if issue:
        # Never the value: a message ends in logs.
        raise SettingsError(f"{PREFIX}JWT_KEY: {issue} for {settings.jwt_algorithm}")


def _secret_issue(key: str, *, bytes_min: int) -> str:
    """A public key as a shared secret would let everybody sign: it is refused in every form."""
    starts = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")
    if "-----BEGIN" in key or key.startswith(starts) or '"kty"' in key:
        return "must be a shared secret, not a key in PEM, OpenSSH or JWK form,"
    if len(key.encode("utf-8", "surrogatepass")) < bytes_min:
        return f"must be a secret of at least {bytes_min} bytes"
    return ""


def _public_key_issue(key: str, *, algorithm: str) -> str:
    # Imported here: only an engine that accepts tokens pays for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if "PRIVATE KEY-----" in key:
        return "must be the public key, not the private one,"
    try:
        public = load_pem_public_key(key.encode("utf-8", "surrogatepass"))
    except (ValueError, UnsupportedAlgorithm):
        return "must be a public key in PEM form"
    if algorithm in JWT_RSA:
        fits = isinstance(public, rsa.RSAPublicKey) and public.key_size >= JWT_RSA_BITS_MIN
        return "" if fits else f"must be an RSA key of at least {JWT_RSA_BITS_MIN} bits"
    if curve := JWT_CURVES.get(algorithm):
        fits = isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == curve
        return "" if fits else f"must be a key on the curve {curve}"
    fits = isinstance(public, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
    return "" if fits else "must be an Ed25519 or Ed448 key"
