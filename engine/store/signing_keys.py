"""signing_keys: what signed links are signed with. One row, made with the schema."""

from engine.store.database import Tx


async def get(tx: Tx) -> bytes:
    """The key, 32 bytes; every process of the engine reads the same."""
    key = await tx.value(bytes, "SELECT key FROM signing_keys WHERE id = 1")
    assert key
    return key
