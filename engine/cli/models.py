"""`models`: which embedding models there are, and fetching one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.config import Settings

if TYPE_CHECKING:
    from engine.embedding import ModelSpec, Registry

SERVED = "server"  # what stands in the place of a size for a model behind one


def models(
    action: Literal["list", "pull"] = "list",
    name: str | None = None,
    /,
    *,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """List the embedding models and what the public names stand for, or pull a model onto this
    machine.

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
            say_json(_plain(spec, registry=registry, settings=settings))
        else:
            say(_pulled_words(spec, settings=settings))
        return Exit.DONE
    if name is not None:
        raise CliError("`models list` takes no name.", exit_code=Exit.USAGE)
    if json:
        specs = registry.specs()
        say_json([_plain(each, registry=registry, settings=settings) for each in specs])
    else:
        _say_models(registry, settings=settings)
        _say_public(registry)
    return Exit.DONE


def pulled(spec: "ModelSpec", *, models_path: Path) -> None:
    """Put onto this machine what a model needs here, with one bar while that takes time.

    For one behind a server that is another model's tokenizer, or nothing. Raises ModelUnavailable.
    """
    from engine.embedding import pull

    if _ready(spec, models_path=models_path):
        return
    assert spec.on_disk is not None
    spec = spec.on_disk
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


def _ready(spec: "ModelSpec", *, models_path: Path) -> bool:
    from engine.embedding import is_installed

    return spec.on_disk is None or is_installed(spec.on_disk, models_path=models_path)


def _pulled_words(spec: "ModelSpec", *, settings: Settings) -> str:
    if spec.endpoint is None:
        return f"{spec.name} is ready in {settings.models_path}"
    return f"{spec.name} runs behind {spec.endpoint.url}; this machine has what it needs for that"


def _say_models(registry: "Registry", *, settings: Settings) -> None:
    from engine.cli.terminal import say_columns

    rows = [("", "MODEL", "DIMENSIONS", "TOKENS", "MB", "LICENSE")]
    for each in registry.specs():
        here = "ready" if _ready(each, models_path=settings.models_path) else ""
        default = " (default)" if each.name == settings.embedding_model else ""
        size, terms = str(each.megabytes), each.license
        if each.endpoint is not None:
            size, terms = SERVED, f"served by {each.endpoint.url}"
        numbers = (str(each.dimensions), str(each.tokens_max), size)
        rows.append((here, each.name + default, *numbers, terms))
    say_columns(rows)


def _say_public(registry: "Registry") -> None:
    """The public names last, with a plain word about those that nobody has mapped."""
    from engine.cli.terminal import say, say_columns

    say()
    public = registry.public_models
    say_columns([("PUBLIC NAME", "STANDS FOR"), *public.items()])
    if set(public.values()) == {registry.default_name}:
        say()
        say("Out of the box all public names stand for the default model: an index that is asked")
        say(f"for as {next(iter(public))} is made with {registry.default_name}.")
        say("RAG_ENGINE_MODELS_FILE maps them to other models: docs/models.md.")


def _plain(spec: "ModelSpec", *, registry: "Registry", settings: Settings) -> dict[str, object]:
    public = registry.public_models
    return {
        "name": spec.name,
        "default": spec.name == settings.embedding_model,
        "ready": _ready(spec, models_path=settings.models_path),
        "dimensions": spec.dimensions,
        "tokens_max": spec.tokens_max,
        "megabytes": spec.megabytes,
        "license": spec.license,
        "description": spec.description,
        "url": spec.endpoint.url if spec.endpoint else None,
        "public_names": [name for name, model in public.items() if model == spec.name],
    }
