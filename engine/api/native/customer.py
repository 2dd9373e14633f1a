"""/customer: who the caller is, what it may do and what it holds."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from engine import errors
from engine.api.call import Call
from engine.api.native import translate, wire
from engine.api.native.endpoint import described, ok


@get(
    "/customer",
    status_code=200,
    opt=described(
        "Read the customer that the access key speaks for",
        tag="customer",
        answer=wire.Customer,
        raises=(errors.CustomerNotFound,),
    ),
)
async def read_customer(call: NamedDependency[Call]) -> Response[bytes]:
    customer = await call.verbs.access.customer(call.customer_id)
    usage = await call.verbs.access.usage(call.customer_id)
    return ok(
        wire.Customer(
            id=customer.id,
            name=customer.name,
            limits=msgspec.convert(call.limits, wire.Limits, from_attributes=True),
            usage=msgspec.convert(usage, wire.Usage, from_attributes=True),
            tm_create=translate.time_text(customer.created_at),
        )
    )


HANDLERS = (read_customer,)
