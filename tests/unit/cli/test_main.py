"""Exit codes and sentences of `main`, without an engine."""

from pathlib import Path

import pytest

from engine import errors
from engine.cli import _exit_code, _sentence, main
from engine.cli.exits import CliError, Exit
from engine.config import SettingsError
from engine.local import LocalError
from engine.store.schema import SchemaError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CliError("x", exit_code=Exit.UNREACHABLE), 3),
        (SettingsError("x"), 2),
        (errors.InvalidRequest("x"), 2),
        (errors.DatabaseUnavailable("x"), 3),
        (errors.ModelUnavailable("x"), 3),
        (errors.InvalidCredentials("x"), 4),
        (errors.CustomerNotFound("x"), 1),
        (LocalError("x"), 1),
        (SchemaError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert _exit_code(error) == code


def test_a_sentence_names_the_fields_at_fault() -> None:
    details = (errors.Detail(field="name", issue="is too long"),)
    error = errors.InvalidRequest("This cannot be made.", details=details)
    assert _sentence(error) == "This cannot be made. (name is too long)"


def test_who_is_at_the_terminal_may_read_why_a_service_is_away() -> None:
    error = errors.DatabaseUnavailable("The database is away at the moment.")
    error.__cause__ = OSError("connection refused\nby the server")
    assert _sentence(error) == "The database is away at the moment. (connection refused)"


def test_wrong_usage_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--no-such-option"]) == Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("rag-engine: ")
    assert shown.err.count("\n") == 1


def test_a_folder_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").mkdir()
    monkeypatch.setenv("RAG_ENGINE_DATA_DIR", str(tmp_path))
    assert main(["status"]) == Exit.FAILED
    assert capsys.readouterr().err == (
        f"rag-engine: The file {tmp_path / 'key'} cannot be used: Is a directory.\n"
    )


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.DONE
    shown = capsys.readouterr().out
    verbs = ["up", "serve", "work", "ingest", "query", "status", "customers", "keys", "models"]
    assert [verb for verb in verbs if f"│ {verb} " not in shown] == []
