import io

import pypdfium2
import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    ByteStringObject,
    DictionaryObject,
    NameObject,
    NumberObject,
)

from engine.errors import DocumentBroken, DocumentTooLarge, PdfEncrypted, PdfImageOnly
from workers.extract.pdf import _read_with_pypdf, read_pdf


def made(*pages, outline=(), width=0):
    """A PDF with these page texts; `outline` holds (title, level, page from 1)."""
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for text in pages:
        pdf.add_page()
        if text:
            pdf.multi_cell(width, 8, text, align="L", new_x="LMARGIN", new_y="NEXT")
    writer = PdfWriter(clone_from=io.BytesIO(bytes(pdf.output())))
    parents = {}
    for title, level, page in outline:
        parents[level] = writer.add_outline_item(
            title=title, page_number=page - 1, parent=parents.get(level - 1)
        )
    return written(writer)


def written(writer):
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def read(data, *, pages_max=100, characters_max=1_000_000):
    return read_pdf(data, pages_max=pages_max, characters_max=characters_max)


def test_every_block_knows_its_page():
    document = read(made("First page.", "Second page."))
    assert document.text == "First page.\n\nSecond page."
    assert [(b.kind, b.page) for b in document.blocks] == [("paragraph", 1), ("paragraph", 2)]
    assert document.coverage.pages_total == document.coverage.pages_with_text == 2
    assert document.media_type == "application/pdf"


def test_titles_of_the_outline_are_headings_where_they_stand():
    data = made(
        "1. Introduction\nWords here.\n1.1 Why\nBecause.",
        "More of why.\n2 The\nlong end\nDone.",
        outline=[("Introduction", 1, 1), ("Why", 2, 1), ("The long end", 1, 2)],
    )
    document = read(data)
    found = [(b.kind, document.text[b.start : b.end], b.headings, b.page) for b in document.blocks]
    assert found == [
        ("heading", "1. Introduction", (), 1),
        ("paragraph", "Words here.", ("Introduction",), 1),
        ("heading", "1.1 Why", ("Introduction",), 1),
        ("paragraph", "Because.", ("Introduction", "Why"), 1),
        ("paragraph", "More of why.", ("Introduction", "Why"), 2),
        ("heading", "2 The\nlong end", (), 2),
        ("paragraph", "Done.", ("The long end",), 2),
    ]


def test_a_title_that_does_not_stand_on_its_page_applies_from_there_on():
    data = made("Front.", "Body.", outline=[("Elsewhere", 1, 2)])
    assert [b.headings for b in read(data).blocks] == [(), ("Elsewhere",)]


def test_a_short_line_that_ends_a_sentence_ends_its_paragraph():
    prose = "These words fill the line up to its margin and then go on to the next one. " * 3
    document = read(made(f"{prose}Short end.\n{prose}"))
    assert len(document.blocks) == 2
    assert document.text[: document.blocks[0].end].endswith("Short end.")


def test_pages_without_text_are_counted_and_named():
    coverage = read(made("Words.", "", "")).coverage
    assert (coverage.pages_total, coverage.pages_with_text) == (3, 1)
    assert [w.code for w in coverage.warnings] == ["pages_without_text"]
    assert coverage.warnings[0].message.startswith("2 of 3 pages")


def test_a_pdf_without_any_text_is_named_as_images():
    with pytest.raises(PdfImageOnly, match="1 page but no text") as caught:
        read(made(""))
    assert caught.value.code == "pdf_image_only"


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_user_password_is_named(algorithm):
    writer = PdfWriter(clone_from=io.BytesIO(made("Secret.")))
    writer.encrypt("user", "owner", algorithm=algorithm)
    with pytest.raises(PdfEncrypted) as caught:
        read(written(writer))
    assert caught.value.code == "pdf_encrypted"


def test_an_owner_password_alone_does_not_matter():
    writer = PdfWriter(clone_from=io.BytesIO(made("Open to read.")))
    writer.encrypt("", "owner", algorithm="AES-256")
    assert read(written(writer)).text == "Open to read."


@pytest.mark.parametrize("junk", [b"%PDF-1.7\n", b"%PDF-1.4\ngarbage" * 50])
def test_garbage_is_broken(junk):
    with pytest.raises(DocumentBroken) as caught:
        read(junk)
    assert caught.value.code == "document_broken"


