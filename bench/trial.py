"""One trial of a mutant: tests run in a forked process, in a copy of the repository.

What lives here: the copies, the servers that a copy keeps for its trials, and the forked process.
What does not: which mutants there are (bench.mutants) and what a survivor means (bench.mutation).
Nothing of the engine may be imported here, because the forked process must find the copy's.
"""

import multiprocessing
import os
import resource
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

REPOSITORY = Path(__file__).parent.parent
COPIED = ("engine", "workers", "tests", "pyproject.toml", "schema.sql")
WALL_S_MAX = 600.0  # for tests that wait for each other; endless work ends by the limit on CPU
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pytest", "pytest_timeout", "_hypothesis_pytestplugin", "anyio.pytest_plugin", "hypothesis",
        "psycopg", "psycopg_pool", "redis", "numpy", "msgspec", "httpx", "httpcore",
    ]
)  # fmt: skip
# Without looking for plugins, which takes longer than most tests here; and without rewritten
# asserts, which a process that has pytest already would refuse to do.
OPTIONS = (
    "-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "anyio", "-p", "pytest_timeout",
    "-p", "_hypothesis_pytestplugin", "--hypothesis-profile=found",
)  # fmt: skip


# Row by row, because the tables of a test are small, and without asking what points where.
EMPTY = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
                AND tablename NOT IN ('schema_versions', 'signing_keys') LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END
$$
"""


class Round(NamedTuple):
    """Test files that are run together, and the CPU seconds after which they are called endless."""

    tests: tuple[str, ...]
    cpu_s_max: int


class Copy:
    """A tree of its own, so that nobody who reads the repository meets a mutant."""

    def __init__(self, folder: Path, *, with_servers: bool) -> None:
        self.root = folder / "tree"
        for name in COPIED:
            _copy(REPOSITORY / name, self.root / name)
        self._data = folder / "data"
        self._with_servers = with_servers
        self._servers = ExitStack()
        self._addresses: dict[str, str] = {}

    def start(self) -> None:
        """PostgreSQL and Redis for all trials of this copy: to start them takes seconds."""
        if self._with_servers:
            from engine.local import LocalServices

            local = self._servers.enter_context(LocalServices(self._data, durable=False))
            self._addresses = {
                name: getattr(local.services, name)
                for name in ("database_url", "admin_url", "redis_url")
            }

    def stop(self) -> None:
        self._servers.close()

    def passes(self, tried: Round, *, file: str = "", source: str = "") -> bool:
        """Whether the round passes with `source` in place of the file."""
        if not file:
            return self._run(tried)
        original = (self.root / file).read_text("utf-8")
        try:
            (self.root / file).write_text(source, "utf-8")
            return self._run(tried)
        finally:
            (self.root / file).write_text(original, "utf-8")

    def _run(self, tried: Round) -> bool:
        child = FORKS.Process(target=_run_tests, args=(str(self.root), tried, self._addresses))
        child.start()
        child.join(WALL_S_MAX)
        if child.exitcode is None:
            child.kill()
            child.join()
        return child.exitcode == 0


def _copy(source: Path, target: Path) -> None:
    """With times and compiled code, which is of use for whatever is no mutant."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", "sdk-js"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _run_tests(root: str, tried: Round, addresses: dict[str, str]) -> None:
    """In a fresh process that has the libraries already, and nothing of the engine."""
    import hypothesis
    import pytest

    assert "engine" not in sys.modules
    if "MUTATION_OUTPUT" not in os.environ:
        # What a failing test prints is of no interest here.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
    os.chdir(root)
    sys.dont_write_bytecode = True  # two mutants of one second would share compiled code
    sys.path[:] = [root, *(path for path in sys.path if path not in ("", str(REPOSITORY)))]
    os.environ["RAG_ENGINE_TEST_MODELS_DIR"] = str(REPOSITORY / ".data" / "models")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # That an example fails is enough to know: nobody reads the smallest one.
    hypothesis.settings.register_profile(
        "found", derandomize=True, deadline=None, database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )  # fmt: skip
    resource.setrlimit(resource.RLIMIT_CPU, (tried.cpu_s_max, tried.cpu_s_max))
    plugins = [_Servers(addresses)] if addresses else []
    sys.exit(pytest.main([*OPTIONS, *tried.tests], plugins=plugins))


class _Servers:
    """Puts the copy's servers in the place of those that a session starts for itself."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses

    def pytest_collection(self, session: object) -> None:
        """Late, so that these fixtures hide the ones of the plugins that were there before."""
        import psycopg
        import pytest

        from engine.local import Services

        given = Services(**self._addresses)
        with psycopg.connect(given.admin_url, autocommit=True) as connection:
            made = connection.execute(
                "SELECT FROM pg_database WHERE datname = 'rag_template'"
            ).fetchall()

        @pytest.fixture(scope="session")
        def services() -> Services:
            return given

        @pytest.fixture(scope="session")
        def template_database(request: pytest.FixtureRequest) -> str:
            return "rag_template" if made else request.getfixturevalue("template_database")

        @pytest.fixture
        def database_url(services: Services, template_database: str) -> str:
            """The template itself, emptied: to copy it for each test takes longer than the test."""
            with psycopg.connect(
                _on(template_database, url=services.admin_url), autocommit=True
            ) as connection:
                connection.execute(EMPTY)
            return _on(template_database, url=services.database_url)

        shared = SimpleNamespace(
            services=services, template_database=template_database, database_url=database_url
        )
        session.config.pluginmanager.register(shared)  # type: ignore[attr-defined]


def _on(database: str, *, url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
