"""`customers create | list | purge`: who owns everything else."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from engine.store.purge import Receipt

Flag = Annotated[bool, Parameter(negative=())]

PURGE_TIMEOUT_S = 180.0
PURGE_POLL_S = 0.5


def create(name: str, /, *, json: Flag = False, where: Where = HERE) -> int:
    """Make a customer with its first access key, which is shown this once.

    Parameters
    ----------
    name
        A name for people; it need not be unique.
    json
        Print it as JSON.
    """
    from engine.cli.operating import new_customer
    from engine.cli.terminal import say, say_json

    customer, key, token = asyncio.run(new_customer(where, name=name))
    if json:
        say_json({"id": customer.id, "name": customer.name, "key_id": key.id, "key": token})
        return Exit.DONE
    say(f"customer  {customer.id}  {customer.name}")
    say(f"key       {token}  (shown this once)")
    return Exit.DONE


def list_all(*, json: Flag = False, where: Where = HERE) -> int:
    """List all customers, oldest first.

    Parameters
    ----------
    json
        Print them as JSON.
    """
    from engine.cli.operating import all_customers
    from engine.cli.terminal import say, say_columns, say_json

    found = asyncio.run(all_customers(where))
    if json:
        say_json([{"id": e.id, "name": e.name, "created_at": e.created_at} for e in found])
    elif found:
        rows = [(str(e.id), f"{e.created_at:%Y-%m-%d %H:%M}", e.name) for e in found]
        say_columns([("ID", "CREATED", "NAME"), *rows])
    else:
        say("There is no customer yet: `rag-engine customers create NAME` makes one.")
    return Exit.DONE


def purge(
    customer: str,
    /,
    *,
    yes: Flag = False,
    timeout_s: float = PURGE_TIMEOUT_S,
    json: Flag = False,
    where: Where = HERE,
) -> int:
    """Remove a customer with all rows and files, and print the receipt.

    Nothing of the customer is visible any more from the first moment; a running worker then
    removes rows and files. Exits with 1 if that has not ended in time: run it again.

    Parameters
    ----------
    customer
        Id of the customer.
    yes
        Do not ask.
    timeout_s
        How many seconds to wait for the removal.
    json
        Print the receipt as JSON.
    """
    from engine.cli.operating import customer_id_of
    from engine.cli.terminal import say, say_json

    customer_id = customer_id_of(customer)
    if not yes and not _confirmed(customer):
        raise CliError("Nothing was removed.")
    removed, left = asyncio.run(_purged(where, str(customer_id), timeout_s=timeout_s))
    if json:
        say_json({"id": customer_id, "removed": removed, "left": left})
    else:
        say(f"removed  {counted(removed)}")
        say(f"left     {counted(left)}")
    if total(left):
        raise CliError(
            f"After {timeout_s:.0f} s there are still {total(left)} rows: a running worker removes "
            "them within about a minute; see that one runs, then run this again."
        )
    return Exit.DONE


async def _purged(where: Where, customer: str, *, timeout_s: float) -> "tuple[Receipt, Receipt]":
    """What there was to remove, and what is left of it in the end."""
    from engine.access import Operator
    from engine.cli.operating import customer_id_of, operator_database
    from engine.cli.place import database_settings

    customer_id = customer_id_of(customer)
    async with operator_database(database_settings(where)) as database:
        operator = Operator(database=database)
        removed = await operator.close_customer(customer_id)
        deadline = time.monotonic() + timeout_s
        while total(left := await operator.finish_customer(customer_id)):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(PURGE_POLL_S)
    return removed, left


def total(receipt: "Receipt") -> int:
    """Rows of all tables together."""
    from msgspec.structs import asdict

    return sum(asdict(receipt).values())


def counted(receipt: "Receipt") -> str:
    from msgspec.structs import asdict

    if not total(receipt):
        return "0 rows"
    return ", ".join(f"{count} {table}" for table, count in asdict(receipt).items() if count)


def _confirmed(customer: str) -> bool:
    if not sys.stdin.isatty():
        raise CliError("Removing a customer needs --yes in a script.", exit_code=Exit.USAGE)
    answer = input(f"Remove the customer {customer} with everything it has? Type its id: ")
    return answer.strip() == customer
