"""What an owner says about a source: keys with values, and what they must be like. Pure.

A value is a string, a number, a boolean or a list of strings. Each is kept as it was given, and
what cannot be kept so is refused rather than changed, because filters compare exactly.

What does not live here: how they are compared (filters), and which sources have them (sources).
"""

import math
import re
from collections.abc import Mapping

from engine.errors import Detail
from engine.models import Noun
from engine.text import is_clean

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Doubles count so far one by one: beyond, two integers that differ could pass for one.
INTEGER_MAX = 2**53
ISSUES_MAX = 100  # of one request: enough to see what is wrong


class AttributeRules(Noun, frozen=True, kw_only=True):
    """How many pairs a source has, and how long keys and values are; a list counts as its items
    together, each of them as at least one character."""

    pairs_max: int
    key_characters_max: int
    value_characters_max: int

    def issues(self, given: Mapping[str, object], *, field: str) -> list[Detail]:
        """Everything that is wrong with a source's attributes, each by its place."""
        found = []
        if len(given) > self.pairs_max:
            found.append(Detail(field=field, issue=f"at most {self.pairs_max} keys"))
        for key, value in given.items():
            issue = self.key_issue(key) or self.value_issue(value)
            if issue:
                found.append(Detail(field=f"{field}.{key[:100]}", issue=issue))
            if len(found) == ISSUES_MAX:
                break
        return found

    def key_issue(self, key: str) -> str:
        """What is wrong with a key, "" if nothing is."""
        if len(key) <= self.key_characters_max and KEY.fullmatch(key):
            return ""
        return (
            f"a key has 1 to {self.key_characters_max} letters of a to z, digits and _ . -, and "
            "begins with a letter or _"
        )

    def value_issue(self, value: object) -> str:
        if isinstance(value, list | tuple):
            return self._list_issue(value)
        return self.scalar_issue(value, otherwise="a list of strings")

    def scalar_issue(self, value: object, *, otherwise: str = "") -> str:
        """What is wrong with a value that is no list."""
        if isinstance(value, bool):
            return ""
        if isinstance(value, str):
            return self._text_issue(value)
        if isinstance(value, int | float):
            return _number_issue(value)
        kinds = ", ".join(filter(None, ["must be a string", "a number", otherwise]))
        return f"{kinds} or a boolean"

    def _text_issue(self, value: str) -> str:
        if len(value) > self.value_characters_max:
            return f"at most {self.value_characters_max} characters"
        return "" if is_clean(value) else "must not contain control characters"

    def _list_issue(self, values: list[object] | tuple[object, ...]) -> str:
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) < len(values):
            return "a list holds nothing but strings"
        if sum(max(len(text), 1) for text in texts) > self.value_characters_max:
            return f"at most {self.value_characters_max} characters in all of a list"
        return next(filter(None, map(self._text_issue, texts)), "")


def _number_issue(value: int | float) -> str:
    if isinstance(value, int):
        fits = abs(value) <= INTEGER_MAX
        return "" if fits else "an integer is from -2^53 to 2^53: send it as a string"
    return "" if math.isfinite(value) else "must be a finite number"
