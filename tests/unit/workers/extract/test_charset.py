import pytest

from engine.errors import UnsupportedFormat
from workers.extract.charset import decode

GERMAN = "Die Größe der Straße über dem Fluß ändert sich: schöne Grüße aus München. " * 5
JAPANESE = "これは日本語の文章です。文字コードを判定します。" * 5
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(charset):
    assert decode(GERMAN.encode(charset), declared="koi8-r").text == GERMAN


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_recognised(charset):
    assert decode(GERMAN.encode(charset), declared="iso-8859-1").text == GERMAN


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (GERMAN, "iso-8859-1"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "iso-2022-jp"),
    ],
)
def test_the_declared_charset_is_used_where_utf8_fails(text, charset):
    decoded = decode(text.encode(charset), declared=charset)
    assert decoded.text == text
    assert decoded.warnings == ()


def test_utf8_wins_over_a_wrong_claim():
    assert decode(GERMAN.encode(), declared="iso-8859-1").text == GERMAN


def test_the_claim_of_a_page_is_used():
    page = f'<html><head><meta charset="windows-1251"></head><body>{RUSSIAN}'
    assert decode(page.encode("cp1251"), declared="").text == page


@pytest.mark.parametrize(("text", "charset"), [(RUSSIAN, "cp1251"), (JAPANESE, "shift_jis")])
def test_a_guess_is_right_and_says_that_it_is_one(text, charset):
    decoded = decode(text.encode(charset), declared="")
    assert decoded.text == text
    assert [warning.code for warning in decoded.warnings] == ["charset_guessed"]


def test_a_few_broken_bytes_are_replaced_and_counted():
    decoded = decode(GERMAN.encode()[:-30] + b"\xff" + GERMAN.encode(), declared="utf-8")
    assert decoded.text.count("\ufffd") == 1
    assert [warning.code for warning in decoded.warnings] == ["replaced_characters"]
    assert decoded.warnings[0].message.startswith("1 character ")


@pytest.mark.parametrize("name", ["zip", "rot13", "punycode", "idna", "no-such", "unicode_escape"])
def test_codecs_that_are_no_charsets_are_not_used(name):
    assert decode(GERMAN.encode("iso-8859-1"), declared=name).text == GERMAN


def test_junk_behind_a_byte_order_mark_is_refused():
    with pytest.raises(UnsupportedFormat):
        decode(b"\xef\xbb\xbf" + bytes(range(128, 256)) * 20, declared="")


CHINESE = "这是一个关于茶叶的说明文档。每天早上我们都会泡一壶绿茶。" * 20
KOREAN = "이것은 한국어 문서입니다. 매일 아침 녹차를 마십니다. " * 20
TURKISH = "Şişli'de çalışan öğretmenler İstanbul'a yağmur yağdığında gidiyor. " * 5


@pytest.mark.parametrize(
    ("text", "charset", "bad"),
    [
        (CHINESE, "gbk", b"\xff\n"),
        (CHINESE, "big5", b"\xff\n"),
        (JAPANESE * 4, "euc_jp", b"\xff\n"),
        (RUSSIAN, "cp1251", b"\x98"),
    ],
)
def test_one_bad_byte_does_not_turn_the_claim_away(text, charset, bad):
    data = text.encode(charset, "ignore")
    for page in (b"", f'<meta charset="{charset}">'.encode()):
        decoded = decode(page + data + bad + data, declared="" if page else charset)
        assert decoded.text.count("\ufffd") == 1
        assert decoded.text.endswith(data.decode(charset))
        assert [warning.code for warning in decoded.warnings] == ["replaced_characters"]


def test_a_claim_that_most_bytes_contradict_is_not_taken():
    data = ("a plain sentence of english words " * 10 + "a café au lait. ") * 5
    assert decode(data.encode("cp1252"), declared="utf-8").text == data
    assert decode(data.encode("cp1252"), declared="euc-jp").text == data


@pytest.mark.parametrize(
    ("text", "written", "declared"),
    [
        (CHINESE + "朱镕基", "gbk", "gb2312"),
        (CHINESE + "㐀", "gb18030", "gbk"),
        (JAPANESE + "①", "cp932", "shift_jis"),
        (KOREAN + "펲시콜라", "cp949", "euc-kr"),
        (TURKISH + "“€”", "cp1254", "iso-8859-9"),
    ],
)
def test_a_label_means_the_larger_charset_that_browsers_read(text, written, declared):
    decoded = decode(text.encode(written), declared=declared)
    assert (decoded.text, decoded.warnings) == (text, ())


def test_a_guess_survives_a_bad_byte_behind_its_sample():
    data = (RUSSIAN * 300).encode("cp1251")
    decoded = decode(data + b"\x98\n" + data, declared="")
    assert decoded.text.endswith(RUSSIAN)
    codes = {warning.code for warning in decoded.warnings}
    assert codes == {"charset_guessed", "replaced_characters"}


def test_ascii_that_claims_to_be_utf16_is_read_as_it_is():
    assert decode(b"even", declared="utf-16le").text == "even"
