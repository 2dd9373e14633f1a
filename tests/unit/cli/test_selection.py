"""From arguments to named files and URLs."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.addresses import normalise_url
from engine.cli.exits import CliError, Exit
from engine.cli.selection import select

NAMES = st.text("abcAB-_ é", min_size=1, max_size=8).map(str.strip).filter(bool)


def test_a_folder_is_walked_sorted_without_hidden_files_and_named_from_itself(
    tmp_path: Path,
) -> None:
    for name in ("b.md", "a/z.md", "a/.git/x.md", ".env", "a.md"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(name)
    (tmp_path / "docs" / "broken").symlink_to(tmp_path / "nowhere")
    found = select([str(tmp_path / "docs")])
    assert [file.name for file in found.files] == ["a/z.md", "a.md", "b.md"]
    assert found.files[1].sha256() == hashlib.sha256(b"a.md").hexdigest()


def test_a_hidden_file_or_folder_that_is_named_itself_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".notes").mkdir()
    (tmp_path / ".notes" / "a.md").write_text("a")
    (tmp_path / ".b.md").write_text("b")
    found = select([str(tmp_path / ".notes"), str(tmp_path / ".b.md")])
    assert [file.name for file in found.files] == ["a.md", ".b.md"]


def test_two_files_of_one_name_are_refused_and_the_same_file_twice_is_one(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(folder)
    one = str(tmp_path / "x" / "README.md")
    assert len(select([one, one, str(tmp_path / "x")]).files) == 1
    with pytest.raises(CliError, match=r"would both be called 'README\.md'") as caught:
        select([str(tmp_path / "x"), str(tmp_path / "y")])
    assert caught.value.exit_code is Exit.USAGE


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="nowhere is neither a file, a folder nor a URL"):
        select([str(tmp_path / "nowhere")])


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_an_empty_argument_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.md").write_text("a")
    with pytest.raises(CliError, match="An argument is empty") as caught:
        select(["a.md", blank])
    assert caught.value.exit_code is Exit.USAGE
    assert [file.name for file in select(["."]).files] == ["a.md"]


def test_urls_are_taken_once_as_first_spelled() -> None:
    urls = ["https://a.example/x#1", "HTTPS://A.example:443/x", "http://b.example/"]
    assert select(urls).urls == ("https://a.example/x#1", "http://b.example/")


@given(st.lists(st.sampled_from(["http://a.b/1", "http://a.b/2#x", "HTTP://A.b/2", "ftp://c"])))
def test_no_url_is_lost_and_none_comes_twice(urls: list[str]) -> None:
    taken = select(urls).urls
    keys = [normalise_url(url) for url in taken]
    assert len(keys) == len(set(keys))
    assert set(keys) == {normalise_url(url) for url in urls}
