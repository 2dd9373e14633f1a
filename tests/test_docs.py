"""The documents say what the code does: settings, errors, routes, fields, metrics, states, links,
verbs.

Nothing here starts a service; the commands of the README are run by end-to-end tests.
"""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import errors
from engine.config import MIB, PREFIX, Limits, Settings

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
DOOR = REPOSITORY / "engine" / "api" / "elevenlabs" / "README.md"
TOP = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = sorted([*DOCS.rglob("*.md"), *TOP, DOOR])

# Commands of the README that end-to-end tests run as they stand there. A command that is not in
# this list is a promise that nobody keeps: run it in a test, then add it.
RUN_ELSEWHERE = frozenset(
    {
        "make up",
        "make test",
        "make up ARGS=--exit-after-demo",
        ".venv/bin/rag-engine ingest docs --rag handbook",
        '.venv/bin/rag-engine query handbook "What happens when a worker dies?"',
        ".venv/bin/rag-engine evaluate handbook bench/handbook.jsonl --out before.json",
        ".venv/bin/rag-engine evaluate handbook bench/handbook.jsonl --against before.json",
        ".venv/bin/rag-engine status",
        ".venv/bin/rag-engine doctor",
    }
)


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of every table row of a page that begins with something in backticks."""
    for line in text_of(page).splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def code(cell: str) -> str:
    """What stands in the first backticks of a cell, "" without any."""
    found = re.search(r"`([^`]*)`", cell)
    return found[1] if found else ""


def leaves(kind: type[errors.EngineError]) -> list[type[errors.EngineError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


# Settings ----------------------------------------------------------------------------------------


def documented_defaults() -> dict[str, str]:
    return {
        code(row[0]): row[1]
        for row in rows(DOCS / "operating.md")
        if code(row[0]).startswith(PREFIX)
    }


def real_defaults() -> dict[str, object]:
    found: dict[str, object] = {}
    for instance in (Settings(), Limits()):
        for name in instance.__struct_fields__:
            if name != "limits":
                found[PREFIX + name.upper()] = getattr(instance, name)
    return found


def test_operating_names_every_setting_and_limit_and_no_other() -> None:
    assert set(documented_defaults()) == set(real_defaults())


@pytest.mark.parametrize("name", sorted(real_defaults()))
def test_a_documented_default_is_the_real_one(name: str) -> None:
    real, written = real_defaults()[name], documented_defaults()[name]
    if real in ("", None, ()):
        assert written == "empty"
    elif isinstance(real, int | float):
        assert float(code(written)) == real
    else:
        assert code(written) == str(real)
    if mebibytes := re.search(r"\((\d+) MiB\)", written):
        assert int(mebibytes[1]) * MIB == real


def test_every_setting_that_a_page_mentions_exists() -> None:
    known = set(real_defaults())
    mentioned = {
        name.removesuffix("_FILE") if name.removesuffix("_FILE") in known else name
        for page in PAGES
        for name in re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", text_of(page))
    }
    assert mentioned - known == set()


# Errors ------------------------------------------------------------------------------------------


def error_rows() -> dict[str, list[str]]:
    return {code(row[0]): row for row in rows(DOCS / "errors.md")}


@pytest.mark.parametrize("kind", leaves(errors.CallerError) + leaves(errors.Unavailable))
def test_an_error_of_a_request_is_documented_with_its_status(
    kind: type[errors.EngineError],
) -> None:
    from engine.api.native.errors import row_of

    row = error_rows()[kind.code]
    wire = row_of(kind("a message"))
    assert row[1:4] == [str(wire.code), f"`{wire.status}`", f"`{wire.reason}`"]


@pytest.mark.parametrize("kind", leaves(errors.PermanentError) + leaves(errors.TransientError))
def test_an_error_of_a_source_is_documented_with_its_remedy(
    kind: type[errors.SourceError],
) -> None:
    assert error_rows()[kind.code][2] == kind.remedy


def test_errors_that_are_tried_again_stand_apart_from_final_ones() -> None:
    final, _, again = text_of(DOCS / "errors.md").partition("## Sources, tried again")
    final = final.partition("## Sources, final at the first attempt")[2]
    for kind in leaves(errors.PermanentError):
        assert f"| `{kind.code}` |" in final
    for kind in leaves(errors.TransientError):
        assert f"| `{kind.code}` |" in again


def test_every_warning_of_a_reader_is_documented() -> None:
    sources = [*REPOSITORY.glob("workers/**/*.py"), *REPOSITORY.glob("engine/store/*.py")]
    given = {
        name for path in sources for name in re.findall(r'\bcode="(\w+)"', path.read_text("utf-8"))
    }
    assert given
    assert given - set(error_rows()) == set()


def test_no_documented_error_is_gone() -> None:
    codes = {leaf.code for leaf in leaves(errors.EngineError)}
    documented, _, _ = text_of(DOCS / "errors.md").partition("## Warnings")
    assert set(re.findall(r"^\| `(\w+)` \|", documented, re.MULTILINE)) - codes == set()


# Routes and metrics ------------------------------------------------------------------------------


ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /\S*")
# The framework warns of how handlers name what they depend on; that is not about the documents.
with_routes = pytest.mark.filterwarnings("ignore:.*Inferred dependency field")


@cache
def real_routes() -> frozenset[str]:
    """Of both doors, without the twins under the old prefix."""
    from litestar.routes import HTTPRoute

    from engine.api.app import create_app
    from engine.api.edge import LEGACY_PREFIX

    return frozenset(
        f"{method} {route.path_format}"
        for route in create_app(Settings()).routes
        if isinstance(route, HTTPRoute) and not route.path_format.startswith(LEGACY_PREFIX)
        for method in route.methods - {"OPTIONS", "HEAD"}
    )


def door_routes(prefix: str) -> set[str]:
    """Those of the second door below the prefix of one vendor, without it."""
    return {route.replace(prefix, "", 1) for route in real_routes() if f" {prefix}/" in route}


def ticked(mark: str) -> set[str]:
    """The routes of the door's README in list items that begin with [x] or with [ ]."""
    items = re.findall(rf"^- \[{mark}\] (.*(?:\n  .*)*)", text_of(DOOR), re.MULTILINE)
    spans = [span for item in items for span in re.findall(r"`([^`]*)`", item)]
    return {span for span in spans if ROUTE.fullmatch(span)}


