"""/rags/{id}/sources and what lies below a source."""

from litestar import MediaType, Response, delete, get, post, put
from litestar.di import NamedDependency

from engine import errors
from engine.api.call import Call
from engine.api.edge import choice_of
from engine.api.native import translate, wire
from engine.api.native.endpoint import KEYED, PAGE, described, ok, ok_once
from engine.api.native.rags import ADDING, new_sources
from engine.api.openapi import Parameter
from engine.models import RagId, SourceId, State

TAG = "sources"
ONE = (errors.RagNotFound, errors.SourceNotFound)
STATUS = Parameter(
    "status", "Only sources in this state.", {"type": "string", "enum": [*map(str, State)]}
)


def _ids(call: Call) -> tuple[RagId, SourceId]:
    return RagId(call.id("id")), SourceId(call.id("source_id"))


@post(
    "/rags/{id:str}/sources",
    status_code=200,
    opt=described(
        "Add files and URLs to a RAG: all or nothing",
        tag=TAG,
        body=wire.NewSources,
        form="files",
        parameters=KEYED,
        answer=wire.Rag,
        made="/sources/0/id",
        raises=(errors.RagNotFound, *ADDING),
    ),
)
async def add_sources(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id = RagId(call.id("id"))
    body, uploads = await call.json_or_form(wire.NewSources)
    new = new_sources(body, uploads=uploads)
    return await ok_once(
        call,
        lambda keep: call.verbs.rags.add_sources(call.customer_id, rag_id, new, keep=keep),
        shape=translate.rag,
        kept=translate.rag,
    )


@get(
    "/rags/{id:str}/sources",
    status_code=200,
    opt=described(
        "List the sources of a RAG in the order of their creation",
        tag=TAG,
        parameters=(*PAGE, STATUS),
        answer=wire.SourceList,
        raises=(errors.RagNotFound,),
    ),
)
async def list_sources(call: NamedDependency[Call]) -> Response[bytes]:
    page = await call.verbs.rags.sources(
        call.customer_id,
        RagId(call.id("id")),
        page_size=call.page_size(),
        after=call.time_cursor(),
        state=choice_of(call.query("status"), State, field="status"),
    )
    return ok(
        wire.SourceList(
            result=tuple(translate.source(each) for each in page.items),
            next_page_token=call.next_page_token(page),
        )
    )


@get(
    "/rags/{id:str}/sources/{source_id:str}",
    status_code=200,
    opt=described(
        "Read a source, with its place in the queue", tag=TAG, answer=wire.Source, raises=ONE
    ),
)
async def read_source(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    source, place = await call.verbs.rags.source(call.customer_id, rag_id, source_id)
    return ok(translate.source(source, queue_position=place))


@put(
    "/rags/{id:str}/sources/{source_id:str}",
    status_code=200,
    opt=described(
        "Change the name of a source, or replace its attributes",
        tag=TAG,
        body=wire.SourceUpdate,
        answer=wire.Source,
        raises=(*ONE, errors.BodyTooLarge),
    ),
)
async def update_source(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    body = await call.json(wire.SourceUpdate)
    source = await call.verbs.sources.describe(
        call.customer_id,
        rag_id,
        source_id,
        name=wire.given(body.name),
        given=wire.given(body.attributes),
    )
    return ok(translate.source(source))


@delete(
    "/rags/{id:str}/sources/{source_id:str}",
    status_code=200,
    opt=described(
        "Remove a source; answers with the RAG as it is now",
        tag=TAG,
        answer=wire.Rag,
        raises=ONE,
    ),
)
async def delete_source(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    return ok(
        translate.rag(await call.verbs.rags.delete_source(call.customer_id, rag_id, source_id))
    )


@post(
    "/rags/{id:str}/sources/{source_id:str}/refresh",
    status_code=200,
    opt=described(
        "Fetch a source again, or try again after an error",
        tag=TAG,
        answer=wire.Source,
        raises=(*ONE, errors.QueueFull),
    ),
)
async def refresh_source(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    source = await call.verbs.rags.refresh_source(call.customer_id, rag_id, source_id)
    return ok(translate.source(source))


@get(
    "/rags/{id:str}/sources/{source_id:str}/text",
    status_code=200,
    opt=described(
        "Read the canonical text that all offsets point into",
        tag=TAG,
        media_type="text/plain",
        raises=ONE,
    ),
)
async def read_text(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    text = await call.verbs.documents.text(call.customer_id, rag_id, source_id)
    return Response(
        text.encode(),
        media_type=MediaType.TEXT,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@get(
    "/rags/{id:str}/sources/{source_id:str}/chunks",
    status_code=200,
    opt=described(
        "List the chunks of a source in document order",
        tag=TAG,
        parameters=PAGE,
        answer=wire.ChunkList,
        raises=ONE,
    ),
)
async def list_chunks(call: NamedDependency[Call]) -> Response[bytes]:
    rag_id, source_id = _ids(call)
    page = await call.verbs.documents.chunks(
        call.customer_id,
        rag_id,
        source_id,
        page_size=call.page_size(),
        after=call.position_cursor(),
    )
    return ok(
        wire.ChunkList(
            result=tuple(translate.chunk(each) for each in page.items),
            next_page_token=call.next_page_token(page),
        )
    )


HANDLERS = (
    add_sources,
    list_sources,
    read_source,
    update_source,
    delete_source,
    refresh_source,
    read_text,
    list_chunks,
)
