"""/rags/{id}/query."""

from litestar import Response, post
from litestar.di import NamedDependency, Provide

from engine import errors
from engine.api.call import Call, presumed
from engine.api.edge import refused
from engine.api.native import translate, wire
from engine.api.native.endpoint import described, ok
from engine.hits import Hit
from engine.models import RagId, SourceId


@post(
    "/rags/{id:str}/query",
    status_code=200,
    dependencies={"call": Provide(presumed)},
    opt=described(
        "Find the passages of a RAG that answer a question, best first",
        tag="query",
        body=wire.Query,
        answer=wire.Hits,
        raises=(
            errors.RagNotFound,
            errors.RagNotReady,
            errors.BodyTooLarge,
            errors.ModelUnavailable,
        ),
    ),
)
async def query_rag(call: NamedDependency[Call]) -> Response[bytes]:
    async with call.confirmed():
        hits = await _hits(call)
    return ok(wire.Hits(results=tuple(translate.hit(each) for each in hits)))


async def _hits(call: Call) -> tuple[Hit, ...]:
    rag_id = RagId(call.id("id"))
    body = await call.json(wire.Query)
    if body.source_ids == ():
        # Whoever may see nothing must not be shown everything.
        raise refused("source_ids", "must name a source; leave it out to ask all of them")
    return await call.verbs.search.query(
        call.customer_id,
        rag_id,
        query=body.query,
        top_k=body.top_k,
        mode=body.mode,
        source_ids=tuple(SourceId(each) for each in wire.given(body.source_ids) or ()),
        given_filter=wire.given(body.filter),
        min_score=wire.given(body.min_score),
        with_neighbours=body.with_neighbours,
        token_hash=call.token_hash,
    )


HANDLERS = (query_rag,)
