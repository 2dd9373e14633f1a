"""Questions out of the links of an HTML manual: its index, and sentences that refer elsewhere."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxml import html

from bench.manuals import Manual, excerpt
from bench.questions import Question, chosen, telling

_SPACE = re.compile(r"\s+")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z(])")
Node = Any  # an element; lxml says nothing of its types


def by_links(pages: Sequence[Path], *, index: Path, manuals: Sequence[Manual]) -> list[Question]:
    """`pages` are all of the manual, `manuals` those of them that are searched."""
    numbers = {manual.name: number for number, manual in enumerate(manuals)}
    trees = {page.name: html.fromstring(page.read_bytes()) for page in pages}
    places = _Places(trees, manuals=manuals, numbers=numbers)
    found = [*_terms(html.fromstring(index.read_bytes()), places=places)]
    for name, tree in trees.items():
        found += _references(tree, name=name, places=places)
    return chosen(found)


class _Places:
    """Where in the searched texts an address of the manual is."""

    def __init__(
        self, trees: Mapping[str, Node], *, manuals: Sequence[Manual], numbers: Mapping[str, int]
    ) -> None:
        self.manuals = manuals
        self.numbers = numbers
        self._ids = {
            name: {node.get("id"): node for node in trees[name].iter() if node.get("id")}
            for name in numbers
            if name in trees
        }

    def answer(self, href: str) -> tuple[int, int, int] | None:
        """The manual and range of what follows the address."""
        name, _, anchor = href.partition("#")
        if name not in self._ids:
            return None
        nodes = self._ids[name]
        node = nodes.get(anchor) if anchor else next(iter(nodes.values()), None)
        for paragraph in () if node is None else _paragraphs(node):
            if place := self.of_text(name, text=_said(paragraph)):
                number, start, _ = place
                document = self.manuals[number].document
                return number, *excerpt(document, start=start, end=len(document.text))
        return None

    def of_text(self, name: str, *, text: str) -> tuple[int, int, int] | None:
        words = re.findall(r"\w+", text)
        if name not in self.numbers or len(words) < 6:
            return None
        number = self.numbers[name]
        pattern = r"\W+".join(map(re.escape, words[:40]))
        match = re.search(pattern, self.manuals[number].document.text)
        return (number, *match.span()) if match else None


def _paragraphs(node: Node) -> list[Node]:
    inside = node.xpath("ancestor-or-self::p | ancestor::dd[1]//p[1]")
    return [*inside[-1:], *node.xpath("descendant::p")[:2], *node.xpath("following::p")[:1]]


def _terms(index: Node, *, places: _Places) -> Iterator[Question]:
    for term in index.iter("dt"):
        links = term.xpath("./a[@class='indexterm']")
        name = _said_before(term)
        above = term.xpath("ancestor::dd[1]/preceding-sibling::dt[1]")
        if above:
            name = f"{_said_before(above[0])} {name}"
        if len(links) != 1 or not 1 <= len(telling(name)) <= 8 or not re.search("[a-z]{3}", name):
            continue
        if place := places.answer(links[0].get("href")):
            yield Question("term", name, *place)


def _references(tree: Node, *, name: str, places: _Places) -> Iterator[Question]:
    for link in tree.xpath("//p//a[@class='xref']"):
        place = places.answer(link.get("href") or "")
        paragraph = link.xpath("ancestor::p[1]")[0]
        if place is None:
            continue
        for sentence in _SENTENCE.split(_said(paragraph)):
            if _said(link) in sentence:
                origin = places.of_text(name, text=sentence)
                plain = re.sub(r"\(?\b(?:see|See)\b", "", sentence.replace(_said(link), ""))
                if len(telling(plain)) >= 6 and (origin is None or origin[0] != place[0]):
                    yield Question("link", _SPACE.sub(" ", plain).strip(), *place, origin)
                break


def _said(node: Node) -> str:
    return _SPACE.sub(" ", node.text_content()).strip()


def _said_before(term: Node) -> str:
    return _SPACE.sub(" ", term.text or "").strip(" ,")
