"""What the operator's verbs stand on: the database of the engine, opened for one command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from engine.access import Access, Operator
from engine.cli.exits import CliError, Exit
from engine.cli.place import Place, Where, database_settings, key_of
from engine.config import Settings
from engine.errors import AccessKeyNotFound, InvalidCredentials
from engine.models import AccessKey, AccessKeyId, Customer, CustomerId
from engine.store import Database

CONNECTIONS = 2
DATABASE_TIMEOUT_S = 5.0
KEYS_IN_PAGE = 100
FIRST_CUSTOMER = "default"


@asynccontextmanager
async def operator_database(settings: Settings) -> AsyncIterator[Database]:
    """Open for the time of the block. Its use raises DatabaseUnavailable when it is away."""
    database = Database(
        settings.database_url,
        role="rag_operator",
        connections=CONNECTIONS,
        timeout_s=DATABASE_TIMEOUT_S,
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def first_customer(settings: Settings, *, place: Place) -> CustomerId:
    """The customer of the local key. The customer and the key are made if there are none.

    A key that the database does not know, because that was lost, is replaced by a new one.
    """
    async with operator_database(settings) as database:
        access, operator = Access(database=database), Operator(database=database)
        if token := place.key():
            try:
                return await access.authenticate(token)
            except InvalidCredentials:
                pass
        found = [each for each in await operator.customers() if each.name == FIRST_CUSTOMER]
        if found:
            customer = found[0]
            _, token = await access.create_key(customer.id, name="local key", expire_s=None)
        else:
            customer, _, token = await operator.create_customer(FIRST_CUSTOMER)
        place.keep_key(token)
        return customer.id


async def customer_of_key(where: Where) -> CustomerId:
    """The customer that the key of this place speaks for. Raises InvalidCredentials."""
    async with operator_database(database_settings(where)) as database:
        return await Access(database=database).authenticate(key_of(where))


async def all_customers(where: Where) -> list[Customer]:
    async with operator_database(database_settings(where)) as database:
        return await Operator(database=database).customers()


async def new_customer(where: Where, *, name: str) -> tuple[Customer, AccessKey, str]:
    async with operator_database(database_settings(where)) as database:
        return await Operator(database=database).create_customer(name)


async def new_key(
    where: Where, *, customer_id: CustomerId, name: str, expire_s: int | None
) -> tuple[AccessKey, str]:
    async with operator_database(database_settings(where)) as database:
        access = Access(database=database)
        await access.customer(customer_id)  # CustomerNotFound says more than a broken reference
        return await access.create_key(customer_id, name=name, expire_s=expire_s)


async def all_keys(where: Where, *, customer_id: CustomerId) -> list[AccessKey]:
    """Newest first."""
    async with operator_database(database_settings(where)) as database:
        access = Access(database=database)
        await access.customer(customer_id)
        page = await access.keys(customer_id, page_size=KEYS_IN_PAGE, after=None)
        keys = list(page.items)
        while page.next is not None:
            page = await access.keys(customer_id, page_size=KEYS_IN_PAGE, after=page.next)
            keys += page.items
        return keys


async def revoke_key(where: Where, *, customer_id: CustomerId, key: str) -> AccessKey:
    """The key of that id, or the only one whose prefix that is. Raises AccessKeyNotFound."""
    keys = await all_keys(where, customer_id=customer_id)
    found = [each for each in keys if key in (str(each.id), each.prefix)]
    if len(found) != 1:
        raise AccessKeyNotFound(f"This customer has no access key {key!r}, or more than one.")
    async with operator_database(database_settings(where)) as database:
        return await Access(database=database).delete_key(customer_id, AccessKeyId(found[0].id))


def customer_id_of(text: str) -> CustomerId:
    """Raises CliError unless it is an id."""
    try:
        return CustomerId(UUID(text))
    except ValueError as error:
        raise CliError(
            f"{text!r} is not the id of a customer: `rag-engine customers list` shows them.",
            exit_code=Exit.USAGE,
        ) from error