def vendors() -> list[Any]:
    from engine.api.elevenlabs.call import VENDORS

    return list(VENDORS)


@with_routes
def test_api_names_every_native_route_and_no_other() -> None:
    native = {
        route for route in real_routes() if not any(f" {v.prefix}/" in route for v in vendors())
    }
    documented = {code(row[0]) for row in rows(DOCS / "api.md") if ROUTE.fullmatch(code(row[0]))}
    assert documented == native


@with_routes
@pytest.mark.parametrize("vendor", vendors(), ids=lambda vendor: vendor.name)
def test_the_doors_readme_names_every_route_of_each_vendor_and_no_other(vendor: Any) -> None:
    real = door_routes(vendor.prefix)
    refused = {route for route in real if "/crawl" in route}
    assert refused
    assert ticked("x") == real - refused
    assert ticked(" ")
    assert ticked(" ") <= refused


def schema_names(document: Any) -> set[str]:
    """Every property and every parameter that an OpenAPI document names."""
    if isinstance(document, list):
        return {name for item in document for name in schema_names(item)}
    if not isinstance(document, dict):
        return set()
    properties = document.get("properties")
    here = set(properties) if isinstance(properties, dict) else set()
    if document.get("in") in {"query", "path"}:
        here.add(document["name"])
    return here | {name for value in document.values() for name in schema_names(value)}


@with_routes
def test_the_doors_readme_names_every_field_that_is_taken_or_sent() -> None:
    from engine.api.elevenlabs import HANDLERS
    from engine.api.elevenlabs.schema import document

    names = {name for vendor in vendors() for name in schema_names(document(vendor, HANDLERS))}
    assert {"document_ids", "search_snippet", "sort_direction"} <= names
    prose = text_of(DOOR)
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", prose)))) | set(
        re.findall(r'"(\w+)"', prose)
    )
    assert names - named == set()


