"""DOCX and EPUB files made for tests: by python-docx, or part by part."""

import io
import zipfile

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'


def zipped(members, *, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            # The first member of a book has to be readable without any tool.
            stored = zipfile.ZIP_STORED if name == "mimetype" else None
            # Without the time of day, so that the same file is made every time.
            member = zipfile.ZipInfo(name)
            member.compress_type = method if stored is None else stored
            archive.writestr(member, content)
    return file.getvalue()


def docx_of(body, **parts):
    """A DOCX with that body; `parts` are further parts, named without their folder and .xml."""
    relationships = "".join(
        f'<Relationship Id="{kind}" Type="x/{kind}" Target="{kind}.xml"/>'
        for kind in parts
        if kind != "rels"
    )
    root = f"<w:document {W} {R}><w:body>{body}</w:body></w:document>"
    return zipped(
        {
            "[Content_Types].xml": CONTENT_TYPES,
            "word/document.xml": root,
            "word/_rels/document.xml.rels": (
                f"<Relationships>{relationships}{parts.pop('rels', '')}</Relationships>"
            ),
        }
        | {f"word/{kind}.xml": f"<w:{kind} {W}>{said}</w:{kind}>" for kind, said in parts.items()}
    )


def paragraph(text, properties=""):
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def word():
    """A new document in python-docx."""
    return docx.Document()


def saved(document):
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def add_link(paragraph, *, text, url):
    """python-docx reads links, but does not make them."""
    link = OxmlElement("w:hyperlink")
    link.set(
        qn("r:id"), paragraph.part.relate_to(url, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    )
    run = OxmlElement("w:r")
    words = OxmlElement("w:t")
    words.text = text
    run.append(words)
    link.append(run)
    paragraph._p.append(link)


def page(body, *, title="t"):
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title>{title}</title></head><body>{body}</body></html>"
    )


def epub_of(chapters, *, metadata="", guide="", manifest="", spine=None, extra=None):
    """A book whose `chapters` map file names to bodies, or to whole files when these are bytes."""
    items = "".join(
        f'<item id="i{number}" href="{name}" media-type="application/xhtml+xml"'
        f' properties="{"nav" if name.startswith("nav") else ""}"/>'
        for number, name in enumerate(chapters)
    )
    order = range(len(chapters)) if spine is None else spine
    references = "".join(f'<itemref idref="i{number}"/>' for number in order)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>'
        f"<manifest>{items}{manifest}</manifest><spine>{references}</spine>"
        f"<guide>{guide}</guide></package>"
    )
    files = {
        f"OPS/{name}": body if isinstance(body, bytes) else page(body)
        for name, body in chapters.items()
    }
    start = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER}
    return zipped({**start, "OPS/book.opf": package, **files, **(extra or {})})
