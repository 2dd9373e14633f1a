"""The first net, read from the source: every statement that serves requests names its customer.

And what no statement can prevent: keys that two customers would have to share.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from fix_services import on_database
from fix_tenants import CHANGED_BY_THE_API, READ_BY_THE_API, tenant_tables

from engine.local import Services

ENGINE = Path(__file__).parents[2] / "engine"
STORE = ENGINE / "store"
# Who stands between doors and store, and serves one customer at a time.
VERBS = (
    "access",
    "citations",
    "documents",
    "edits",
    "files",
    "idempotency",
    "indexes",
    "library",
    "profiles",
    "quotas",
    "rags",
    "retrieval",
    "search",
    "sources",
    "waiting",
)
# What these classes do is not done for a caller.
NOT_FOR_CALLERS = {"Operator"}
TABLES = CHANGED_BY_THE_API | READ_BY_THE_API
_STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b")
_TABLE = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)\s+({'|'.join(sorted(TABLES))})\b")
# What comes with BEGIN has its parameters by number.
_NAMED = re.compile(
    r"\bcustomer_id = %\((customer_id|whose)\)s|%\(customer_id\)s|customer_id = \$1\b"
)

# Statements without a customer, each with the reason why that is right.
WITHOUT: Mapping[str, str] = {
    "accesskeys.find": "finds out who calls: row-level security opens the presented key's own row",
    "customers.first": "asks, as the operator, for whom the bootstrap key speaks",
    "customers.first_or_new": "as customers.first",
    "customers.insert": "makes the customer",
}


@pytest.fixture
def catalog_url(services: Services, template_database: str) -> str:
    """A database in which nothing is but the schema."""
    return on_database(services.admin_url, database=template_database)


class Statement(NamedTuple):
    where: str
    text: str


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> dict[str, ast.AsyncFunctionDef | ast.FunctionDef]:
    return {
        node.name: node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    }


def store_calls(node: ast.AST) -> set[tuple[str, str]]:
    """(module, function) of everything in a piece of code that looks like one of the store's."""
    return {
        (each.value.id, each.attr)
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
    }


def served() -> set[tuple[str, str]]:
    """The functions of the store that verbs use, and those that these use."""
    seen: set[tuple[str, str]] = set()
    waiting: set[tuple[str, str]] = set()
    for verb in VERBS:
        for node in tree(ENGINE / f"{verb}.py").body:
            if getattr(node, "name", "") not in NOT_FOR_CALLERS:
                waiting |= store_calls(node)
    while waiting:
        module, name = waiting.pop()
        path = STORE / f"{module}.py"
        if (module, name) in seen or not path.exists() or name not in functions(path):
            continue
        seen.add((module, name))
        body = functions(path)[name]
        waiting |= store_calls(body)
        waiting |= {(module, n.id) for n in ast.walk(body) if isinstance(n, ast.Name)}
    return seen


@cache
def constants(path: Path) -> dict[str, ast.expr]:
    """What a module names once and for all: parts of statements, and whole ones."""
    found = {}
    for node in tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        found |= {each.id: value for each in targets if isinstance(each, ast.Name) and value}
    return found


