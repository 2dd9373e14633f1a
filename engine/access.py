"""Who calls: access keys and signed tokens for callers, customers for the operator."""

import hashlib
import hmac
import secrets
import string
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from engine.config import Settings
from engine.errors import (
    AccessKeyNotFound,
    AuthenticationRequired,
    CustomerNotFound,
    Detail,
    InvalidCredentials,
    InvalidRequest,
)
from engine.idempotency import Keep
from engine.models import AccessKey, AccessKeyId, Cursor, Customer, CustomerId, Noun, Page, Usage
from engine.recent import Recent
from engine.store import Database, accesskeys, customers, purge
from engine.store.paging import to_page
from engine.store.purge import Receipt

PRESUMED_S = 300.0
PRESUMED_MAX = 50_000

TOKEN_PREFIX = "re_"  # noqa: S105 - what every token starts with, not a token
TOKEN_CHARACTERS = 32
PREFIX_CHARACTERS = 11
ALPHABET = string.ascii_letters + string.digits
NAME_CHARACTERS_MAX = 255
EXPIRE_S_MAX = 10 * 365 * 24 * 3600
JWT_CHARACTERS_MAX = 8_192
JWT_LEEWAY_S = 30  # by so much the clocks of two hosts may differ


def new_token() -> str:
    """`re_` and 32 random characters: 190 bits, so a plain hash is enough to store."""
    drawn = (secrets.choice(ALPHABET) for _ in range(TOKEN_CHARACTERS))
    return TOKEN_PREFIX + "".join(drawn)


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class JwtRules(Noun, frozen=True, kw_only=True):
    """Which signed tokens are accepted. `key` is the shared secret or a public key in PEM form,
    `algorithm` the only one that counts, whatever a token says about itself."""

    key: str
    algorithm: str
    audience: str

    @classmethod
    def from_settings(cls, settings: Settings) -> "JwtRules | None":
        """None without a key: then no token is accepted. Settings are checked as they are read."""
        if not settings.jwt_key:
            return None
        return cls(
            key=settings.jwt_key,
            algorithm=settings.jwt_algorithm,
            audience=settings.jwt_audience,
        )


class Presumed(NamedTuple):
    """The customer that a key spoke for a moment ago. Whoever relies on it has the hash looked for
    again in the transaction that answers, so that a key ends at once all the same."""

    customer_id: CustomerId
    token_hash: bytes


class Access:
    """What a caller may ask about itself. `bootstrap_key` speaks for the first customer."""

    def __init__(
        self,
        *,
        database: Database,
        operator: Database | None = None,
        bootstrap_key: str = "",
        jwt: JwtRules | None = None,
    ) -> None:
        self._database = database
        self._operator = operator
        self._jwt = jwt
        self._bootstrap_hash = token_hash(bootstrap_key) if bootstrap_key else None
        # Whose the keys were that this process saw to be right, by their hashes.
        self._seen: Recent[bytes, CustomerId] = Recent(kept_s=PRESUMED_S, kept_max=PRESUMED_MAX)

    async def authenticate(self, token: str | None) -> CustomerId:
        """The customer that a token speaks for. AuthenticationRequired | InvalidCredentials."""
        if not token:
            raise AuthenticationRequired(
                "An access key is needed: send it as `Authorization: Bearer re_…`."
            )
        digest = token_hash(token)
        found = await accesskeys.find(self._database, token_hash=digest)
        if found and hmac.compare_digest(found.token_hash, digest):
            self._seen.put(digest, found.customer_id, now_s=monotonic())
            return found.customer_id
        return await self._bootstrap(digest)

    def presumed(self, token: str | None) -> Presumed | None:
        """Whose key this was a moment ago, without asking; None: that has to be found out."""
        digest = token_hash(token or "")
        customer_id = self._seen.get(digest, now_s=monotonic())
        if customer_id is None:
            return None
        return Presumed(customer_id=customer_id, token_hash=digest)

    def confirm(self, presumed: Presumed) -> None:
        """The key was seen to be right again."""
        self._seen.put(presumed.token_hash, presumed.customer_id, now_s=monotonic())

    def forget(self, digest: bytes) -> None:
        """What is presumed of a key, because something spoke against it."""
        self._seen.forget(digest)

    async def _bootstrap(self, digest: bytes) -> CustomerId:
        matches = self._bootstrap_hash and hmac.compare_digest(self._bootstrap_hash, digest)
        if matches and self._operator:
            async with self._operator.transaction() as tx:
                customer = await customers.first(tx)
                customer = customer or await customers.first_or_new(tx, name="default")
            if customer:
                return customer.id
        raise InvalidCredentials("The access key is unknown, revoked or expired.")

    async def authenticate_jwt(self, token: str | None) -> CustomerId:
        """The customer that a signed token names. AuthenticationRequired | InvalidCredentials."""
        if not token:
            raise AuthenticationRequired(
                "A token is needed: send it as `Authorization: Bearer <JWT>`."
            )
        if self._jwt is None:
            raise InvalidCredentials("Tokens are not accepted here: send an access key instead.")
        customer_id = _customer_named(token, rules=self._jwt)
        async with self._database.transaction(customer_id=customer_id) as tx:
            customer = await customers.get(tx, customer_id=customer_id)
        if customer is None:
            raise _token_refused()
        return customer.id

    async def customer(self, customer_id: CustomerId) -> Customer:
        async with self._database.transaction(customer_id=customer_id) as tx:
            customer = await customers.get(tx, customer_id=customer_id)
        if customer is None:
            raise CustomerNotFound("This customer does not exist.")
        return customer

    async def usage(self, customer_id: CustomerId) -> Usage:
        async with self._database.transaction(customer_id=customer_id) as tx:
            return await customers.usage(tx, customer_id=customer_id)

    async def keys(
        self, customer_id: CustomerId, *, page_size: int, after: Cursor | None
    ) -> Page[AccessKey]:
        async with self._database.transaction(customer_id=customer_id) as tx:
            rows = await accesskeys.page(
                tx, customer_id=customer_id, limit=page_size + 1, after=after
            )
        return to_page(rows, page_size=page_size)

    async def create_key(
        self,
        customer_id: CustomerId,
        *,
        name: str,
        expire_s: int | None,
        keep: Keep[AccessKey] | None = None,
    ) -> tuple[AccessKey, str]:
        """A new key and its token, which is shown this once: it is no part of what is kept."""
        _check_key(name, expire_s=expire_s)
        token = new_token()
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            key = await accesskeys.insert(
                tx,
                customer_id=customer_id,
                name=name,
                prefix=token[:PREFIX_CHARACTERS],
                token_hash=token_hash(token),
                expire_s=expire_s,
            )
            if keep:
                await keep.end(tx, key)
        return key, token

    async def delete_key(self, customer_id: CustomerId, key_id: AccessKeyId) -> AccessKey:
        async with self._database.transaction(customer_id=customer_id) as tx:
            key = await accesskeys.delete(tx, customer_id=customer_id, key_id=key_id)
        if key is None:
            raise AccessKeyNotFound("There is no such access key.")
        return key


