"""The house rules that no linter knows: sizes, who may catch what, where SQL and settings are.

Each rule reads the source; nothing is started.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engine import errors

REPOSITORY = Path(__file__).parent.parent
MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("engine", "workers")
    for path in (REPOSITORY / folder).rglob("*.py")
)
MODULE_LINES_MAX = 400
SECOND_DOOR_LINES = 900
FUNCTION_LINES_MAX = 60

LAST_HANDLERS = {"workers/ingest.py"}  # and the one that engine/api registers for Exception

# Who reads the environment, and who passes it on to a child.
ENVIRONMENT = {
    "engine/config.py",
    "engine/cli/children.py",
    "engine/cli/serve.py",
    "engine/embedding/modelsfile.py",
    "engine/embedding/weights.py",
    "workers/main.py",
}

STATEMENT = re.compile(
    r"\b(SELECT\s+.+\s+FROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX)"
    r"|SET\s+ROLE|FOR\s+UPDATE)\b",
    re.DOTALL,
)
# The embedded server makes its role and database before there is a store.
STATEMENTS_MAY_BE_IN = ("engine/store/", "engine/local/")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((REPOSITORY / module).read_text("utf-8"))


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def leaves(kind: type[errors.EngineError]) -> Iterator[type[errors.EngineError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for child in below:
        yield from leaves(child)


LEAVES = sorted(set(leaves(errors.EngineError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short_and_says_what_lives_in_it(module: str) -> None:
    lines = (REPOSITORY / module).read_text("utf-8").count("\n")
    assert lines <= MODULE_LINES_MAX, f"{module} has {lines} lines"
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_a_function_is_short(module: str) -> None:
    long = {
        function.name: lines
        for function in functions(module)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_everything_is_caught_by_the_last_handlers_only() -> None:
    broad = {"Exception", "BaseException"}
    found = []
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                    if (node.type)
                    else broad
                )
                found += [module] if names & broad else []
    assert found == sorted(LAST_HANDLERS)


def test_the_api_registers_one_handler_for_whatever_is_left() -> None:
    registered = [
        module
        for module in MODULES
        if module.startswith("engine/api/")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Name) and key.id == "Exception"
    ]
    assert len(registered) == 1


@pytest.mark.parametrize(
    "module", [module for module in MODULES if not module.startswith(STATEMENTS_MAY_BE_IN)]
)
def test_sql_is_written_in_the_store_only(module: str) -> None:
    found = [
        node.value
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and STATEMENT.search(node.value)
    ]
    assert found == []


def test_the_rule_about_sql_knows_sql_when_it_sees_it() -> None:
    assert any(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and STATEMENT.search(node.value)
        for node in ast.walk(tree("engine/store/rags.py"))
    )


def test_the_environment_is_read_by_the_settings_and_passed_on_to_children_only() -> None:
    found = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    assert found <= ENVIRONMENT


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [leaf.code for leaf in LEAVES]
    assert len(set(codes)) == len(codes)
    inherited = [leaf.__name__ for leaf in LEAVES if "code" not in vars(leaf)]
    assert inherited == []
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_error_stands_in_the_tree_and_in_the_docs(leaf: type[errors.EngineError]) -> None:
    assert leaf.__name__ in (errors.__doc__ or "")
    if not issubclass(leaf, errors.Superseded):  # never leaves the engine
        documented = (REPOSITORY / "docs" / "errors.md").read_text("utf-8")
        assert f"`{leaf.code}`" in documented


@pytest.mark.parametrize(
    "leaf",
    [leaf for leaf in LEAVES if issubclass(leaf, errors.SourceError)],
    ids=lambda leaf: leaf.__name__,
)
def test_an_error_of_a_source_tells_its_owner_what_to_do(leaf: type[errors.SourceError]) -> None:
    assert leaf.remedy.endswith(".")
    assert leaf.retryable is issubclass(leaf, errors.TransientError)


def test_the_second_door_stays_thin() -> None:
    lines = [
        len((REPOSITORY / module).read_text("utf-8").splitlines())
        for module in MODULES
        if module.startswith("engine/api/elevenlabs/")
    ]
    assert 0 < sum(lines) < SECOND_DOOR_LINES


def test_a_lock_that_a_session_keeps_has_a_number_that_nobody_else_takes() -> None:
    numbers: dict[str, set[str]] = {}
    for module in MODULES:
        for found in re.finditer(r"advisory\w*_lock\((\d+)\)", (REPOSITORY / module).read_text()):
            numbers.setdefault(found[1], set()).add(module)
    assert len(numbers) > 1
    assert all(len(modules) == 1 for modules in numbers.values()), numbers
