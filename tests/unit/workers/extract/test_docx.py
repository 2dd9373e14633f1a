from contextlib import suppress

import pytest
from docx.enum.text import WD_BREAK
from fix_archives import add_link, docx_of, paragraph, saved, word, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Limits
from engine.errors import DocumentBroken, DocumentTooLarge, EmptyText
from workers.extract.archive import Archive
from workers.extract.docx import read_docx


def read(data, *, characters_max=1_000_000):
    return read_docx(Archive(data, limits=Limits()), characters_max=characters_max)


def shown(document):
    return [(b.kind, document.text[b.start : b.end], b.headings) for b in document.blocks]


def texts(document):
    return [document.text[b.start : b.end] for b in document.blocks]


def test_headings_make_the_path_of_what_is_below():
    made = word()
    made.add_heading("The title", level=0)
    made.add_paragraph("Before.")
    made.add_heading("One", level=1)
    made.add_heading("Two", level=2)
    made.add_paragraph("Below.")
    made.add_heading("Three", level=1)
    document = read(saved(made))
    assert shown(document) == [
        ("heading", "# The title", ()),
        ("paragraph", "Before.", ("The title",)),
        ("heading", "# One", ("The title",)),
        ("heading", "## Two", ("The title", "One")),
        ("paragraph", "Below.", ("The title", "One", "Two")),
        ("heading", "# Three", ("The title",)),
    ]
    assert document.media_type.endswith("wordprocessingml.document")
    assert document.coverage.characters == len(document.text)


def test_styles_inherit_their_level_and_a_paragraph_may_overrule_it():
    styles = (
        '<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Mine"><w:basedOn w:val="berschrift2"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Loop"><w:basedOn w:val="Loop"/></w:style>'
        '<w:style w:styleId="Deep"><w:pPr><w:outlineLvl w:val="7"/></w:pPr></w:style>'
    )
    body = (
        paragraph("A", '<w:pStyle w:val="Mine"/>')
        + paragraph("B", '<w:pStyle w:val="Mine"/><w:outlineLvl w:val="9"/>')
        + paragraph("C", '<w:outlineLvl w:val="0"/>')
        + paragraph("D", '<w:pStyle w:val="Loop"/>')
        + paragraph("E", '<w:pStyle w:val="Deep"/>')
        + paragraph("F", '<w:outlineLvl w:val="-1"/>')
    )
    assert texts(read(docx_of(body, styles=styles))) == ["## A", "B", "# C", "D", "###### E", "F"]


def test_lists_are_one_block_with_numbers_and_indents():
    made = word()
    made.add_paragraph("Before.")
    made.add_paragraph("one", style="List Bullet")
    made.add_paragraph("two", style="List Bullet")
    made.add_paragraph("After.")
    made.add_paragraph("first", style="List Number")
    made.add_paragraph("second", style="List Number")
    assert shown(read(saved(made))) == [
        ("paragraph", "Before.", ()),
        ("list", "- one\n- two", ()),
        ("paragraph", "After.", ()),
        ("list", "1. first\n2. second", ()),
    ]


def test_numbers_count_by_level_and_begin_where_they_are_told_to():
    numbering = (
        '<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:start w:val="3"/>'
        '<w:numFmt w:val="decimal"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/>'
        '</w:lvl></w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>'
        '<w:num w:numId="2"><w:abstractNumId w:val="7"/><w:lvlOverride w:ilvl="0">'
        '<w:startOverride w:val="1"/></w:lvlOverride></w:num>'
    )

    def item(text, level, list_id="1"):
        said = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_id}"/></w:numPr>'
        return paragraph(text, said)

    body = (
        item("a", 0) + item("b", 1) + item("c", 1) + item("d", 0) + item("e", 1) + item("f", 0, "2")
    )
    body += item("g", 5, "9") + item("no item", 0, "0")
    assert texts(read(docx_of(body, numbering=numbering))) == [
        "3. a\n  1. b\n  2. c\n4. d\n  1. e\n1. f\n          - g",
        "no item",
    ]


