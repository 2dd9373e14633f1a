"""/knowledge-base: documents and folders, their rag indexes and chunks.

A handler decodes, calls a verb, encodes. What its answer looks like stands in wire.py.
"""

from collections.abc import Awaitable
from functools import partial
from typing import Any

from litestar import Response, delete, get, patch, post, route
from litestar.response import Stream

from engine.api.attachment import attachment
from engine.api.call import HttpRequest, Verbs
from engine.api.edge import place_token, refused
from engine.api.elevenlabs import translate, wire
from engine.api.elevenlabs.call import DoorCall
from engine.api.elevenlabs.schema import ID, KB, Call, told
from engine.entries import EntryCursor, EntryFilter, EntryKind, EntrySort, EntryText, SortDirection
from engine.errors import ChunkNotFound, CrawlNotSupported, RagIndexNotFound
from engine.models import ChunkId, Cursor, IndexId, SourceId

TEXT = "text/plain"
FORM: dict[str, Any] = {"form": "file", "form_only": True}
IN_QUERY = "name parent_folder_id"
LISTED = (
    "page_size search show_only_owned_documents created_by_user_id types parent_folder_id"
    " ancestor_folder_id folders_first sort_direction sort_by cursor"
)
SUMMARIES_MAX = 100
MODEL = "embedding_model"
DEFAULT_MODEL = "e5_mistral_7b_instruct"
CRAWLS = [KB + "/crawl", KB + "/crawl/{job_id:str}", KB + "/crawl/{job_id:str}/cancel"]


async def _read(call: DoorCall, read: Awaitable[EntryText]) -> wire.Document:
    return translate.document(await read, owner=await call.owner())


@post(KB + "/text", **told("Create from text", body=wire.NewText))
async def create_from_text(call: Call) -> wire.Added:
    body = await call.placed_json(wire.NewText)
    folder_id, create = call.folder_id(body.parent_folder_id), call.verbs.documents.create_text
    return await call.added(partial(create, text=body.text, name=body.name, folder_id=folder_id))


@post(KB + "/url", **told("Create from a URL", body=wire.NewUrl))
async def create_from_url(call: Call) -> wire.Added:
    body = await call.unsynced(wire.NewUrl)
    folder_id, create = call.folder_id(body.parent_folder_id), call.verbs.documents.create_url
    return await call.added(partial(create, url=body.url, name=body.name, folder_id=folder_id))


@post(KB + "/file", **told("Create from a file", body=wire.NewFile, query=IN_QUERY, **FORM))
async def create_from_file(call: Call) -> wire.Added:
    """One of the vendors has the other fields in the query, the other one in the form."""
    texts, upload = await call.form_with_file("file")
    name, folder = (texts.get(each) or call.parameters.text(each) for each in IN_QUERY.split())
    folder_id, create = call.folder_id(folder), call.verbs.documents.create_file
    make = partial(create, upload=upload, name=name or None, folder_id=folder_id)
    return await call.added(make)


@post(KB, **told("Create (deprecated)", body=wire.NewFileOrUrl, form_required=False, **FORM))
async def create_document(call: Call) -> wire.Added:
    texts, upload = await call.form_or_file("file")
    name, documents = texts.get("name") or None, call.verbs.documents
    if upload is not None:
        make = partial(documents.create_file, upload=upload, name=name, folder_id=None)
        return await call.added(make)
    if not (url := texts.get("url")):
        raise refused("body.file", "is required")
    return await call.added(partial(documents.create_url, url=url, name=name, folder_id=None))


@get(ID, **told("Read a document or a folder"))
async def read_document(call: Call) -> wire.Document:
    return await _read(call, call.verbs.library.read(call.customer_id, call.path_id()))


@patch(ID, **told("Change name or content", body=wire.Update))
async def update_document(call: Call) -> wire.Document:
    entry_id, body = call.path_id(), await call.unsynced(wire.Update)
    update = call.verbs.documents.update
    found = update(call.customer_id, entry_id, name=body.name, content=body.content)
    return await _read(call, found)


@patch(ID + "/update-file", **told("Replace the file", **FORM))
async def update_file(call: Call) -> wire.Document:
    entry_id, (_, upload) = call.path_id(), await call.form_with_file("file")
    replace = call.verbs.documents.replace_file
    return await _read(call, replace(call.customer_id, entry_id, upload=upload))


@post(ID + "/refresh", **told("Read it anew from where it came"))
async def refresh_document(call: Call) -> wire.Document:
    return await _read(call, call.verbs.documents.refresh(call.customer_id, call.path_id()))


