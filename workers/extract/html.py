"""HTML to a document: the main content with its headings, lists, tables, code and links.

trafilatura decides what is content and what is boilerplate; here its tree is laid out as text.
With html_table, the only module that touches lxml and trafilatura.
"""

import re
from collections.abc import Iterator, Sequence

import trafilatura
from lxml import etree
from lxml import html as lxml_html
from trafilatura.external import jt_stoplist_init

from engine.errors import DocumentBroken, EmptyText
from engine.models import Coverage, Document, Warned
from workers.extract.canonical import Layout, canonical
from workers.extract.html_table import (
    CELL_LOOKS_MAX,
    Spans,
    cell_looks,
    mark_headers,
    move_captions,
)
from workers.extract.markup import linked, pipe_table, raised, squeezed, tidy

_TOO_DEEP = "Excessive depth"
_TOO_DEEP_WARNING = Warned(
    code="html_nested_too_deep",
    message="Elements nested deeper than 256 levels were left out.",
)
_SELF_CLOSED = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)"
    r"([A-Za-z][\w:-]*)(\s[^<>]*)?/>"
)
_DROPPED = (
    "//script|//style|//noscript|//template|//nav|//body/footer|//comment()|//processing-instruction()"
    "|//svg|//iframe|//button|//select|//textarea"
)
# Of a page shorter than this, what looks like a menu is more often the content.
_SHORT_CHARACTERS = 3_000
_LISTS_DEPTH_MAX = 50
_LANGUAGE_CHARACTERS_MAX = 35
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")
_HEADINGS_LOST_MIN = 2
_NUMBER = re.compile(r"[-+\u2212]?[0-9]{1,4}")

# HTML in trafilatura's words, so that one renderer serves both.
_WORDS = {f"h{level}": "head" for level in range(1, 7)} | {
    "ul": "list", "ol": "list", "menu": "list", "li": "item", "tr": "row", "td": "cell",
    "th": "cell", "pre": "code", "blockquote": "quote", "a": "ref", "br": "lb",
}  # fmt: skip
_WRAPPERS = (
    lxml_html.defs.block_tags
    | {"article", "section", "main", "header", "footer", "aside", "hgroup"}
    | {"figure", "figcaption", "details", "summary", "body", "comments"}
) - {"p", "table", "del", "ins", *_WORDS}
_BREAKING = _WRAPPERS | {"p", "item", "head", "row", "quote", "list", "table"}
_BLOCKS = _WRAPPERS | {"head", "list", "table", "quote", "p"}


def read_html(text: str, *, base_url: str, warnings: tuple[Warned, ...]) -> Document:
    """The document of decoded HTML. `base_url` completes relative links; "" leaves them out.

    Raises DocumentBroken when no tree can be made of it and EmptyText when it shows no text.
    """
    tree, too_deep = _parsed(text)
    title, language = _title(tree), _language(tree)
    _prepare(tree, base_url=base_url)
    layout = _laid_out(tree)
    if layout is None:
        raise EmptyText("The page shows no text.")
    if too_deep:
        warnings = (*warnings, _TOO_DEEP_WARNING)
    return Document(
        title=title,
        text=layout.text,
        blocks=tuple(layout.blocks),
        media_type="text/html",
        coverage=Coverage(
            characters=layout.characters,
            tables=sum(block.kind == "table" for block in layout.blocks),
            warnings=warnings,
        ),
        language=language,
    )


def warm_up() -> None:
    """Load the words by which trafilatura judges a page that it is not sure of, one in forty of a
    manual: 0.15 s, which such a page would pay."""
    jt_stoplist_init()


def lay_chapter(layout: Layout, text: str) -> tuple[Warned, ...]:
    """Lay down all that a chapter of a book shows. Raises DocumentBroken; a blank one is fine."""
    if not canonical(text).strip():
        return ()
    # HTML parsers take "<a/>" for an open tag, in which the rest of the chapter would stand.
    tree, too_deep = _parsed(_SELF_CLOSED.sub(r"<\1\2></\1>", text))
    _prepare(tree, base_url="")
    _lay_whole(layout, tree)
    return (_TOO_DEEP_WARNING,) if too_deep else ()


def _parsed(text: str) -> tuple[etree._Element, bool]:
    """The tree, and whether libxml2 dropped what was nested too deep for it."""
    data = canonical(text).encode("utf-8")
    if not data.strip():
        raise EmptyText("The page shows no text.")
    tree, faults = _tree(data, huge=False)
    # Ten megabytes without a tag in between, and libxml2 ends the page right there. Without that
    # limit it nests deeper than the renderers do, so it is lifted only where it has struck.
    if any(_TOO_DEEP not in fault for fault in faults):
        tree, faults = _tree(data, huge=True)
    _gather(tree)
    return tree, any(_TOO_DEEP in fault for fault in faults)


def _tree(data: bytes, *, huge: bool) -> tuple[etree._Element, tuple[str, ...]]:
    """The tree, and at which of its limits libxml2 left something out."""
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=huge)
    try:
        tree = lxml_html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        if not huge and _limits_met(parser):
            return _tree(data, huge=True)
        raise DocumentBroken("The page cannot be read as HTML.") from error
    return tree, _limits_met(parser)