def test_the_doors_readme_names_every_model_and_every_status_of_an_index() -> None:
    from engine.entries import RagIndexStatus

    spans = set(re.findall(r"`([^`\n]+)`", text_of(DOOR)))
    assert {name for vendor in vendors() for name in vendor.models} - spans == set()
    assert {code(row[0]) for row in rows(DOOR)} >= {status.value for status in RagIndexStatus}


# What the door's verbs never raise: it keeps rows for them, because a table has one for each error.
NEVER_AT_THE_DOOR = {
    "access_key_not_found",
    "file_in_use",
    "queue_unavailable",
    "rag_not_ready",
    "source_exists",
    "validation_error",  # has a shape of its own, described in prose
}


def test_the_doors_readme_has_every_error_with_its_status() -> None:
    from engine.api.elevenlabs.errors import HTTP_TABLE, TABLE

    real = {row.status: str(row.code) for row in (*TABLE.values(), *HTTP_TABLE.values())}
    real["internal_error"] = "500"
    documented = {code(row[0]): row[1] for row in rows(DOOR) if row[1].isdecimal()}
    expected = {name: status for name, status in real.items() if name not in NEVER_AT_THE_DOOR}
    assert documented == expected


def sessions() -> list[tuple[str, ast.Module]]:
    """The Python blocks of the READMEs, with where they stand."""
    return [
        (page.relative_to(REPOSITORY).as_posix(), ast.parse(block))
        for page in (REPOSITORY / "README.md", DOOR)
        for block in re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)
    ]


@pytest.mark.parametrize(("page", "session"), sessions(), ids=[page for page, _ in sessions()])
def test_a_session_of_a_readme_calls_what_the_official_sdk_has(
    page: str, session: ast.Module
) -> None:
    from elevenlabs.client import ElevenLabs

    client = ElevenLabs(base_url="http://127.0.0.1:1", api_key="none")
    known = {"client": client, "kb": client.conversational_ai.knowledge_base}
    called = []
    for call in (node for node in ast.walk(session) if isinstance(node, ast.Call)):
        root, *path = ast.unparse(call.func).split(".")
        if root in known:
            method: Any = known[root]
            for name in path:
                method = getattr(method, name)
            keywords = {str(each.arg): None for each in call.keywords}
            inspect.signature(method).bind(*call.args, **keywords)
            called.append(path[-1])
    assert "compute_rag_index" in called, page


def test_operating_names_every_metric_and_no_other() -> None:
    code_text = "".join(path.read_text("utf-8") for path in REPOSITORY.glob("engine/api/**/*.py"))
    documented = {
        code(row[0])
        for row in rows(DOCS / "operating.md")
        if code(row[0]).startswith("rag_engine_")
    }
    assert documented == set(re.findall(r'"(rag_engine_\w+)"', code_text)) - {"rag_engine_customer"}


# Pictures ----------------------------------------------------------------------------------------

Transition = tuple[str, str, str]


def constraint_states(table: str) -> set[str]:
    schema = text_of(REPOSITORY / "schema.sql")
    check = re.search(rf"CONSTRAINT {table}_state CHECK \(state IN \(([^)]*)\)", schema)
    assert check
    return set(re.findall(r"'(\w+)'", check[1]))


def comment_transitions(table: str) -> set[Transition]:
    """What schema.sql says above the column: `-- state  words  -> target (name, name) | …`."""
    schema = text_of(REPOSITORY / "schema.sql")
    body = schema.partition(f"CREATE TABLE IF NOT EXISTS {table} (")[2]
    comment = body.partition("    state  ")[0].rpartition("\n\n")[2]
    found, state = set(), ""
    for line in comment.splitlines():
        begins = re.match(r"\s+-- (\w+)  ", line)
        state = begins[1] if begins else state
        # Names may be several; what follows in prose has no parentheses behind a target.
        for target, names in re.findall(r"(?:->|\|) (\w+) \(([^)]*)\)", line):
            found |= {(state, target, name.strip()) for name in names.split(",")}
    return found