@get(ID + "/content", **told("Read the text", media_type=TEXT))
async def read_content(call: Call) -> Response[bytes]:
    text = await call.verbs.library.text(call.customer_id, call.path_id())
    return Response(text.encode(), media_type=TEXT, headers={"X-Content-Type-Options": "nosniff"})


@get(ID + "/source-file-url", **told("A link to the file that works without a key"))
async def read_source_file_url(call: Call) -> dict[str, str]:
    token = await call.verbs.documents.source_file_link(call.customer_id, call.path_id())
    return {"signed_url": f"{call.base_url}{call.vendor.prefix}{KB}/source-file/{token}"}


@get(KB + "/source-file/{token:str}", status_code=200)
async def download_source_file(request: HttpRequest) -> Stream:
    verbs: Verbs = request.app.state.verbs
    return await attachment(*await verbs.documents.linked_file(request.path_params["token"]))


@get(KB, **told("List documents and folders", query=LISTED))
async def list_documents(call: Call) -> wire.DocumentList:
    given, page_size = call.parameters, call.page_size()
    wanted = EntryFilter(
        prefix=given.text("search"),
        kinds=given.choices("types", EntryKind),
        creator=given.text("created_by_user_id"),
        parent_id=call.folder_id(given.text("parent_folder_id")),
        ancestor_id=call.folder_id(given.text("ancestor_folder_id")),
        folders_first=given.flag("folders_first"),
        sort=(EntrySort.CREATED_AT, *given.choices("sort_by", EntrySort))[-1],
        descending=SortDirection.ASC not in given.choices("sort_direction", SortDirection)[-1:],
    )
    after, listed, owner = given.cursor(EntryCursor), call.verbs.library.list, await call.owner()
    page = await listed(call.customer_id, filter=wanted, page_size=page_size, after=after)
    documents = tuple(translate.summary(each, owner=owner) for each in page.items)
    more = place_token(page.next)
    return wire.DocumentList(documents=documents, next_cursor=more, has_more=more is not None)


@post(KB + "/folder", **told("Create a folder", body=wire.NewFolder))
async def create_folder(call: Call) -> wire.Added:
    body = await call.unsynced(wire.NewFolder)
    parent_id, create = call.folder_id(body.parent_folder_id), call.verbs.library.create_folder
    return await call.added(partial(create, name=body.name, parent_id=parent_id))


@delete(ID, **told("Delete a document or a folder", query="force"))
async def delete_document(call: Call) -> dict[str, str]:
    entry_id, force = call.path_id(), call.parameters.flag("force")
    entry = await call.verbs.library.delete(call.customer_id, entry_id, force=force)
    return {"id": str(entry.id)}


@post(KB + "/bulk-delete", **told("Delete several", body=wire.BulkDelete))
async def delete_documents(call: Call) -> wire.RemovedById:
    body, remove = await call.placed_json(wire.BulkDelete), call.verbs.library.delete_many
    done = await remove(call.customer_id, body.document_ids, force=bool(body.force))
    return {key: translate.outcome(each, lambda e: {"id": str(e.id)}) for key, each in done.items()}


@post(ID + "/move", **told("Move into a folder", body=wire.Move))
async def move_document(call: Call) -> dict[str, str]:
    entry_id, body = call.path_id(), await call.placed_json(wire.Move)
    folder_id = call.folder_id(body.move_to)
    await call.verbs.library.move(call.customer_id, [entry_id], folder_id=folder_id)
    return {}


@post(KB + "/bulk-move", **told("Move several into a folder", body=wire.BulkMove))
async def move_documents(call: Call) -> dict[str, str]:
    body = await call.placed_json(wire.BulkMove)
    ids, folder_id = [*map(call.entry_id, body.document_ids)], call.folder_id(body.move_to)
    await call.verbs.library.move(call.customer_id, ids, folder_id=folder_id)
    return {}


@get(KB + "/summaries", **told("Summaries by id", query="document_ids"))
async def read_summaries(call: Call) -> wire.SummarisedById:
    wanted, owner = call.parameters.texts("document_ids"), await call.owner()
    if not 1 <= len(wanted) <= SUMMARIES_MAX:
        raise refused("query.document_ids", f"must have 1 to {SUMMARIES_MAX} items")
    found = await call.verbs.library.many(call.customer_id, wanted)
    encode = partial(translate.summary, owner=owner)
    return {each: translate.outcome(found.get(each), encode) for each in wanted}


