"""schema.sql says which function each index serves: the function is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
NAMED = sorted(
    {
        (found[1], found[2] or "")
        for line in (REPOSITORY / "schema.sql").read_text("utf-8").splitlines()
        if line.strip().startswith("--")
        for found in re.finditer(r"\bstore\.([a-z_]+)(?:\.([a-z_]+))?", line)
    }
)


@cache
def functions_of(module: str) -> set[str]:
    text = (REPOSITORY / "engine" / "store" / f"{module}.py").read_text("utf-8")
    return {getattr(node, "name", "") for node in ast.parse(text).body}


@pytest.mark.parametrize(("module", "function"), NAMED)
def test_a_function_of_the_store_that_the_schema_names_is_there(module: str, function: str) -> None:
    assert not function or function in functions_of(module)


def test_the_schema_says_whom_its_indexes_serve() -> None:
    assert len(NAMED) > 10
