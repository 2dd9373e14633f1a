"""/accesskeys: keys of the caller's own customer."""

from litestar import Response, delete, get, post
from litestar.di import NamedDependency

from engine import errors
from engine.api.call import Call
from engine.api.native import translate, wire
from engine.api.native.endpoint import CREATING, KEYED, PAGE, described, ok, ok_once
from engine.models import AccessKeyId

TAG = "access keys"


@post(
    "/accesskeys",
    status_code=200,
    opt=described(
        "Make an access key; its token is shown this once",
        tag=TAG,
        body=wire.NewAccessKey,
        parameters=KEYED,
        answer=wire.AccessKey,
        raises=(errors.BodyTooLarge, *CREATING),
    ),
)
async def create_key(call: NamedDependency[Call]) -> Response[bytes]:
    body = await call.json(wire.NewAccessKey)
    # What is kept of the answer has no token: a key that can be read again is not shown once.
    return await ok_once(
        call,
        lambda keep: call.verbs.access.create_key(
            call.customer_id, name=body.name, expire_s=wire.given(body.expire_s), keep=keep
        ),
        shape=lambda made: translate.access_key(made[0], token=made[1]),
        kept=translate.access_key,
    )


@get(
    "/accesskeys",
    status_code=200,
    opt=described(
        "List access keys, newest first", tag=TAG, parameters=PAGE, answer=wire.AccessKeyList
    ),
)
async def list_keys(call: NamedDependency[Call]) -> Response[bytes]:
    page = await call.verbs.access.keys(
        call.customer_id, page_size=call.page_size(), after=call.time_cursor()
    )
    return ok(
        wire.AccessKeyList(
            result=tuple(translate.access_key(each) for each in page.items),
            next_page_token=call.next_page_token(page),
        )
    )


@delete(
    "/accesskeys/{id:str}",
    status_code=200,
    opt=described(
        "Revoke an access key",
        tag=TAG,
        answer=wire.AccessKey,
        raises=(errors.AccessKeyNotFound,),
    ),
)
async def delete_key(call: NamedDependency[Call]) -> Response[bytes]:
    key_id = AccessKeyId(call.id("id"))
    return ok(translate.access_key(await call.verbs.access.delete_key(call.customer_id, key_id)))


HANDLERS = (create_key, list_keys, delete_key)