def drawn_transitions(number: int) -> set[Transition]:
    pictures = re.findall(
        r"```mermaid\nstateDiagram-v2\n(.*?)```", text_of(DOCS / "architecture.md"), re.DOTALL
    )
    return set(re.findall(r"^\s+(\S+) --> (\S+): (.+)$", pictures[number], re.MULTILINE))


@pytest.mark.parametrize(("number", "table"), [(0, "sources"), (1, "indexes")])
def test_a_state_diagram_draws_the_states_of_the_constraint(number: int, table: str) -> None:
    drawn = {state for pair in drawn_transitions(number) for state in pair[:2]}
    assert drawn - {"[*]"} == constraint_states(table)


@pytest.mark.parametrize(("number", "table"), [(0, "sources"), (1, "indexes")])
def test_a_state_diagram_draws_every_transition_of_the_schema(number: int, table: str) -> None:
    written = comment_transitions(table)
    assert len(written) >= 7
    assert written - drawn_transitions(number) == set()


def test_every_picture_is_of_a_kind_that_is_rendered() -> None:
    kinds = [kind for page in PAGES for kind in re.findall(r"```mermaid\n(\S+)", text_of(page))]
    assert set(kinds) == {"flowchart", "sequenceDiagram", "stateDiagram-v2"}


# Links and commands ------------------------------------------------------------------------------


def links() -> list[tuple[Path, str]]:
    prose = {page: re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL) for page in PAGES}
    return [
        (page, target)
        for page, text in prose.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:", target)
    ]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_relative_link_is_dead() -> None:
    dead = []
    for page, target in links():
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            dead.append(f"{page.name}: {target}")
    assert links()
    assert dead == []


def test_every_decision_has_a_number_of_its_own_and_a_status() -> None:
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in decisions]
    assert len(set(numbers)) == len(numbers)
    for page in decisions:
        assert re.search(r"\bStatus:\W*accepted", text_of(page)), page.name


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(REPOSITORY / "Makefile"), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^\$ )make ([a-z-]+)", text_of(page), re.MULTILINE)
    }
    assert named - targets == set()


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    blocks = re.findall(r"```console\n(.*?)```", text_of(REPOSITORY / "README.md"), re.DOTALL)
    commands = {
        line.removeprefix("$ ").partition("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.startswith("$ ")
    }
    assert commands - RUN_ELSEWHERE == set()


def test_every_verb_that_a_page_names_exists() -> None:
    from engine.cli import _app

    verbs = set(_app())
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^\$ |[`/]|: )rag-engine ([a-z]+)", text_of(page), re.MULTILINE)
    }
    assert named - verbs == set()


def test_the_changelog_keeps_its_form() -> None:
    text = text_of(REPOSITORY / "CHANGELOG.md")
    assert "## [Unreleased]" in text
    kinds = set(re.findall(r"^### (\w+)", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_lowest_python_is_said_the_same_everywhere() -> None:
    project = tomllib.loads(text_of(REPOSITORY / "pyproject.toml"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    assert f"rag-engine needs Python {lowest} or later" in text_of(REPOSITORY / "Makefile")


def test_a_struct_field_of_the_limits_is_never_also_a_setting() -> None:
    fields = [field.name for kind in (Settings, Limits) for field in msgspec.structs.fields(kind)]
    assert len(set(fields)) == len(fields)


# The folders whose tests stand for a promise.
PROMISED = ("protocol", "faults", "hostile", "tenants", "nonsense", "soak")


def test_reliability_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/-]+\.py)`", text_of(DOCS / "reliability.md"))
    assert len(named) > 20
    for name in named:
        assert (REPOSITORY / name).exists(), name
        assert re.search(r"^(async )?def test_", text_of(REPOSITORY / name), re.MULTILINE), name


@pytest.mark.parametrize("folder", PROMISED)
def test_reliability_leaves_no_test_of_a_promise_out(folder: str) -> None:
    there = {
        f"tests/{folder}/{path.name}"
        for path in (REPOSITORY / "tests" / folder).glob("*.py")
        if re.match(r"test_|long_", path.name)
    }
    assert there
    assert there - set(re.findall(r"`([^`]+)`", text_of(DOCS / "reliability.md"))) == set()
