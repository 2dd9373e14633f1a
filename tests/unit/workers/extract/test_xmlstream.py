import io

import pytest

from engine.errors import DocumentBroken
from workers.extract.xmlstream import attribute, tree

LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'


def test_names_come_without_prefixes():
    root = tree(io.BytesIO(b'<w:a w:val="1"><w:b>x</w:b></w:a>'))
    assert (root.tag, root.get("val"), root.findtext("b")) == ("a", "1", "x")
    assert attribute({"w:val": "1"}, "val") == "1"
    assert attribute({"w:value": "1"}, "val") == ""


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "iso-8859-1"])
def test_the_character_sets_of_xml_are_read(charset):
    said = f'<?xml version="1.0" encoding="{charset}"?><a>Grüße</a>'
    assert tree(io.BytesIO(said.encode(charset))).text == "Grüße"


@pytest.mark.parametrize(
    "data",
    [
        LAUGHS,
        LAUGHS.decode().encode("utf-16"),
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "http://127.0.0.1/">]><a>&b;</a>',
        b'<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/passwd"> %b;]><a/>',
    ],
)
def test_a_dtd_is_refused(data):
    with pytest.raises(DocumentBroken, match="DTD"):
        tree(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words",
        b"<a>",
        b"<a>&undeclared;</a>",
        b"<a/><b/>",
        b"\xff\xfe<",
        b'<?xml version="1.0" encoding="idna"?><a/>',
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
    ],
)
def test_what_is_no_xml_is_broken(data):
    with pytest.raises(DocumentBroken) as caught:
        tree(io.BytesIO(data))
    assert caught.value.code == "document_broken"