def test_a_table_is_a_pipe_table_with_its_header():
    made = word()
    table = made.add_table(rows=3, cols=2)
    for row, cells in zip(table.rows, [("Name", "Size"), ("a|b", "1"), ("c", "2")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document = read(saved(made))
    (block,) = document.blocks
    assert document.text == "| Name | Size |\n| --- | --- |\n| a\\|b | 1 |\n| c | 2 |"
    assert document.text[: block.header_end] == "| Name | Size |\n| --- | --- |\n"
    assert document.coverage.tables == 1


def cells(*said, row=""):
    return f"<w:tr>{row}" + "".join(f"<w:tc>{one}</w:tc>" for one in said) + "</w:tr>"


def test_merged_cells_keep_the_columns_and_nested_tables_are_text():
    inner = f"<w:tbl>{cells(paragraph('in'), paragraph('side'))}</w:tbl>"
    body = (
        "<w:tbl>"
        + cells('<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>' + paragraph("wide"), paragraph("c"))
        + cells(paragraph("one") + paragraph("two"), inner, paragraph(""))
        + cells(paragraph(""), paragraph(""), paragraph(""))
        + "</w:tbl>"
    )
    document = read(docx_of(body))
    assert document.text == "| wide |  | c |\n| one two | in side |  |"
    assert document.blocks[0].header_end == document.blocks[0].start


@pytest.mark.parametrize(
    "said",
    [
        '<w:tblPr><w:tblLook w:firstRow="1"/></w:tblPr>',
        '<w:tblPr><w:tblLook w:val="04A0"/></w:tblPr>',
    ],
)
def test_old_and_new_programs_mark_the_header(said):
    body = f"<w:tbl>{said}{cells(paragraph('H'))}{cells(paragraph('b'))}</w:tbl>"
    assert read(docx_of(body)).text == "| H |\n| --- |\n| b |"


def test_a_row_that_is_repeated_on_each_page_is_the_header():
    row = "<w:trPr><w:tblHeader/></w:trPr>"
    body = f"<w:tbl>{cells(paragraph('H'), row=row)}{cells(paragraph('b'))}</w:tbl>"
    assert read(docx_of(body)).text == "| H |\n| --- |\n| b |"


def header(*flags, look=""):
    """What the header is of a table whose rows, each its number, are repeated where "1" says so."""
    marks = {"1": "<w:trPr><w:tblHeader/></w:trPr>", "0": "", "-": OFF}
    said = (cells(paragraph(str(n)), row=marks[flag]) for n, flag in enumerate(flags, start=1))
    document = read(docx_of(f"<w:tbl>{look}{''.join(said)}</w:tbl>"))
    return document.text[: document.blocks[0].header_end]


OFF = '<w:trPr><w:tblHeader w:val="0"/></w:trPr>'
LOOK = '<w:tblPr><w:tblLook w:firstRow="1"/></w:tblPr>'


def test_all_leading_rows_that_are_repeated_are_the_header():
    assert header(*"1100") == "| 1 |\n| --- |\n| 2 |\n"
    assert header(*"1010") == "| 1 |\n| --- |\n"
    assert header(*"0110") == ""
    # With nothing below them they would be the whole table.
    assert header(*"11") == "| 1 |\n| --- |\n"


def test_a_first_row_that_is_not_repeated_is_no_header_for_the_second_one():
    assert header(*"010", look=LOOK) == "| 1 |\n| --- |\n"
    assert header(*"-10", look=LOOK) == ""


def test_an_absurd_span_is_bounded():
    wide = '<w:tcPr><w:gridSpan w:val="999999999"/></w:tcPr>' + paragraph("x")
    assert len(read(docx_of(f"<w:tbl>{cells(wide)}</w:tbl>")).text) < 300


def test_links_of_all_three_kinds_are_written_out():
    made = word()
    add_link(made.add_paragraph("See "), text="the page", url="https://x.org/a b")
    add_link(made.add_paragraph("Not "), text="a script", url="javascript:alert(1)")
    assert texts(read(saved(made))) == [
        "See [the page](https://x.org/a%20b)",
        "Not a script",
    ]
    field = (
        '<w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> HYPERLINK '
        '"https://x.org/f" </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        '<w:r><w:t>there </w:t></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
        '<w:fldSimple w:instr="HYPERLINK &quot;https://x.org/s&quot;"><w:r><w:t>here</w:t></w:r>'
        "</w:fldSimple></w:p>"
    )
    inside = '<w:p><w:hyperlink w:anchor="top"><w:r><w:t>up</w:t></w:r></w:hyperlink></w:p>'
    assert texts(read(docx_of(field + inside))) == [
        "[there](https://x.org/f) [here](https://x.org/s)",
        "up",
    ]


def test_breaks_and_tabs_are_blanks_and_pages_do_not_matter():
    made = word()
    para = made.add_paragraph("one\ttwo")
    para.add_run().add_break()
    para.add_run("three")
    para.add_run().add_break(WD_BREAK.PAGE)
    para.add_run("four")
    para.paragraph_format.tab_stops.add_tab_stop(914400)
    assert texts(read(saved(made))) == ["one two\nthree\nfour"]


def test_headers_footers_and_comments_are_left_out():
    made = word()
    made.sections[0].header.paragraphs[0].text = "in the header"
    made.sections[0].footer.paragraphs[0].text = "in the footer"
    made.add_comment(made.add_paragraph("Body.").runs, text="a comment", author="A", initials="A")
    assert read(saved(made)).text == "Body."


def test_deleted_moved_and_hidden_text_is_left_out_and_inserted_text_kept():
    run = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:p><w:del>{run.format('deleted')}</w:del><w:ins>{run.format('kept ')}</w:ins>"
        f"<w:moveFrom>{run.format('moved')}</w:moveFrom>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
        '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>shown</w:t></w:r></w:p>'
        "<w:p><w:pPr><w:rPr><w:vanish/></w:rPr><w:pPrChange><w:pPr>"
        '<w:outlineLvl w:val="0"/></w:pPr></w:pPrChange></w:pPr>' + run.format("words") + "</w:p>"
    )
    assert texts(read(docx_of(body))) == ["kept shown", "words"]


def test_a_text_box_is_read_once():
    box = f"<w:txbxContent>{paragraph('boxed')}</w:txbxContent>"
    body = (
        "<w:p><w:r><w:t>around</w:t></w:r><w:r><mc:AlternateContent><mc:Choice>"
        f"{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert texts(read(docx_of(body))) == ["boxed", "around"]


def test_tables_of_contents_are_left_out():
    styles = '<w:style w:type="paragraph" w:styleId="V1"><w:name w:val="toc 1"/></w:style>'
    body = paragraph("One 7", '<w:pStyle w:val="V1"/>') + paragraph("Body.")
    assert read(docx_of(body, styles=styles)).text == "Body."


def test_notes_stand_at_the_end_below_no_heading():
    body = (
        paragraph("H", '<w:outlineLvl w:val="0"/>')
        + '<w:p><w:r><w:t>A</w:t><w:endnoteReference w:id="2"/></w:r><w:r><w:t> b</w:t>'
        '<w:footnoteReference w:id="2"/><w:t> c</w:t><w:footnoteReference w:id="9"/></w:r></w:p>'
    )
    footnotes = (
        f'<w:footnote w:type="separator" w:id="-1">{paragraph("line")}</w:footnote>'
        f'<w:footnote w:id="2">{paragraph("Foot.")}{paragraph("More.")}</w:footnote>'
        f'<w:footnote w:id="3">{paragraph("Unused.")}</w:footnote>'
    )
    endnotes = f'<w:endnote w:id="2">{paragraph("End.")}</w:endnote>'
    document = read(docx_of(body, footnotes=footnotes, endnotes=endnotes))
    assert shown(document)[1:] == [
        ("paragraph", "A[1] b[2] c[3]", ("H",)),
        ("paragraph", "[2] Foot.\nMore.", ()),
        ("paragraph", "[1] End.", ()),
    ]


def test_the_title_is_the_documents_own_else_its_highest_heading():
    made = word()
    made.add_heading("Second", level=2)
    made.add_heading("First", level=1)
    assert read(saved(made)).title == "First"
    made.core_properties.title = "Its own"
    assert read(saved(made)).title == "Its own"


def test_a_heading_far_down_is_no_title():
    made = word()
    made.add_paragraph("a sentence. " * 100)
    made.add_heading("Late", level=1)
    document = read(saved(made))
    assert (document.title, document.blocks[-1].kind) == ("", "heading")


def test_the_language_is_told():
    assert read(saved_words()).language == "en-US"


def saved_words():
    made = word()
    made.add_paragraph("Words.")
    return saved(made)


@pytest.mark.parametrize("main", ["word/document2.xml", "/word/document2.xml"])
def test_the_main_part_may_have_another_name(main):
    members = {
        "_rels/.rels": f'<R><Relationship Type="x/officeDocument" Target="{main}"/></R>',
        "word/document2.xml": f"<w:document><w:body>{paragraph('x')}</w:body></w:document>",
    }
    assert read(zipped(members)).text == "x"


def test_a_document_without_text_is_empty():
    with pytest.raises(EmptyText) as caught:
        read(saved(word()))
    assert caught.value.code == "empty_text"


@pytest.mark.parametrize(
    "members",
    [
        {"word/other.xml": "<a/>"},
        {"word/document.xml": "<w:document>"},
        {"word/document.xml": '<!DOCTYPE a [<!ENTITY b "x">]><w:document>&b;</w:document>'},
        {"word/document.xml": "<a/>", "word/_rels/document.xml.rels": "no XML"},
    ],
)
def test_damaged_parts_are_broken(members):
    with pytest.raises(DocumentBroken) as caught:
        read(zipped(members))
    assert caught.value.code == "document_broken"


def test_too_much_text_is_refused_on_the_way():
    with pytest.raises(DocumentTooLarge, match="more than 100 characters"):
        read(docx_of(paragraph("x" * 101)), characters_max=100)


NAMES = [
    *("p", "pPr", "r", "rPr", "t", "tbl", "tr", "tc", "tcPr", "hyperlink", "fldSimple", "del"),
    *("txbxContent", "footnote", "tab", "br", "vanish", "tblHeader", "instrText", "moveFrom"),
]
LEAVES = [
    '<w:fldChar w:fldCharType="begin"/>',
    '<w:fldChar w:fldCharType="separate"/>',
    '<w:fldChar w:fldCharType="end"/>',
    '<w:gridSpan w:val="3"/>',
    '<w:outlineLvl w:val="1"/>',
    '<w:numId w:val="1"/>',
    '<w:ilvl w:val="8"/>',
    '<w:footnoteReference w:id="1"/>',
]
ELEMENTS = st.recursive(
    st.one_of(st.text("ab |\n", max_size=5), st.sampled_from(LEAVES)),
    lambda inner: st.builds(
        lambda name, parts: f"<w:{name}>{''.join(parts)}</w:{name}>",
        st.sampled_from(NAMES),
        st.lists(inner, max_size=4),
    ),
    max_leaves=30,
)


def check_coverage(document):
    at = 0
    for block in document.blocks:
        assert at <= block.start < block.end
        assert not document.text[at : block.start].strip()
        at = block.end
    assert not document.text[at:].strip()


@settings(deadline=None)
@given(ELEMENTS)
def test_elements_in_any_disorder_become_a_covered_document(body):
    with suppress(EmptyText):
        check_coverage(read(docx_of(body)))


# What XML can hold.
WRITABLE = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
WORDS = st.text(WRITABLE, max_size=30)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["p", "Heading 1", "List Bullet", "table"]), WORDS)))
def test_every_word_stands_in_a_block(said):
    made = word()
    for kind, text in said:
        if kind == "table":
            made.add_table(rows=1, cols=1).rows[0].cells[0].text = text
        else:
            made.add_paragraph(text, style=None if kind == "p" else kind)
    try:
        document = read(saved(made))
    except EmptyText:
        assert not any(text.strip() for _, text in said)
        return
    check_coverage(document)
    together = "".join(texts(document)).replace("\\|", "|")
    for _, text in said:
        for part in text.split():
            assert part in together
