"""/rags and /rags/{id}."""

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from msgspec import UNSET

from engine import errors, models
from engine.api.call import Call
from engine.api.native import translate, wire
from engine.api.native.endpoint import (
    CREATING,
    KEYED,
    PAGE,
    described,
    ok,
    ok_once,
    ok_unless_known,
)
from engine.api.openapi import Parameter
from engine.models import FileId, NewRag, NewSources, RagId, Upload
from engine.profiles import Wanted

TAG = "rags"
ADDING = (
    errors.StorageFileNotFound,
    errors.SourceExists,
    errors.BodyTooLarge,
    errors.FileTooLarge,
    errors.TooManySources,
    errors.SourceQuotaExceeded,
    errors.StorageQuotaExceeded,
    errors.QueueFull,
    *CREATING,
    errors.StorageUnavailable,
)
IF_NONE_MATCH = Parameter(
    "If-None-Match", "The ETag of an earlier answer.", {"type": "string"}, place="header"
)


@post(
    "/rags",
    status_code=200,
    opt=described(
        "Make a RAG, with files and URLs or empty: all or nothing",
        tag=TAG,
        body=wire.NewRag,
        form="files",
        parameters=KEYED,
        answer=wire.Rag,
        raises=ADDING,
    ),
)
async def create_rag(call: NamedDependency[Call]) -> Response[bytes]:
    body, uploads = await call.json_or_form(wire.NewRag)
    new = NewRag(
        name=body.name,
        description=body.description,
        sources=new_sources(body, uploads=uploads),
        embedding_model=wire.given(body.embedding_model),
        chunk_tokens=wire.given(body.chunk_tokens),
        chunk_overlap_tokens=wire.given(body.chunk_overlap_tokens),
    )
    return await ok_once(
        call,
        lambda keep: call.verbs.rags.create(call.customer_id, new, keep=keep),
        shape=translate.rag,
        kept=translate.rag,
    )


def new_sources(
    body: wire.NewRag | wire.NewSources, *, uploads: tuple[Upload, ...]
) -> models.NewSources:
    """The sources that a body and the files next to it ask for."""
    return NewSources(
        file_ids=tuple(FileId(each) for each in body.storage_file_ids),
        urls=body.source_urls,
        uploads=uploads,
        attributes=body.attributes,
        source_attributes=body.source_attributes,
    )


@get(
    "/rags",
    status_code=200,
    opt=described("List RAGs, newest first", tag=TAG, parameters=PAGE, answer=wire.RagList),
)
async def list_rags(call: NamedDependency[Call]) -> Response[bytes]:
    page = await call.verbs.rags.list(
        call.customer_id, page_size=call.page_size(), after=call.time_cursor()
    )
    return ok(
        wire.RagList(
            result=tuple(translate.rag(each) for each in page.items),
            next_page_token=call.next_page_token(page),
        )
    )


@get(
    "/rags/{id:str}",
    status_code=200,
    opt=described(
        "Read a RAG: poll here until its status is ready",
        tag=TAG,
        parameters=(IF_NONE_MATCH,),
        answer=wire.Rag,
        raises=(errors.RagNotFound,),
        not_modified=True,
    ),
)
async def read_rag(call: NamedDependency[Call]) -> Response[bytes]:
    rag = await call.verbs.rags.get(call.customer_id, RagId(call.id("id")))
    return ok_unless_known(translate.rag(rag), if_none_match=call.header("if-none-match"))


@put(
    "/rags/{id:str}",
    status_code=200,
    opt=described(
        "Change the name, the description, or in the background how chunks are made",
        tag=TAG,
        body=wire.RagUpdate,
        answer=wire.Rag,
        raises=(errors.RagNotFound, errors.BodyTooLarge),
    ),
)
async def update_rag(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id = RagId(call.id("id"))
    body = await call.json(wire.RagUpdate)
    rag = await call.verbs.rags.update(
        call.customer_id,
        rag_id,
        name=wire.given(body.name),
        description=wire.given(body.description),
        profile=_wanted(body),
    )
    return ok(translate.rag(rag))


def _wanted(body: wire.RagUpdate) -> Wanted | None:
    given = (body.embedding_model, body.chunk_tokens, body.chunk_overlap_tokens)
    if all(each is UNSET for each in given):
        return None
    return Wanted(
        embedding_model=wire.given(body.embedding_model),
        chunk_tokens=wire.given(body.chunk_tokens),
        chunk_overlap_tokens=wire.given(body.chunk_overlap_tokens),
    )


@delete(
    "/rags/{id:str}",
    status_code=200,
    opt=described(
        "Delete a RAG and everything in it; answers with the RAG as it was",
        tag=TAG,
        answer=wire.Rag,
        raises=(errors.RagNotFound,),
    ),
)
async def delete_rag(call: NamedDependency[Call]) -> Response[bytes]:
    return ok(translate.rag(await call.verbs.rags.delete(call.customer_id, RagId(call.id("id")))))


HANDLERS = (create_rag, list_rags, read_rag, update_rag, delete_rag)
