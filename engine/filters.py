"""Filters over the attributes of sources: read from JSON, written as a jsonpath. Pure.

    {"and": [{"eq": {"key": "language", "value": "de"}}, {"gte": {"key": "year", "value": 2020}}]}

A node is an object with one field, its operator. `and` and `or` hold nodes; the others compare the
value of a key: eq, ne and in any value, gt, gte, lt and lte numbers or strings. Types never coerce:
"5" is not 5, and nothing is greater than something of another type. A list matches where one of
its items does. A key that a source does not have matches nothing; only `ne` is true for it, which
is true exactly where eq is not.

What does not live here: which sources match, which the database finds.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from engine.attributes import ISSUES_MAX, AttributeRules
from engine.errors import Detail, InvalidRequest
from engine.models import Noun, Scalar

FIELD = "filter"


class Operator(StrEnum):
    """Of a comparison."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


class Joint(StrEnum):
    """Of a group."""

    AND = "and"
    OR = "or"


class Comparison(Noun, frozen=True, kw_only=True):
    """`values` is one, but for `in`, which is true where eq is for any of them."""

    operator: Operator
    key: str
    values: tuple[Scalar, ...]


class Group(Noun, frozen=True, kw_only=True):
    """Of at least one part."""

    joint: Joint
    parts: tuple["Filter", ...]


Filter: TypeAlias = Comparison | Group

ORDERING = {Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<="}
WORDS = ", ".join([*Joint, *Operator])


class FilterRules(Noun, frozen=True, kw_only=True):
    """How deep nodes may lie in one another, how many compare, and with how many values, those of
    `in` one by one."""

    depth_max: int
    conditions_max: int
    values_max: int
    attributes: AttributeRules


def read_filter(given: object, *, rules: FilterRules) -> Filter:
    """A filter from decoded JSON. Raises InvalidRequest, naming each offence by its place."""
    reader = _Reader(rules)
    found = reader.node(given, place=FIELD, depth=1)
    if found is None or reader.details:
        raise InvalidRequest("The filter is not valid.", details=tuple(reader.details))
    return found


class _Reader:
    """Goes on after an offence, so that one answer tells all; None stands for what is none."""

    def __init__(self, rules: FilterRules) -> None:
        self._rules = rules
        self._conditions = 0
        self._values_count = 0
        self._is_over = False
        self.details: list[Detail] = []

    def node(self, given: object, *, place: str, depth: int) -> Filter | None:
        if not isinstance(given, dict) or len(given) != 1:
            self._refuse(place, f"must be an object with one field, one of {WORDS}")
            return None
        (word, operand), *_ = given.items()
        place = f"{place}.{word[:100]}"
        if depth > self._rules.depth_max:
            self._refuse(place, f"is nested deeper than {self._rules.depth_max} levels")
        elif word in {*Joint}:
            return self._group(Joint(word), operand, place=place, depth=depth)
        elif word in {*Operator}:
            return self._comparison(Operator(word), operand, place=place)
        else:
            self._refuse(place, f"is not an operator, which are {WORDS}")
        return None

    def _group(self, joint: Joint, operand: object, *, place: str, depth: int) -> Filter | None:
        if not isinstance(operand, list) or not operand:
            self._refuse(place, "must be a list of at least one filter")
            return None
        parts = []
        for number, each in enumerate(operand):
            if self._is_enough:
                return None
            part = self.node(each, place=f"{place}[{number}]", depth=depth + 1)
            if part is not None:
                parts.append(part)
        return Group(joint=joint, parts=tuple(parts))

    @property
    def _is_enough(self) -> bool:
        """The rest may be very long, and nothing will be made of it."""
        return self._is_over or len(self.details) >= ISSUES_MAX

    def _comparison(self, operator: Operator, operand: object, *, place: str) -> Filter | None:
        if not isinstance(operand, dict):
            self._refuse(place, "must be an object with the fields key and value")
            return None
        for name in [*operand][:ISSUES_MAX]:
            if name not in ("key", "value"):
                self._refuse(f"{place}.{name[:100]}", "is not a field of a comparison")
        for name in ("key", "value"):
            if name not in operand:
                self._refuse(f"{place}.{name}", "is required")
        key = self._key(operand.get("key", "missing"), place=f"{place}.key")
        values = self._values(operator, operand.get("value", ""), place=f"{place}.value")
        return Comparison(operator=operator, key=key, values=values)

    def _key(self, key: object, *, place: str) -> str:
        if not isinstance(key, str):
            self._refuse(place, "must be a string")
            return ""
        self._refuse(place, self._rules.attributes.key_issue(key))
        return key

    def _values(self, operator: Operator, value: object, *, place: str) -> tuple[Scalar, ...]:
        values: list[Any] = [value]
        if operator is Operator.IN:
            if not isinstance(value, list) or not value:
                self._refuse(place, "must be a list of at least one value")
                return ()
            values = value
        self._count(len(values))
        for number, each in enumerate(values):
            if self._is_enough:
                break
            here = f"{place}[{number}]" if operator is Operator.IN else place
            self._refuse(here, self._issue(operator, each))
        return tuple(values)

    def _count(self, values: int) -> None:
        self._conditions += 1
        self._values_count += values
        if self._is_over:
            return
        for count, count_max, what in (
            (self._conditions, self._rules.conditions_max, "conditions"),
            (self._values_count, self._rules.values_max, "values"),
        ):
            if count > count_max:
                self._is_over = True
                self._refuse(FIELD, f"has more than {count_max} {what}")

    def _issue(self, operator: Operator, value: object) -> str:
        if operator in ORDERING and isinstance(value, bool):
            return "must be a string or a number: booleans have no order"
        return self._rules.attributes.scalar_issue(value)

    def _refuse(self, place: str, issue: str) -> None:
        """No words, no offence."""
        if issue:
            self.details.append(Detail(field=place, issue=issue))


class Predicate(Noun, frozen=True, kw_only=True):
    """A jsonpath that is true or false for every object and never unknown, and the values of its
    variables: the path itself holds keys only."""

    path: str
    values: Mapping[str, tuple[Scalar, ...]]


def predicate(wanted: Filter) -> Predicate:
    """The filter for the database.

    `exists` drops what cannot be compared. Lax mode looks into lists, of the source and of `in`
    alike; a list in a variable is compared six times faster than a chain of literals.
    """
    values: dict[str, tuple[Scalar, ...]] = {}
    return Predicate(path=_path(wanted, values=values), values=values)


def _path(wanted: Filter, *, values: dict[str, tuple[Scalar, ...]]) -> str:
    if isinstance(wanted, Group):
        sign = " && " if wanted.joint is Joint.AND else " || "
        return f"({sign.join(_path(part, values=values) for part in wanted.parts)})"
    variable = f"v{len(values)}"
    values[variable] = wanted.values
    sign = ORDERING.get(wanted.operator, "==")
    negation = "!" if wanted.operator is Operator.NE else ""
    return f'{negation}exists($."{_escaped(wanted.key)}" ? (@ {sign} ${variable}))'


def _escaped(key: str) -> str:
    """In ASCII, although the rules for keys let nothing else pass: no code page and no sanitiser
    can change it."""
    return "".join(
        each if each.isascii() and each.isalnum() else f"\\u{{{ord(each):x}}}" for each in key
    )