def test_a_pdf_cut_in_the_middle_is_broken():
    data = made("Words.")
    with pytest.raises(DocumentBroken):
        read(data[: len(data) // 4])


def test_too_many_pages_are_refused():
    with pytest.raises(DocumentTooLarge, match="3 pages; the limit is 2") as caught:
        read(made("a", "b", "c"), pages_max=2)
    assert caught.value.code == "document_too_large"


def test_too_many_characters_are_refused():
    with pytest.raises(DocumentTooLarge, match="more than 10 characters"):
        read(made("a" * 8, "b" * 8), characters_max=10)


def test_the_second_reader_reads_the_same_words():
    data = made("First page.", "Second page.")
    assert len(PdfReader(io.BytesIO(data)).pages) == 2
    pages = _read_with_pypdf(data, pages_max=10, characters_max=1_000)
    assert [text.strip() for text in pages.texts] == ["First page.", "Second page."]


def test_the_second_reader_names_passwords_and_garbage_too():
    writer = PdfWriter(clone_from=io.BytesIO(made("Secret.")))
    writer.encrypt("user", "owner", algorithm="AES-256")
    with pytest.raises(PdfEncrypted):
        _read_with_pypdf(written(writer), pages_max=10, characters_max=1_000)
    with pytest.raises(DocumentBroken):
        _read_with_pypdf(b"%PDF-1.7 nothing", pages_max=10, characters_max=1_000)


LONE_SURROGATE = ByteStringObject(b"\xfe\xff\xd8\x00\x00A")


def test_half_a_surrogate_pair_in_the_title_costs_the_title_only():
    writer = PdfWriter(clone_from=io.BytesIO(made("Words.")))
    writer.add_metadata({"/Title": "Broken"})
    writer._info[NameObject("/Title")] = LONE_SURROGATE
    document = read(written(writer))
    assert (document.title, document.text) == ("", "Words.")


def test_half_a_surrogate_pair_in_a_bookmark_costs_that_bookmark_only():
    data = made("One.", "Two.", outline=[("Broken", 1, 1), ("Whole", 1, 2)])
    writer = PdfWriter(clone_from=io.BytesIO(data))
    broken = next(
        entry for entry in writer._objects if getattr(entry, "get", dict)("/Title") == "Broken"
    )
    broken[NameObject("/Title")] = LONE_SURROGATE
    document = read(written(writer))
    assert [block.headings for block in document.blocks] == [(), ("Whole",)]


def test_a_page_whose_text_does_not_decode_is_unreadable_alone(monkeypatch):
    texts = iter(["Words.", None])

    def decoded(textpage):
        return next(texts) or b"\x00\xd8".decode("utf-16-le")

    monkeypatch.setattr(pypdfium2.PdfTextPage, "get_text_range", decoded)
    document = read(made("a", "b"))
    assert document.text == "Words."
    assert [warning.code for warning in document.coverage.warnings] == ["pages_unreadable"]


def in_trees(*sizes, told):
    """Page trees of so many pages each, below a root that tells of `told` pages."""
    writer = PdfWriter(clone_from=io.BytesIO(made(*["The lamp."] * sum(sizes))))
    pages = [page.indirect_reference for page in writer.pages]
    trees = []
    for size in sizes:
        kids, pages = pages[:size], pages[size:]
        tree = {"/Type": NameObject("/Pages"), "/Kids": ArrayObject(kids)}
        tree["/Count"] = NumberObject(size)
        trees.append(
            writer._add_object(
                DictionaryObject({NameObject(key): value for key, value in tree.items()})
            )
        )
    root = writer._root_object["/Pages"]
    root.update({NameObject("/Kids"): ArrayObject(trees), NameObject("/Count"): NumberObject(told)})
    return written(writer)


@pytest.mark.parametrize("sizes", [(2, 3), (3,) * 9, (1, 1, 1, 5)])
def test_pages_beyond_those_that_the_root_tells_of_are_named(sizes):
    coverage = read(in_trees(*sizes, told=len(sizes))).coverage
    assert coverage.pages_total == sum(sizes)
    assert [each.code for each in coverage.warnings] == ["pages_unreadable"]


@pytest.mark.parametrize("sizes", [(2, 3), (3,) * 9, (1, 1, 1, 5)])
def test_a_tree_that_tells_the_truth_has_no_warning(sizes):
    coverage = read(in_trees(*sizes, told=sum(sizes))).coverage
    assert coverage.pages_total == coverage.pages_with_text == sum(sizes)
    assert not coverage.warnings
