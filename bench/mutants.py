"""Small wrong versions of a module, one change each, in a fixed order.

What lives here: which changes are made. What does not: running tests against them (bench.mutation).
Python is changed in its syntax tree, SQL in the string that holds it.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.RShift: ast.LShift(),
    ast.LShift: ast.RShift(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}
# What a statement of the protocol relies on, and what is left when it is forgotten.
SQL = (
    (r"\s+AND (?:\w\.)?attempt = %\(attempt\)s", ""),
    (r"\s+AND (?:\w\.)?lease_until IS NOT NULL", ""),
    (r"\s+AND (?:\w\.)?deleted_at IS NULL", ""),
    (r"\s+AND (?:\w\.)?revision = %\(generation\)s", ""),
    (r"\s+AND (?:\w\.)?generation = %\(generation\)s", ""),
    (r"\s+AND (?:\w\.)?profile_live = %\(profile_id\)s", ""),
    (r"\s+AND \(NOT alone OR %\(idle\)s\)", ""),
    (r"\s+AND (?:\w\.)?due_at <= now\(\)", ""),
    (r"attempt = (\w+\.)?attempt \+ 1", r"attempt = \1attempt"),
    (r"lease_until = NULL", "lease_until = lease_until"),
    (r"due_at = NULL", "due_at = due_at"),
    (r"FOR (?:SHARE|UPDATE)(?: OF [\w, ]+)?(?: SKIP LOCKED)?", ""),
)


class Mutant(NamedTuple):
    """`what` tells the change, the same way in every run: an explanation is kept under it."""

    function: str
    what: str
    source: str


def mutants(source: str, *, functions: frozenset[str] | None) -> Iterator[Mutant]:
    """Every mutant of these functions, or of the whole module."""
    tree = ast.parse(source)
    for name, what in _changed(tree, functions=functions):
        yield Mutant(name, what, ast.unparse(tree))


def names(source: str, *, functions: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    """Function and change of every mutant, without the trouble of writing it down."""
    yield from _changed(ast.parse(source), functions=functions)


def _changed(tree: ast.Module, *, functions: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    """The tree is that of one mutant after the other, while each is read."""
    for name, scope in _scopes(tree, functions=functions):
        seen: dict[str, int] = {}
        for node in ast.walk(scope):
            for before, after in _changes(node):
                what = f"{before} -> {after}"
                seen[what] = seen.get(what, 0) + 1
                number = f" ({seen[what]})" if seen[what] > 1 else ""
                yield name, what + number


def _scopes(tree: ast.Module, *, functions: frozenset[str] | None) -> Iterator[tuple[str, ast.AST]]:
    found: dict[str, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(node.name, node)
    for name, scope in found.items():
        if functions is None or name in functions:
            yield name, scope
    if functions:
        missing = functions - found.keys()
        assert not missing, f"no such function: {missing}"


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Change the node in place while its mutant is read, then put it back."""
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        yield from _combined(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        before, kept = ast.unparse(node), node.operand
        node.operand = ast.UnaryOp(op=ast.Not(), operand=kept)
        yield before, ast.unparse(kept)
        node.operand = kept
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        before, op = ast.unparse(node), node.op
        node.op = ARITHMETIC[type(op)]
        yield before, ast.unparse(node)
        node.op = op
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield from _conditions(node)
    elif isinstance(node, ast.comprehension):
        conditions = node.ifs
        for position, condition in enumerate(conditions):
            node.ifs = conditions[:position] + conditions[position + 1 :]
            yield f"if {ast.unparse(condition)}", "without the condition"
        node.ifs = conditions


def _compared(node: ast.Compare) -> Iterator[tuple[str, str]]:
    before = ast.unparse(node)
    for position, op in enumerate(node.ops):
        if type(op) in SWAPS:
            node.ops[position] = SWAPS[type(op)]()
            yield before, ast.unparse(node)
            node.ops[position] = op


def _combined(node: ast.BoolOp) -> Iterator[tuple[str, str]]:
    before, op, values = ast.unparse(node), node.op, node.values
    node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
    yield before, ast.unparse(node)
    node.op = op
    for position in range(len(values)):
        node.values = values[:position] + values[position + 1 :]
        yield before, ast.unparse(node)
    node.values = values


def _conditions(node: ast.If | ast.IfExp | ast.While) -> Iterator[tuple[str, str]]:
    test = node.test
    for value in (True, False):
        if value and isinstance(node, ast.While):
            continue  # an endless loop says nothing about the tests
        node.test = ast.Constant(value)
        yield f"if {ast.unparse(test)}", f"if {value}"
    node.test = test


def _constants(node: ast.Constant) -> Iterator[tuple[str, str]]:
    value = node.value
    if isinstance(value, bool):
        node.value = not value
        yield repr(value), repr(node.value)
    elif isinstance(value, int):
        for other in (value + 1, value - 1):
            node.value = other
            yield repr(value), repr(other)
    elif isinstance(value, str):
        yield from _statements(node, value)
    node.value = value


def _statements(node: ast.Constant, value: str) -> Iterator[tuple[str, str]]:
    for pattern, left in SQL:
        for match in re.finditer(pattern, value):
            node.value = value[: match.start()] + match.expand(left) + value[match.end() :]
            yield " ".join(match[0].split()), match.expand(left) or "nothing"
