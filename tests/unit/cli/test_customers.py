"""Ids and receipts of the operator's verbs, without a database."""

from uuid import UUID

import pytest

from engine.cli.customers import counted, total
from engine.cli.exits import CliError, Exit
from engine.cli.operating import customer_id_of
from engine.store.purge import Receipt


def receipt(**rows: int) -> Receipt:
    return Receipt(**(dict.fromkeys(Receipt.__struct_fields__, 0) | rows))


def test_a_receipt_names_only_the_tables_that_had_rows() -> None:
    assert counted(receipt(rags=1, chunks=12)) == "1 rags, 12 chunks"
    assert (counted(receipt()), total(receipt())) == ("0 rows", 0)
    assert total(receipt(rags=1, blobs=2)) == 3


def test_what_is_not_an_id_is_wrong_usage() -> None:
    text = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    assert customer_id_of(text) == UUID(text)
    with pytest.raises(CliError, match="'acme' is not the id") as caught:
        customer_id_of("acme")
    assert caught.value.exit_code is Exit.USAGE
