"""The command line, one module per verb. Verbs return an exit code; this module starts them.

    0    done
    1    what was asked for failed: a source ended in error, a check found something wrong
    2    bad usage, or a setting that is missing or wrong
    3    the engine, or what it stands on (database, queue, storage, model), cannot be reached
    4    the access key is missing, unknown or expired
    5    `evaluate --against`: something that the earlier report found was not found
    130  interrupted

Answers go to stdout, progress and errors to stderr; an error is one sentence, never a traceback.
Verbs that a script would call take --json. Heavy libraries are imported where they are used, so
that every command starts fast.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from engine.cli.exits import CliError, Exit
from engine.config import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    # Libraries report what is then raised as well; `serve` and the workers set up their own logs.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        return _run(arguments)
    except CycloptsError as error:
        print(f"rag-engine: {error}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `head` does. Nothing more can be said on this pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except _expected() as error:
        print(f"rag-engine: {_sentence(error)}", file=sys.stderr)
        return _exit_code(error)


def _run(arguments: Sequence[str] | None) -> int:
    code = _app()(
        arguments,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    sys.stdout.flush()
    return code if isinstance(code, int) else Exit.DONE


def _app() -> App:
    """All verbs. Their modules are small: each imports what is heavy when it is called."""
    from importlib.metadata import version

    from engine.cli import (
        customers,
        doctor,
        evaluate,
        ingest,
        keys,
        models,
        query,
        serve,
        status,
        up,
        work,
    )

    app = App(
        name="rag-engine",
        help="Files and URLs in, passages with exact citations out.",
        version=lambda: version("rag-engine"),
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    verbs: tuple[Callable[..., int], ...] = (
        up.up,
        serve.serve,
        work.work,
        ingest.ingest,
        query.query,
        evaluate.evaluate,
        status.status,
        keys.keys,
        models.models,
        doctor.doctor,
    )
    for verb in verbs:
        app.command(verb)
    operator = App(name="customers", help="Make, list and purge customers.")
    operator.command(customers.create)
    operator.command(customers.list_all, name="list")
    operator.command(customers.purge)
    app.command(operator)
    return app


def _expected() -> tuple[type[Exception], ...]:
    """What ends in a sentence. Evaluated only once something has been raised: imports cost."""
    from engine.errors import EngineError
    from engine.local import LocalError
    from engine.store.schema import SchemaError

    # OSError: disks fill up and folders lose their permissions at any place.
    return (
        *(CliError, SettingsError, EngineError, LocalError, SchemaError),
        *(OSError, UnicodeEncodeError),
    )


def _sentence(error: Exception) -> str:
    from engine.cli.doctor import cause_of
    from engine.errors import CallerError, Unavailable

    if isinstance(error, UnicodeEncodeError):
        return "an argument is not valid UTF-8"
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or error}"
    if isinstance(error, Unavailable) and error.__cause__:
        return f"{error} ({cause_of(error)})"
    if isinstance(error, CallerError) and error.details:
        issues = "; ".join(f"{each.field} {each.issue}" for each in error.details)
        return f"{error} ({issues})"
    return str(error)


def _exit_code(error: Exception) -> Exit:
    from engine.errors import InvalidRequest, Unauthenticated, Unavailable

    if isinstance(error, CliError):
        return error.exit_code
    if isinstance(error, (SettingsError, InvalidRequest, UnicodeEncodeError)):
        return Exit.USAGE
    if isinstance(error, Unavailable):
        return Exit.UNREACHABLE
    return Exit.UNAUTHORISED if isinstance(error, Unauthenticated) else Exit.FAILED
