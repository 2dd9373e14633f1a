"""Customers with one of everything, and a digest of all rows and bytes that belong to one.

What they have is made through the API. What is asked of whom stands in fix_cases.py.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx
import jwt
import msgspec
import psycopg
from fix_engine import new_customer
from psycopg import sql

from engine.config import Limits, Settings

JWT_KEY = "a shared secret of this folder's tests, long enough"
KB = "/v1/convai/knowledge-base"
MODEL = "e5_mistral_7b_instruct"
NOBODY = "0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10"
READY_TIMEOUT_S = 60.0
# What rag_api may do where rows are a customer's: everything else is done by workers.
CHANGED_BY_THE_API = {
    "accesskeys",
    "blobs",
    "files",
    "folders",
    "idempotency_keys",
    "indexes",
    "profiles",
    "rags",
    "sources",
}
READ_BY_THE_API = {
    "ann_tables",
    "customers",
    "documents",
    "chunks",
    "dead_members",  # and added to, by a delete
    "postings",
    "segment_members",
    "segments",
}
LIMITS = Limits(
    text_wait_s=0.2,
    exact_chunks_max=1,  # so that each has ANN tables
    ann_s=0.2,
    customer_requests_per_s=10_000.0,
    customer_requests_burst=100_000,
    address_requests_per_s=10_000.0,
    address_requests_burst=100_000,
)


ENTERED = """
    SELECT true WHERE NOT EXISTS (
        SELECT FROM rags r LEFT JOIN ann_tables a ON a.profile_id = r.profile_live
        WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL AND a.number IS NULL
    ) AND NOT EXISTS (
        SELECT FROM indexes i JOIN ann_tables a USING (profile_id)
        WHERE i.customer_id = %(customer_id)s
          AND i.ann_generation IS DISTINCT FROM i.generation_live)
"""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A customer. `ids` has one of each kind; `word` stands in all its texts and names."""

    customer_id: str
    token: str
    word: str
    ids: Mapping[str, str]

    def jwt(self, **changed: Any) -> str:
        """A signed token that names this customer; `key` and `algorithm` sign, the rest claims."""
        signing = {name: changed.pop(name) for name in ("key", "algorithm") if name in changed}
        claims = {"customer_id": self.customer_id, "aud": "tenants", "exp": time.time() + 600}
        return jwt.encode(claims | changed, **{"key": JWT_KEY, "algorithm": "HS256"} | signing)

    def headers(self, prefix: str) -> dict[str, str]:
        """What lets it in at the door with this prefix."""
        if prefix == "/v1/convai":
            return {"xi-api-key": self.token}
        if prefix == "/v1/voiceai":
            return {"authorization": f"Bearer {self.jwt()}"}
        return {"authorization": f"Bearer {self.token}"}


class House(msgspec.Struct, frozen=True, kw_only=True):
    """`mine` asks for what is `theirs`; the twins have the same again, to be used up."""

    settings: Settings
    admin_url: str
    client: httpx.Client
    mine: Tenant
    twin: Tenant
    second_twin: Tenant
    theirs: Tenant

    def digest(self, tenant: Tenant) -> Mapping[str, str]:
        return digest(self.admin_url, self.settings, UUID(tenant.customer_id))


