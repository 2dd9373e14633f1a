"""Files of golden questions: what is read, and which line is bad for which reason."""

from pathlib import Path

import pytest

from engine.cli import main
from engine.cli.exits import CliError, Exit
from engine.cli.golden import Place, Question, read_questions

REPOSITORY = Path(__file__).parents[3]


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CliError) as caught:
        read_questions(path)
    assert caught.value.exit_code == Exit.USAGE
    return str(caught.value)


REPORT = """{"kind": "rag-engine evaluate", "version": 1, "made_at": "2026-01-01T00:00:00Z",
    "rag": "a", "rag_id": "a", "embedding_model": "a", "settings": {"top_k": 10},
    "figures": {"questions": 1, "recall": {"10": 1.0}, "mrr": 1.0},
    "questions": [{"name": "Why?", "question": "Why?",
        "found": [{"place": {"source": "a.md"}, "rank": 1}]}]}"""
GOOD = '{"question": "Why?", "find": [{"source": "a.md"}]}'


def test_every_form_of_a_place_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        GOOD,
        "",
        '{"question": "How?", "name": "how", "find": [{"text": "so"}, '
        '{"source": "b", "text": "thus"}, {"source": "c", "start": 0, "end": 9}]}',
    )
    assert read_questions(path) == [
        Question(line=1, name="Why?", question="Why?", find=(Place(source="a.md"),)),
        Question(
            line=3,
            name="how",
            question="How?",
            find=(
                Place(text="so"),
                Place(source="b", text="thus"),
                Place(source="c", start=0, end=9),
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: "),
        ("[]", "line 2: Expected object, got array"),
        ('{"question": "x"}', "line 2: Object missing required field find"),
        ('{"question": " ", "find": [{"text": "x"}]}', "line 2: the question is blank"),
        ('{"question": "x\\u0000", "find": [{"text": "x"}]}', "the question has a NUL character"),
        ('{"question": "x", "find": []}', "line 2: find names nothing"),
        ('{"question": "x", "find": [{}]}', "line 2: find[0] needs a source or a text"),
        ('{"question": "x", "find": [{"text": " "}]}', "find[0] needs a source or a text"),
        ('{"question": "x", "find": [{"txt": "y"}]}', "unknown field txt"),
        ('{"question": "x", "find": [{"start": 1, "end": 2}]}', "offsets go with a source"),
        ('{"question": "x", "find": [{"source": "a", "start": 1}]}', "must be offsets"),
        ('{"question": "x", "find": [{"source": "a", "start": 2, "end": 2}]}', "must be offsets"),
        (GOOD, "line 2: is called like line 1, give it a `name`"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    assert words in refusal(written(tmp_path, GOOD, line))


def test_all_bad_lines_are_named_and_a_few_of_very_many(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, "{", GOOD, "[]"))
    assert "line 1: " in told
    assert "line 3: " in told
    told = refusal(written(tmp_path, *["{"] * 100))
    assert (told.count("line "), told.endswith("and 80 more")) == (20, True)


@pytest.mark.parametrize("first", [GOOD, ""])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, first: str) -> None:
    path = written(tmp_path, "\ufeff" + first, GOOD.replace("Why", "How"))
    names = [each.name for each in read_questions(path)]
    assert names == (["Why?", "How?"] if first else ["How?"])
    assert "line 2: " in refusal(written(tmp_path, GOOD, "\ufeff" + GOOD))


def test_bytes_that_are_no_text_and_a_file_without_questions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b'{"question": "\xff", "find": [{"text": "x"}]}')
    assert "line 1: " in refusal(path)
    path.write_bytes(b"\n\n")
    assert "has no questions" in refusal(path)


def test_every_golden_excerpt_of_the_readme_stands_in_the_documents() -> None:
    for asked in read_questions(REPOSITORY / "bench" / "handbook.jsonl"):
        for place in asked.find:
            text = (REPOSITORY / "docs" / place.source).read_text("utf-8")
            assert place.text in " ".join(text.split()), asked.name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.jsonl"], 1, "nowhere.jsonl: No such file"),
        (["bad.jsonl"], 2, "bad.jsonl: line 1: "),
        (["good.jsonl", "--top-k", "0"], 2, "--top-k must be at least 1"),
        (["good.jsonl", "--mode", "sparse"], 2, "hybrid"),
        (["good.jsonl", "--against", "nowhere.json"], 1, "No such file"),
        (["good.jsonl", "--against", "cut.json"], 2, "is not a report of `evaluate`"),
        (["good.jsonl", "--against", "none.json"], 2, "is not a report of `evaluate`"),
        (["good.jsonl", "--against", "else.json"], 2, "else.json is a report of other questions"),
        (["good.jsonl", "--against", "moved.json"], 2, "there is nothing to compare"),
        (["good.jsonl", "--out", "folder"], 2, "--out: folder: is not a file."),
        (["good.jsonl", "--out", "away/r.json"], 2, "--out: away/r.json: there is no folder away."),
        (["good.jsonl", "--out", "bad.jsonl/r"], 2, "bad.jsonl/r: there is no folder bad.jsonl."),
        (["good.jsonl", "--out", "/proc/self/r"], 2, "folder /proc/self cannot be written to."),
        (["good.jsonl", "--against", "bad.jsonl"], 2, "is not a report of `evaluate`"),
        (["good.jsonl", "--against", "good.jsonl"], 2, "is not a report of `evaluate`"),
    ],
)
def test_files_that_cannot_be_read_are_told_before_anything_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text(GOOD)
    Path("bad.jsonl").write_text("{")
    Path("cut.json").write_text(REPORT.replace('"10"', '"ten"'))
    Path("none.json").write_text(REPORT.replace('"top_k": 10', '"top_k": 0'))
    Path("else.json").write_text(REPORT.replace("Why?", "How?"))
    Path("moved.json").write_text(REPORT.replace("a.md", "b.md"))
    Path("folder").mkdir()
    assert main(["evaluate", "a rag", *arguments]) == code
    assert words in capsys.readouterr().err


def test_a_place_is_shown_on_one_short_line() -> None:
    assert str(Place(source="a.md", start=1, end=2)) == "a.md · characters 1-2"
    shown = str(Place(source="a.md", text="word \n" * 100))
    assert shown.startswith("a.md · “word word")
    assert len(shown) < 80
