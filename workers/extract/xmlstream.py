"""XML of strangers, read as a stream: no DTD, hence no entities, and no outside. Owns expat.

Names come without their prefixes: Office writes the same elements in two namespaces (Transitional
and Strict), and the parts that are read have no two of one name.
"""

from collections.abc import Mapping
from typing import BinaryIO, Protocol
from xml.etree import ElementTree
from xml.parsers import expat

from engine.errors import DocumentBroken

# Only what trees are made of: the parser is the one below.
Element = ElementTree.Element
_READ_BYTES = 65_536
_CHARSETS = frozenset({"utf-8", "utf8", "utf-16", "us-ascii", "ascii", "iso-8859-1"})


class Handler(Protocol):
    """What is told of the elements, in their order. Text may come in pieces."""

    def start(self, name: str, attributes: dict[str, str], /) -> object: ...

    def end(self, name: str, /) -> object: ...

    def data(self, text: str, /) -> object: ...


def local(name: str) -> str:
    """The name without its prefix."""
    return name.rpartition(":")[2]


def attribute(attributes: Mapping[str, str], name: str) -> str:
    """The attribute of that local name, "" when it is not there."""
    return next((value for key, value in attributes.items() if local(key) == name), "")


def stream(file: BinaryIO, handler: Handler) -> None:
    """Tell the handler all of it, with prefixes. Raises DocumentBroken for what is no safe XML."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = _READ_BYTES
    parser.XmlDeclHandler = _check_charset
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.data
    try:
        while chunk := file.read(_READ_BYTES):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        if error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_MEMORY]:
            raise MemoryError from error
        raise DocumentBroken("A part of the document is no well-formed XML.") from error


def tree(file: BinaryIO) -> Element:
    """All of it as a tree of local names: for the small parts."""
    builder = _Builder()
    stream(file, builder)
    return builder.builder.close()


class _Builder:
    def __init__(self) -> None:
        self.builder = ElementTree.TreeBuilder()
        self.data = self.builder.data

    def start(self, name: str, attributes: dict[str, str], /) -> None:
        self.builder.start(local(name), {local(key): said for key, said in attributes.items()})

    def end(self, name: str, /) -> None:
        self.builder.end(local(name))


def _check_charset(version: str, charset: str | None, standalone: int) -> None:
    # Others would make expat ask for a codec, of which not all are text.
    if charset and charset.lower() not in _CHARSETS:
        raise DocumentBroken("A part of the document is in a character set that XML may not have.")


def _refuse_doctype(*_: object) -> None:
    raise DocumentBroken("A part of the document declares a DTD, which is not read for safety.")
