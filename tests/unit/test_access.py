"""What the operator is told of a name, before a database is asked."""

import asyncio
from typing import Any

import pytest

from engine.access import Operator
from engine.errors import InvalidRequest

NOWHERE: Any = None


@pytest.mark.parametrize("name", ["x" * 256, "two\nlines", "\x00"])
def test_a_name_that_no_customer_can_have_is_told_of_the_customer(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^The customer cannot be made like this\.$") as told:
        asyncio.run(Operator(database=NOWHERE).create_customer(name))
    assert [(each.field, each.issue) for each in told.value.details] == [
        ("name", "must be printable and at most 255 characters")
    ]
