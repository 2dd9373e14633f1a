"""`models`: which embedding models there are, and fetching one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.config import Settings

if TYPE_CHECKING:
    from engine.embedding import ModelSpec


def models(
    action: Literal["list", "pull"] = "list",
    name: str | None = None,
    /,
    *,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """List the embedding models, or pull one onto this machine.

    Parameters
    ----------
    action
        list or pull.
    name
        For pull: name of the model; the default one unless given.
    data_dir
        Data folder, which has the models unless RAG_ENGINE_MODELS_DIR is set.
    json
        Print it as JSON.
    """
    from engine.cli.terminal import say, say_json
    from engine.embedding import Registry

    settings = Settings.from_env(data_dir=data_dir)
    registry = Registry.from_settings(settings)
    if action == "pull":
        spec = registry.get(name) if name else registry.default
        pulled(spec, models_path=settings.models_path)
        if json:
            say_json(_plain(spec, settings=settings))
        else:
            say(f"{spec.name} is ready in {settings.models_path}")
        return Exit.DONE
    if name is not None:
        raise CliError("`models list` takes no name.", exit_code=Exit.USAGE)
    specs = registry.specs()
    if json:
        say_json([_plain(each, settings=settings) for each in specs])
    else:
        _say(specs, settings=settings)
    return Exit.DONE


def pulled(spec: "ModelSpec", *, models_path: Path) -> None:
    """Make a model ready, with one bar while that takes time. Raises ModelUnavailable."""
    from engine.embedding import is_installed, pull

    if is_installed(spec, models_path=models_path):
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from engine.cli.terminal import note

    console = Console(stderr=True)
    if not console.is_terminal:
        note(f"making the model {spec.name} ready (about {spec.megabytes} MB)")
        pull(spec, models_path=models_path)
        return
    columns = (
        TextColumn("model"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=100)

        def show(label: str, done: int, total: int, /) -> None:
            progress.update(bar, description=label, completed=done, total=total)

        pull(spec, models_path=models_path, progress=show)


def _say(specs: "list[ModelSpec]", *, settings: Settings) -> None:
    from engine.cli.terminal import say_columns
    from engine.embedding import is_installed

    rows = [("", "MODEL", "DIMENSIONS", "TOKENS", "MB", "LICENSE")]
    for each in specs:
        here = "ready" if is_installed(each, models_path=settings.models_path) else ""
        default = " (default)" if each.name == settings.embedding_model else ""
        numbers = (str(each.dimensions), str(each.tokens_max), str(each.megabytes))
        rows.append((here, each.name + default, *numbers, each.license))
    say_columns(rows)


def _plain(spec: "ModelSpec", *, settings: Settings) -> dict[str, object]:
    from engine.embedding import is_installed

    return {
        "name": spec.name,
        "default": spec.name == settings.embedding_model,
        "ready": is_installed(spec, models_path=settings.models_path),
        "dimensions": spec.dimensions,
        "tokens_max": spec.tokens_max,
        "megabytes": spec.megabytes,
        "license": spec.license,
        "description": spec.description,
    }
