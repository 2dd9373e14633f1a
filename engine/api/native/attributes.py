"""Attributes and filters on the wire, as the schema describes them; the verbs check them."""

from typing import Annotated, Any

from msgspec import Meta

from engine.filters import Joint, Operator

_SCALAR = {"type": ["string", "number", "boolean"]}
ATTRIBUTES = {
    "additionalProperties": {
        "anyOf": [_SCALAR, {"type": "array", "items": {"type": "string"}}],
    }
}
NewAttributes = Annotated[
    dict[str, Any],
    Meta(
        description="Of your choice: strings, numbers, booleans or lists of strings, by key.",
        extra_json_schema=ATTRIBUTES,
    ),
]
Filter = Annotated[
    dict[str, Any],
    Meta(
        description=(
            "Only sources whose attributes match. One field, its operator: `and` and `or` of a "
            "list of filters; `eq`, `ne`, `gt`, `gte`, `lt`, `lte` of a key and a value; `in` of "
            "a key and a list of values."
        ),
        examples=[{"eq": {"key": "language", "value": "de"}}],
        extra_json_schema={
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"enum": [*Joint, *Operator]},
        },
    ),
]
OwnAttributes = Annotated[
    dict[str, dict[str, Any]],
    Meta(
        description=(
            "For single sources, by storage file id, URL or filename: added to `attributes`, or in "
            "their place."
        ),
        extra_json_schema={"additionalProperties": {"type": "object", **ATTRIBUTES}},
    ),
]
