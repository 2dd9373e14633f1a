"""/storage_files: uploads that stay until their own DELETE."""

from functools import partial

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.response import Stream

from engine import errors
from engine.api.attachment import attachment
from engine.api.call import Call
from engine.api.edge import flag_of
from engine.api.native import translate, wire
from engine.api.native.endpoint import CREATING, KEYED, PAGE, described, ok, ok_once
from engine.api.openapi import Parameter
from engine.models import FileId

TAG = "storage files"
ONE = (errors.StorageFileNotFound,)
FORCE = Parameter(
    "force", "Remove the sources that use the file too.", {"type": "boolean", "default": False}
)


@post(
    "/storage_files",
    status_code=200,
    opt=described(
        "Upload a file",
        tag=TAG,
        body=wire.NewFile,
        form="file",
        form_only=True,
        parameters=KEYED,
        answer=wire.File,
        raises=(
            errors.BodyTooLarge,
            errors.FileTooLarge,
            errors.StorageQuotaExceeded,
            *CREATING,
            errors.StorageUnavailable,
        ),
    ),
)
async def upload_file(call: NamedDependency[Call]) -> Response[bytes]:
    body, uploads = await call.form(wire.NewFile, file_field="file", files_max=1, required=True)
    upload = msgspec.structs.replace(uploads[0], name=body.name or uploads[0].name)
    shape = partial(translate.file, base_url=call.base_url)
    return await ok_once(
        call,
        lambda keep: call.verbs.files.create(call.customer_id, upload, type=body.type, keep=keep),
        shape=shape,
        kept=shape,
    )


@get(
    "/storage_files",
    status_code=200,
    opt=described(
        "List uploaded files, newest first", tag=TAG, parameters=PAGE, answer=wire.FileList
    ),
)
async def list_files(call: NamedDependency[Call]) -> Response[bytes]:
    page = await call.verbs.files.list(
        call.customer_id, page_size=call.page_size(), after=call.time_cursor()
    )
    return ok(
        wire.FileList(
            result=tuple(translate.file(each, base_url=call.base_url) for each in page.items),
            next_page_token=call.next_page_token(page),
        )
    )


@get(
    "/storage_files/{id:str}",
    status_code=200,
    opt=described("Read what is known of a file", tag=TAG, answer=wire.File, raises=ONE),
)
async def read_file(call: NamedDependency[Call]) -> Response[bytes]:
    file = await call.verbs.files.get(call.customer_id, FileId(call.id("id")))
    return ok(translate.file(file, base_url=call.base_url))


@get(
    "/storage_files/{id:str}/file",
    status_code=200,
    opt=described(
        "Download a file's bytes",
        tag=TAG,
        media_type="*/*",
        raises=(*ONE, errors.StorageUnavailable),
    ),
)
async def download_file(call: NamedDependency[Call]) -> Stream:
    file, pieces = await call.verbs.files.read(call.customer_id, FileId(call.id("id")))
    return await attachment(file, pieces)


@delete(
    "/storage_files/{id:str}",
    status_code=200,
    opt=described(
        "Delete a file; answers with the file as it was",
        tag=TAG,
        parameters=(FORCE,),
        answer=wire.File,
        raises=(*ONE, errors.FileInUse),
    ),
)
async def delete_file(call: NamedDependency[Call]) -> Response[bytes]:
    file_id = FileId(call.id("id"))
    force = flag_of(call.query("force"), field="force")
    file = await call.verbs.files.delete(call.customer_id, file_id, force=force)
    return ok(translate.file(file, base_url=call.base_url))


HANDLERS = (upload_file, list_files, read_file, download_file, delete_file)
