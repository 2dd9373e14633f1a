"""`keys`: access keys of a customer, at the database and therefore without a key."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from engine.models import AccessKey, CustomerId

Action = Literal["list", "create", "delete"]


def keys(
    action: Action = "list",
    key: str | None = None,
    /,
    *,
    customer: str | None = None,
    name: str = "",
    expire_s: int | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> int:
    """List, create or delete access keys of a customer.

    Parameters
    ----------
    action
        list, create or delete.
    key
        For delete: id or prefix of the key.
    customer
        Id of the customer; the one of the local key unless given.
    name
        For create: a name for people.
    expire_s
        For create: seconds until the key expires; never unless given.
    json
        Print it as JSON.
    """
    from engine.cli import operating

    customer_id = (
        operating.customer_id_of(customer)
        if customer
        else asyncio.run(operating.customer_of_key(where))
    )
    match action:
        case "list":
            _list(asyncio.run(operating.all_keys(where, customer_id=customer_id)), json=json)
        case "create":
            _create(where, customer_id=customer_id, name=name, expire_s=expire_s, json=json)
        case "delete":
            if key is None:
                raise CliError("Name the key by its id or prefix.", exit_code=Exit.USAGE)
            _delete(where, customer_id=customer_id, key=key, json=json)
    return Exit.DONE


def _list(found: "list[AccessKey]", *, json: bool) -> None:
    from engine.cli.terminal import say, say_columns, say_json

    if json:
        say_json([_plain(each) for each in found])
    elif found:
        rows = [
            (
                str(each.id),
                each.prefix + "…",
                f"{each.created_at:%Y-%m-%d %H:%M}",
                f"{each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "never",
                each.name,
            )
            for each in found
        ]
        say_columns([("ID", "KEY", "CREATED", "EXPIRES", "NAME"), *rows])
    else:
        say("This customer has no access key.")


def _create(
    where: Where, *, customer_id: "CustomerId", name: str, expire_s: int | None, json: bool
) -> None:
    from engine.cli.operating import new_key
    from engine.cli.terminal import say, say_json

    made, token = asyncio.run(new_key(where, customer_id=customer_id, name=name, expire_s=expire_s))
    if json:
        say_json({**_plain(made), "key": token})
    else:
        say(f"{token}  (shown this once; id {made.id})")


def _delete(where: Where, *, customer_id: "CustomerId", key: str, json: bool) -> None:
    from engine.cli.operating import revoke_key
    from engine.cli.terminal import say, say_json

    gone = asyncio.run(revoke_key(where, customer_id=customer_id, key=key))
    if json:
        say_json(_plain(gone))
    else:
        say(f"The key {gone.prefix}… is revoked.")


def _plain(key: "AccessKey") -> dict[str, object]:
    return {
        "id": key.id,
        "customer_id": key.customer_id,
        "name": key.name,
        "prefix": key.prefix,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
