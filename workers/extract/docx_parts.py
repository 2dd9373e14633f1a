"""The parts of a DOCX beside its text: relationships, styles, numbering, properties."""

import posixpath
from collections.abc import Iterator

import msgspec

from workers.extract.archive import Archive
from workers.extract.markup import squeezed
from workers.extract.xmlstream import Element, tree

# Of headings and of lists alike.
LEVELS = 9
_OFF = ("0", "false", "off", "none")
_STYLES_DEPTH_MAX = 20


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """Where a relationship leads: a part's name, or a URL when it is external."""

    kind: str
    target: str
    external: bool


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What a paragraph of the style is. `level`: 0 the title, from 1 headings, None neither."""

    name: str = ""
    level: int | None = None
    list_id: str = ""
    list_level: int = 0


class ListLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How items of one level of a list are marked: by numbers from `first` on, or by dashes."""

    numbered: bool = False
    first: int = 1


def is_on(value: str) -> bool:
    """Whether a switch such as <w:vanish w:val="…"/> is on; without a value it is."""
    return value.lower() not in _OFF


def number(value: str, *, otherwise: int) -> int:
    """What strangers wrote where a small number belongs."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else otherwise


def relationships(archive: Archive, *, of: str = "") -> dict[str, Related]:
    """The relationships of a part, or of the package, by their ids."""
    folder, name = posixpath.split(of)
    path = posixpath.join(folder, "_rels", f"{name}.rels")
    found = {}
    for each in _elements(archive, path, tag="Relationship"):
        target, external = each.get("Target", ""), each.get("TargetMode") == "External"
        if not external:
            target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
        kind = each.get("Type", "").rpartition("/")[2]
        found[each.get("Id", "")] = Related(kind=kind, target=target, external=external)
    return found


def part_of(related: dict[str, Related], *, kind: str) -> str:
    """The first part of that kind, "" without any."""
    parts = (each.target for each in related.values() if each.kind == kind and not each.external)
    return next(parts, "")


def styles(archive: Archive, part: str) -> dict[str, Style]:
    """The paragraph styles by their ids; the default one by "" too."""
    found = {each.get("styleId", ""): each for each in _elements(archive, part, tag="style")}
    resolved = {name: _style(name, found) for name in found}
    for name, each in found.items():
        if each.get("type") == "paragraph" and is_on(each.get("default", "0")):
            resolved[""] = resolved[name]
    return resolved


def _style(name: str, found: dict[str, Element]) -> Style:
    """With what it does not say itself taken from the styles that it is based on."""
    title, level, list_id, list_level = "", "", "", ""
    for _ in range(_STYLES_DEPTH_MAX):
        each = found.get(name)
        if each is None:
            break
        said = squeezed(_value(each, "name")).lower()
        title = title or said
        level = level or _value(each, "pPr/outlineLvl") or _named_level(said)
        list_id = list_id or _value(each, "pPr/numPr/numId")
        list_level = list_level or _value(each, "pPr/numPr/ilvl")
        name = _value(each, "basedOn")
    outline = number(level, otherwise=LEVELS)
    return Style(
        name=title,
        level=0 if title == "title" else outline + 1 if outline < LEVELS else None,
        list_id=list_id,
        list_level=number(list_level, otherwise=0),
    )


def _named_level(name: str) -> str:
    """The outline level, which counts from 0, that the name of a built-in style implies."""
    level = number(name.removeprefix("heading "), otherwise=0)
    return str(level - 1) if 1 <= level <= LEVELS else ""


def lists(archive: Archive, part: str) -> dict[str, dict[int, ListLevel]]:
    """The levels of every list, by its id."""
    abstract, found = {}, {}
    for each in _elements(archive, part, tag="abstractNum"):
        abstract[each.get("abstractNumId", "")] = _levels(each)
    for each in _elements(archive, part, tag="num"):
        levels = dict(abstract.get(_value(each, "abstractNumId"), {}))
        for override in each.findall("lvlOverride"):
            levels.update(_levels(override))
            at = number(override.get("ilvl", ""), otherwise=0)
            if first := _value(override, "startOverride"):
                level = levels.get(at, ListLevel())
                first_number = number(first, otherwise=1)
                levels[at] = ListLevel(numbered=level.numbered, first=first_number)
        found[each.get("numId", "")] = levels
    return found


def _levels(parent: Element) -> dict[int, ListLevel]:
    return {
        number(each.get("ilvl", ""), otherwise=0): ListLevel(
            numbered=_value(each, "numFmt") not in ("", "bullet", "none"),
            first=number(_value(each, "start"), otherwise=1),
        )
        for each in parent.findall("lvl")
    }


class Numbering:
    """Counts the items of lists."""

    def __init__(self, lists: dict[str, dict[int, ListLevel]]) -> None:
        self._lists = lists
        self._counts: dict[str, list[int | None]] = {}

    def item(self, text: str, *, list_id: str, level: int) -> str:
        """The item's line, with its indent and mark."""
        level = min(level, LEVELS - 1)
        counts = self._counts.setdefault(list_id, [None] * LEVELS)
        how = self._lists.get(list_id, {}).get(level, ListLevel())
        last = counts[level]
        counts[level] = count = how.first if last is None else last + 1
        counts[level + 1 :] = [None] * (LEVELS - level - 1)
        return f"{'  ' * level}{f'{count}.' if how.numbered else '-'} {text}"


def title_of(archive: Archive, part: str) -> str:
    """What the document's properties call it."""
    return next((each.text or "" for each in _elements(archive, part, tag="title")), "")


def language_of(archive: Archive, part: str) -> str | None:
    """The language that the styles begin with."""
    for each in _elements(archive, part, tag="docDefaults"):
        if said := _value(each, "rPrDefault/rPr/lang"):
            return said[:35]
    return None


def _elements(archive: Archive, part: str, *, tag: str) -> Iterator[Element]:
    """Those of a part that may be missing."""
    if part in archive:
        with archive.opened(part) as file:
            yield from tree(file).iter(tag)


def _value(element: Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get("val", "")
