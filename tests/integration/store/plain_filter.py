"""What a filter means, written down a second time in plain Python: the tests compare with this."""

from collections.abc import Mapping

from engine.filters import Comparison, Filter, Group, Joint, Operator
from engine.models import Scalar


def holds(wanted: Filter, attributes: Mapping[str, object]) -> bool:
    """Whether a source with these attributes matches."""
    if isinstance(wanted, Group):
        every = (holds(part, attributes) for part in wanted.parts)
        return all(every) if wanted.joint is Joint.AND else any(every)
    if wanted.operator is Operator.NE:
        return not _any(wanted, attributes)
    return _any(wanted, attributes)


def _any(wanted: Comparison, attributes: Mapping[str, object]) -> bool:
    if wanted.key not in attributes:
        return False
    value = attributes[wanted.key]
    items = value if isinstance(value, list | tuple) else [value]
    return any(_is(wanted.operator, item, each) for item in items for each in wanted.values)


def _is(operator: Operator, item: object, value: Scalar) -> bool:
    if _kind(item) != _kind(value):
        return False
    match operator:
        case Operator.GT:
            return item > value  # type: ignore[operator, no-any-return]
        case Operator.GTE:
            return item >= value  # type: ignore[operator, no-any-return]
        case Operator.LT:
            return item < value  # type: ignore[operator, no-any-return]
        case Operator.LTE:
            return item <= value  # type: ignore[operator, no-any-return]
        case _:
            return item == value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__