def text_of(node: ast.AST | None, *, path: Path) -> str:
    """The string that an expression stands for as it is written, its constants put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part, path=path) for part in parts)
        case ast.FormattedValue(value=ast.Name() as name):
            return text_of(name, path=path)
        case ast.Name(id=name):
            return text_of(constants(path).get(name), path=path)
    return ""


def expressions(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node, but not what an f-string is made of."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.JoinedStr):
            yield from expressions(child)


def statements() -> Iterator[Statement]:
    """Everything that a verb may have the database do to a table of customers."""
    for module, name in sorted(served()):
        path = STORE / f"{module}.py"
        for each in expressions(functions(path)[name]):
            text = text_of(each, path=path)
            if _STATEMENT.search(text) and _TABLE.search(text):
                yield Statement(f"{module}.{name}", text)


def test_every_table_of_customers_is_looked_for_in_the_statements(catalog_url: str) -> None:
    with psycopg.connect(catalog_url) as connection:
        assert set(tenant_tables(connection)) == TABLES


def test_the_reading_of_the_source_finds_what_it_must() -> None:
    """Else nothing could be found to be wrong."""
    found = {each.where for each in statements()}
    assert len(found) > 50
    assert {
        "rags.get",
        "rags.reading",
        "targets.asking",
        "near.exact",
        "near.approximate",
        "hits._find",
        "hits._cosine",
        "postings.places",
        "folders.move",
        "ragindexes.bury",
    } <= found


def test_statements_of_the_verbs_name_their_customer() -> None:
    nameless = {each.where for each in statements() if not _NAMED.search(each.text)}
    assert nameless == set(WITHOUT)


# Unique without naming a customer, each with the reason why no two customers can clash in it.
ONE_OF_ALL = {
    "ann_tables_number": "a number of a sequence, which no request gives",
    "customers_first": "one row of all, which the operator's statements alone set",
    "segments_pkey": "a sequence of the database's; workers alone write the rows",
}
# Of rows that belong to one parent, which row-level security holds to be of the same customer.
OF_A_PARENT = {
    "ann_tables_pkey": "profile_id",
    "chunks_pkey": "index_id",
    "documents_pkey": "source_id",
    "indexes_once": "source_id",
    "postings_pkey": "segment_id",
    "profiles_public_once": "rag_id",
    "segment_members_pkey": "segment_id",
    "sources_file_once": "rag_id",
    "sources_url_once": "rag_id",
}


def unique_indexes(catalog_url: str) -> dict[str, tuple[str, list[str], str]]:
    """Over tables of customers: each one's table, its columns, and the default of a lone one."""
    with psycopg.connect(catalog_url) as connection:
        rows = connection.execute(
            """
            SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text,
                   array_agg(a.attname::text), COALESCE(min(pg_get_expr(d.adbin, d.adrelid)), '')
            FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
            LEFT JOIN pg_attrdef d ON d.adrelid = i.indrelid AND d.adnum = a.attnum
                AND i.indnatts = 1
            WHERE i.indisunique AND i.indrelid::regclass::text = ANY (%s)
            GROUP BY 1, 2
            """,
            [list(TABLES)],
        ).fetchall()
    return {name: (table, columns, default) for name, table, columns, default in rows}


def test_no_unique_key_is_shared_by_two_customers(catalog_url: str) -> None:
    """A key that two customers could both want tells one of them what the other has."""
    found = unique_indexes(catalog_url)
    assert found
    shared = {}
    for name, (table, columns, default) in found.items():
        # 122 random bits that the database draws: nobody can choose or meet another's.
        is_random = columns == ["id"] and default == "gen_random_uuid()"
        if not is_random and "customer_id" not in columns:
            shared[name] = (table, columns)
    assert set(shared) == {*ONE_OF_ALL, *OF_A_PARENT}
    for name, parent in OF_A_PARENT.items():
        assert parent in shared[name][1], name


def test_ids_are_drawn_by_the_database_and_never_taken_from_a_request() -> None:
    """The random primary keys above stay random: no statement of the verbs gives an id."""
    given = {
        each.where
        for each in statements()
        if re.search(r"INSERT INTO \w+ (AS \w+ )?\(id\b", each.text)
    }
    # A new RAG's first profile has the id that the same statement drew with gen_random_uuid().
    assert given == {"rags.insert", "rags._insert_default"}


def test_tokens_are_compared_in_constant_time_only() -> None:
    """No `==` on anything that is secret; digests of the same length go to hmac.compare_digest."""
    module = tree(ENGINE / "access.py")
    secret = re.compile(r"token|digest|hash|bootstrap")
    compared = [
        ast.unparse(each)
        for each in ast.walk(module)
        if isinstance(each, ast.Compare)
        and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in each.ops)
        and secret.search(ast.unparse(each))
    ]
    assert compared == []
    calls = [ast.unparse(each) for each in ast.walk(module) if isinstance(each, ast.Call)]
    assert sum(call.startswith("hmac.compare_digest(") for call in calls) == 2
    assert any("hashlib.sha256(token" in call for call in calls)