class Operator:
    """What the operator does: customers come, are listed, and go without a trace."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._access = Access(database=database)

    async def create_customer(self, name: str) -> tuple[Customer, AccessKey, str]:
        """A customer with its first key and that key's token."""
        if details := _name_details(name):
            raise InvalidRequest("The customer cannot be made like this.", details=details)
        if not name.strip():
            details = (Detail(field="name", issue="must not be empty"),)
            raise InvalidRequest("A customer needs a name.", details=details)
        async with self._database.transaction() as tx:
            customer = await customers.insert(tx, name=name)
        key, token = await self._access.create_key(customer.id, name="first key", expire_s=None)
        return customer, key, token

    async def customers(self) -> list[Customer]:
        async with self._database.transaction() as tx:
            return await customers.all_of_them(tx)

    async def close_customer(self, customer_id: CustomerId) -> Receipt:
        """Hide everything of a customer at once; returns what there is to remove.

        Raises CustomerNotFound. The sweep removes rows and bytes; `remaining` says how far it is.
        """
        async with self._database.transaction() as tx:
            if not await customers.mark_deleted(tx, customer_id=customer_id):
                raise CustomerNotFound("There is no such customer.")
            before = await purge.count(tx, customer_id=customer_id)
            await purge.close_customers(tx)
        return before

    async def remaining(self, customer_id: CustomerId) -> Receipt:
        async with self._database.transaction() as tx:
            return await purge.count(tx, customer_id=customer_id)

    async def finish_customer(self, customer_id: CustomerId) -> Receipt:
        """As `remaining`; a closed customer that has nothing left goes at once, with its name,
        and not only when the sweep tidies up."""
        async with self._database.transaction() as tx:
            await customers.delete_empty(tx, customer_ids=[customer_id])
        return await self.remaining(customer_id)


def _customer_named(token: str, *, rules: JwtRules) -> CustomerId:
    """The claim `customer_id` of a token that keeps all the rules. InvalidCredentials."""
    # Imported here: the commands of the operator, who needs no token, start without it.
    import jwt

    if len(token) > JWT_CHARACTERS_MAX or not token.isascii():
        raise _token_refused()
    try:
        claims = jwt.decode(
            token,
            rules.key,
            algorithms=[rules.algorithm],
            audience=rules.audience,
            leeway=JWT_LEEWAY_S,
            options={"require": ["exp", "aud"], "enforce_minimum_key_length": True},
        )
        return CustomerId(UUID(str(claims.get("customer_id"))))
    except jwt.ExpiredSignatureError as error:
        raise InvalidCredentials("The token has expired: get a new one.") from error
    except (jwt.PyJWTError, ValueError) as error:
        raise _token_refused() from error


def _token_refused() -> InvalidCredentials:
    """The same words whatever was wrong: who forges tokens learns nothing from them."""
    return InvalidCredentials("The token is not valid here.")


def _check_key(name: str, *, expire_s: int | None) -> None:
    details = [*_name_details(name)]
    if expire_s is not None and not 1 <= expire_s <= EXPIRE_S_MAX:
        issue = f"must be from 1 to {EXPIRE_S_MAX}"
        details.append(Detail(field="expire_s", issue=issue))
    if details:
        raise InvalidRequest("The access key cannot be made like this.", details=tuple(details))


def _name_details(name: str) -> tuple[Detail, ...]:
    """What is wrong with the name of an access key or of a customer."""
    if len(name) <= NAME_CHARACTERS_MAX and name.isprintable():
        return ()
    issue = f"must be printable and at most {NAME_CHARACTERS_MAX} characters"
    return (Detail(field="name", issue=issue),)