def _limits_met(parser: lxml_html.HTMLParser) -> tuple[str, ...]:
    """What is merely malformed is mended and no fatal error, nor is it any loss."""
    log = parser.error_log
    return tuple(entry.message for entry in log if entry.level == etree.ErrorLevels.FATAL)


def _gather(tree: etree._Element) -> None:
    """Move into the body what stands behind it, which libxml2 leaves beside body or root."""
    body = tree.find("body")
    if body is None:
        return
    roots = [tree, *(each for each in tree.itersiblings() if isinstance(each.tag, str))]
    for root in roots:
        for part in list(root):
            if part is body:
                _pour(body, text=body.tail)
                body.tail = None
            elif part.tag == "body":
                _pour(body, text=part.text, elements=list(part))
                _pour(body, text=part.tail)
            elif part.tag != "head":
                body.append(part)


def _pour(
    body: etree._Element, *, text: str | None, elements: Sequence[etree._Element] = ()
) -> None:
    """The text behind all that the body has, and then the elements with what follows each."""
    if len(body):
        body[-1].tail = (body[-1].tail or "") + (text or "")
    else:
        body.text = (body.text or "") + (text or "")
    body.extend(elements)


def _title(tree: etree._Element) -> str:
    for path in (".//head/title", ".//title", ".//h1"):
        found = tree.find(path)
        if found is not None and (said := squeezed("".join(found.itertext()))):
            return said
    return ""


def _language(tree: etree._Element) -> str | None:
    """What is no language tag is nobody's language, so it is left out rather than cut."""
    said = (tree.get("lang") or "").strip()
    return said if len(said) <= _LANGUAGE_CHARACTERS_MAX and _LANGUAGE.fullmatch(said) else None


def _prepare(tree: etree._Element, *, base_url: str) -> None:
    """Complete links, ready the tables, raise the numbers of notes and of powers, drop the menus
    that trafilatura keeps of a short page."""
    if base_url:
        # Before trafilatura, which completes "../x" against the root of the site.
        # The page's own base comes apart, because only so may lxml ignore one that is no URL.
        tree.resolve_base_href(handle_failures="ignore")
        tree.make_links_absolute(base_url, resolve_base_href=False, handle_failures="ignore")
    for dropped in tree.xpath(_DROPPED):
        if dropped.getparent() is not None:
            dropped.drop_tree()
    move_captions(tree)
    mark_headers(tree)
    for power in [*tree.iter("sup")]:
        _raise_number(power)


def _raise_number(power: etree._Element) -> None:
    # Without its height it would be read as the end of the word or the number before it. Where it
    # leads, as the link of a note does, is of no use outside of its page.
    said = squeezed("".join(power.itertext()))
    if _NUMBER.fullmatch(said):
        for child in power.iterchildren():
            power.remove(child)
        power.text = raised(said)


def _laid_out(tree: etree._Element) -> Layout | None:
    """The main content, or the whole page where that is missing or has lost its structure."""
    found = _main_content(tree)
    flattened = found is not None and _lost_headings(found, tree=tree)
    if found and not flattened:
        structured = any(block.kind != "paragraph" for block in found.blocks)
        if structured or found.characters > _SHORT_CHARACTERS:
            return found
    whole = Layout()
    _lay_whole(whole, tree)
    # Where most of the page is its content, some boilerplate costs less than all headings.
    if found and flattened and found.characters * 2 >= _distinct_characters(whole):
        return whole
    kinds = {block.kind for block in whole.blocks}
    if found and (whole.characters > _SHORT_CHARACTERS or kinds <= {"paragraph", "list"}):
        return found
    return whole if whole.blocks else None


def _lost_headings(found: Layout, *, tree: etree._Element) -> bool:
    """Whether trafilatura fell back to bare paragraphs, which also drops repeated ones."""
    if any(block.kind == "heading" for block in found.blocks):
        return False
    return len(tree.xpath("//h1|//h2|//h3|//h4|//h5|//h6")) >= _HEADINGS_LOST_MIN


def _distinct_characters(layout: Layout) -> int:
    """Without headings and repetitions: what trafilatura takes from a flattened page at most."""
    text = layout.text
    return sum(map(len, {text[b.start : b.end] for b in layout.blocks if b.kind != "heading"}))


def _main_content(tree: etree._Element) -> Layout | None:
    """None when trafilatura finds nothing worth keeping, or would take too long to find it."""
    if cell_looks(tree) > CELL_LOOKS_MAX:
        return None
    found = trafilatura.bare_extraction(
        tree,
        output_format="txt",  # spares the text that the other ones make beside the tree
        favor_recall=True,
        include_comments=False,
        include_formatting=True,
        include_links=True,
        include_tables=True,
        as_dict=False,
    )
    if found is None or isinstance(found, dict) or found.body is None:
        return None
    layout = Layout()
    _Renderer(layout).flow(found.body)
    return layout if layout.blocks else None