@get(KB + "/search", **told("Search the texts", query="query page_size types cursor"))
async def search(call: Call) -> wire.FoundList:
    given, page_size = call.parameters, call.page_size()
    query, kinds = given.text("query"), given.choices("types", EntryKind)
    offset = (given.cursor(Cursor) or Cursor()).position
    look = partial(call.verbs.search.library, query=query, kinds=kinds, page_size=page_size)
    hits, owner = await look(call.customer_id, offset=offset), await call.owner()
    more = Cursor(position=offset + page_size) if len(hits) > page_size else None
    results = (translate.found(hit, owner=owner, query=query) for hit in hits[:page_size])
    return wire.FoundList(results=tuple(results), next_cursor=place_token(more))


@get(ID + "/dependent-agents", **told("None: there are no agents"))
async def read_agents(call: Call) -> wire.Agents:
    await call.verbs.library.get(call.customer_id, call.path_id())
    return wire.Agents()


@post(KB + "/dependent-agents", **told("None: there are no agents", body=wire.Several))
async def read_agents_of_several(call: Call) -> wire.Agents:
    await call.placed_json(wire.Several)
    return wire.Agents()


@get("/agent/{agent_id:str}/knowledge-base/size", **told("Pages of all documents"))
async def read_size(call: Call) -> dict[str, float]:
    return {"number_of_pages": await call.verbs.library.page_count(call.customer_id)}


@route(CRAWLS, http_method=["GET", "POST"], status_code=200)
async def crawl(call: Call) -> None:
    raise CrawlNotSupported("Crawling is not supported: create documents from their URLs.")


@post(KB + "/rag-index", **told("Compute several", body=wire.IndexBatch))
async def compute_indexes(call: Call) -> wire.IndexedById:
    """Keyed by document: of two items for one document the last one answers."""
    items = (await call.placed_json(wire.IndexBatch)).items
    for number, item in enumerate(items):
        call.model(item.model, field=f"body.items[{number}].model")
    pairs = zip(items, await call.verbs.indexes.ensure(call.customer_id, items), strict=True)
    return {each.document_id: translate.outcome(done, translate.index) for each, done in pairs}


@get(KB + "/rag-index", **told("What the indexes count against the limit"))
async def read_overview(call: Call) -> wire.Overview:
    found = await call.verbs.indexes.overview(call.customer_id)
    used = [each for each in sorted(found.models.items()) if each[0] in call.vendor.models]
    models = tuple(wire.ModelUsage(*each) for each in used)
    return wire.Overview(found.used_bytes, found.bytes_max, models)


@post(ID + "/rag-index", **told("Compute one", body=wire.IndexModel))
async def compute_index(call: Call) -> wire.Index:
    entry_id, body = call.path_id(), await call.placed_json(wire.IndexModel)
    model = call.model(body.model, field="body.model")
    compute = call.verbs.indexes.compute
    return translate.index(await compute(call.customer_id, entry_id, model=model))


@get(ID + "/rag-index", **told("The indexes of a document"))
async def list_indexes(call: Call) -> wire.IndexList:
    indexes = await call.verbs.indexes.list(call.customer_id, call.path_id())
    known = (each for each in indexes if each.model in call.vendor.models)
    return {"indexes": tuple(map(translate.index, known))}


@delete(ID + "/rag-index/{index_id:str}", **told("Delete an index"))
async def delete_index(call: Call) -> wire.Index:
    entry_id, index_id = call.path_id(), IndexId(call.path_id("index_id", RagIndexNotFound))
    return translate.index(await call.verbs.indexes.delete(call.customer_id, entry_id, index_id))


@get(ID + "/chunks", **told("The chunks of an index", query=MODEL + " page_size cursor"))
async def list_chunks(call: Call) -> wire.ChunkList:
    source_id, library = SourceId(call.path_id()), call.verbs.library
    model = call.model(call.parameters.text(MODEL), field="query." + MODEL)
    page_size, after = call.page_size(), call.parameters.cursor(Cursor)
    entry = await library.get(call.customer_id, source_id)
    page = await library.chunks(
        call.customer_id, source_id, model=model, page_size=page_size, after=after
    )
    chunks = tuple(translate.chunk(each, document_name=entry.name) for each in page.items)
    return wire.ChunkList(chunks=chunks, next_cursor=place_token(page.next))


@get(ID + "/chunk/{chunk_id:str}", **told("One chunk", query=MODEL))
async def read_chunk(call: Call) -> wire.Chunk:
    source_id = SourceId(call.path_id())
    chunk_id = ChunkId(call.path_id("chunk_id", ChunkNotFound))
    model = call.model(call.parameters.text(MODEL, default=DEFAULT_MODEL), field="query." + MODEL)
    entry = await call.verbs.library.get(call.customer_id, source_id)
    chunk = await call.verbs.library.chunk(call.customer_id, source_id, chunk_id, model=model)
    return translate.chunk(chunk, document_name=entry.name)