def tenant_tables(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Every table with rows of customers, from the catalog, and the column that says whose."""
    rows = connection.execute(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT a.attisdropped
          AND (a.attname = 'customer_id' OR (c.relname = 'customers' AND a.attname = 'id'))
        ORDER BY 1
        """
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def digest(admin_url: str, settings: Settings, customer_id: UUID) -> Mapping[str, str]:
    """A hash of each table's rows of a customer, and of its files."""
    found = {}
    with psycopg.connect(admin_url) as connection:
        for table, column in tenant_tables(connection).items():
            query = sql.SQL("SELECT t::text FROM {} t WHERE {} = %s ORDER BY 1").format(
                sql.Identifier(table), sql.Identifier(column)
            )
            rows = connection.execute(query, [customer_id]).fetchall()
            found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    files = sorted(path.name for path in blob_folder(settings, customer_id).rglob("*"))
    return MappingProxyType({**found, "files": repr(files)})


def blob_folder(settings: Settings, customer_id: UUID) -> Path:
    return settings.data_dir / "blobs" / str(customer_id)


def furnished(settings: Settings, *owners: str, client: httpx.Client) -> list[Tenant]:
    """New customers with one of everything each, all of it read and indexed."""
    movers = [_Mover(settings, owner=owner, client=client) for owner in owners]
    for mover in movers:
        mover.bring()
    return [mover.settle() for mover in movers]


class _Mover:
    """Brings a customer's things, and waits for them: apart, so that a worker has them together."""

    def __init__(self, settings: Settings, *, owner: str, client: httpx.Client) -> None:
        self._client = client
        self._settings = settings
        self._token = new_customer(settings, f"customer {owner}")
        self._word = f"heliotrope{owner}"
        self._native = {"authorization": f"Bearer {self._token}"}
        self._door = {"xi-api-key": self._token}
        self._ids: dict[str, str] = {}

    def bring(self) -> None:
        ids, word, text = self._ids, self._word, f"The {self._word} grows in the garden. " * 40
        ids["key"] = self._made("/accesskeys", json={"name": word})["id"]
        upload = {"file": (f"{word}.txt", f"{text} uploaded", "text/plain")}
        ids["file"] = self._made("/storage_files", files=upload)["id"]
        asked = {"name": word, "storage_file_ids": [ids["file"]]}
        rag = self._made("/rags", json=asked, headers={"idempotency-key": "first"})
        ids |= {"rag": rag["id"], "source": rag["sources"][0]["id"]}
        for kind in ("folder", "parent"):
            ids[kind] = self._made(f"{KB}/folder", json={"name": f"{word} {kind}"})["id"]
        inside = {"text": text, "name": f"{word} text", "parent_folder_id": ids["folder"]}
        ids["document"] = self._made(f"{KB}/text", json=inside)["id"]
        paper = {"file": (f"{word}.md", text)}
        ids["paper"] = self._made(f"{KB}/file", files=paper)["id"]
        path = f"{KB}/{ids['document']}/rag-index"
        ids["index"] = self._made(path, json={"model": MODEL})["id"]

    def settle(self) -> Tenant:
        document = f"{KB}/{self._ids['document']}"
        self._until(f"/rags/{self._ids['rag']}", lambda body: body["status"] == "ready")
        self._until(
            f"{document}/rag-index",
            lambda body: body["indexes"][0]["status"] == "succeeded",
        )
        chunks = self._got(f"{document}/chunks", params={"embedding_model": MODEL})["chunks"]
        self._ids["chunk"] = chunks[0]["id"]
        paper = f"{KB}/{self._ids['paper']}"
        self._until(paper, lambda body: body["extracted_inner_html"])
        link: str = self._got(f"{paper}/source-file-url")["signed_url"]
        self._ids["token"] = link.rpartition("/")[2]
        customer_id = self._got("/customer")["id"]
        self._until_entered(customer_id)
        return Tenant(customer_id=customer_id, token=self._token, word=self._word, ids=self._ids)

    def _until_entered(self, customer_id: str) -> None:
        """Each RAG has its ANN table, and all that answers is in it."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        with psycopg.connect(self._settings.database_url, autocommit=True) as connection:
            connection.execute("SET ROLE rag_operator")
            while not connection.execute(ENTERED, {"customer_id": customer_id}).fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def _until(self, path: str, is_done: Callable[[Any], object]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_done(body := self._got(path)):
            assert time.monotonic() < deadline, body
            time.sleep(0.1)

    def _made(self, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        told = {**self._headers(path), **(headers or {})}
        return _json(self._client.post(path, headers=told, **more))

    def _got(self, path: str, **more: Any) -> Any:
        return _json(self._client.get(path, headers=self._headers(path), **more))

    def _headers(self, path: str) -> Mapping[str, str]:
        return self._door if path.startswith(KB) else self._native


def _json(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()