def _lay_whole(layout: Layout, tree: etree._Element) -> None:
    """All visible text of the body. Changes the tree's tags, so it comes last."""
    body = tree.find(".//body")
    body = tree if body is None else body
    etree.strip_tags(body, "thead", "tbody", "tfoot", "colgroup")
    for element in body.iter(etree.Element):
        tag = element.tag
        # Only these: names that a broken page has made up cannot even be set to themselves.
        if tag in _WORDS:
            element.tag = _WORDS[tag]
        if element.tag == "head" or tag == "ol":
            element.set("rend", tag)
        elif tag == "th":
            element.set("role", "head")
        elif tag == "pre":
            element.set("rend", "listing")
        elif tag == "a":
            element.set("target", element.get("href", ""))
    _Renderer(layout).flow(body)


class _Renderer:
    """Lays trafilatura's elements out. Its vocabulary: head p list item table row cell code quote
    ref hi lb del graphic, and a few wrappers that are walked through."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.spans = Spans()

    def flow(self, parent: etree._Element) -> None:
        """Blocks as blocks of their own, and what stands between them as paragraphs."""
        words = [parent.text or ""]
        for child in parent:
            if child.tag in _BLOCKS or (child.tag == "code" and _is_listing(child)):
                self._paragraph("".join(words))
                words = []
                self._block(child)
            else:
                words.append(self._inline_element(child))
            words.append(child.tail or "")
        self._paragraph("".join(words))

    def _paragraph(self, text: str) -> None:
        self.layout.block(tidy(text), kind="paragraph")

    def _block(self, element: etree._Element) -> None:
        match element.tag:
            case "head":
                self._heading(element)
            case "list":
                self.layout.block("\n".join(self._items(element, depth=0)), kind="list")
            case "table":
                self._table(element)
            case "code":
                self._code(element)
            case "quote":
                quoted = tidy(self._inline(element))
                self._paragraph("\n".join(f"> {line}" for line in quoted.split("\n") if line))
            case _:
                self.flow(element)

    def _heading(self, element: etree._Element) -> None:
        rend = element.get("rend") or "h2"
        level = int(rend[1]) if rend[1:2].isdigit() else 2
        said = squeezed("".join(element.itertext()))
        if said:
            self.layout.heading(said, level=level, shown=f"{'#' * level} {said}")

    def _items(self, element: etree._Element, *, depth: int) -> Iterator[str]:
        ordered = element.get("rend") == "ol"
        indent = "  " * min(depth, _LISTS_DEPTH_MAX)
        for number, item in enumerate(element, start=1):
            if item.tag == "list":
                yield from self._items(item, depth=depth + 1)
                continue
            nested = [child for child in item if child.tag == "list"]
            said = squeezed(self._inline(item, without=frozenset({"list"})))
            if said:
                yield f"{indent}{f'{number}.' if ordered else '-'} {said}"
            for inner in nested:
                yield from self._items(inner, depth=depth + 1)

    def _table(self, element: etree._Element) -> None:
        rows, header_rows = [], 0
        self.spans.open_table()
        for row in element:
            if row.tag in ("row", "cell"):
                cells = [*row.iterchildren("cell")] if row.tag == "row" else [row]
                said = [squeezed(self._inline(cell)) for cell in cells]
                rows.append(self.spans.row(zip(cells, said, strict=True)))
                if any(cell.get("role") == "head" for cell in cells):
                    header_rows = len(rows)  # only the last of them is marked
            else:  # a caption, or what a broken page has there
                self._paragraph(self._inline_element(row))
        text, header = pipe_table(rows, header_rows=header_rows)
        self.layout.block(text, kind="table", header=header)

    def _code(self, element: etree._Element) -> None:
        source = canonical("".join(element.itertext())).strip("\n").rstrip()
        longest = max((len(run) for run in re.findall(r"`{3,}", source)), default=2)
        fence = "`" * (longest + 1)
        if source:
            self.layout.block(f"{fence}\n{source}\n{fence}", kind="code")

    def _inline(self, element: etree._Element, *, without: frozenset[str] = frozenset()) -> str:
        parts = [element.text or ""]
        for child in element:
            if child.tag not in without:
                parts.append(self._inline_element(child))
            parts.append(child.tail or "")
        return "".join(parts)

    def _inline_element(self, element: etree._Element) -> str:
        match element.tag:
            case "lb":
                return "\n"
            case "code":
                return f"`{squeezed(''.join(element.itertext()))}`"
            case "ref":
                return self._link(element)
            case tag if tag in _BREAKING:
                return f"\n{self._inline(element)}\n"
            case "cell":
                return f" {self._inline(element)} "
        return self._inline(element) if isinstance(element.tag, str) else ""

    def _link(self, element: etree._Element) -> str:
        return linked(squeezed(self._inline(element)), url=element.get("target") or "")


def _is_listing(code: etree._Element) -> bool:
    if code.get("rend") == "listing" or code.find("code") is not None:
        return True
    return "\n" in "".join(code.itertext()).strip()
