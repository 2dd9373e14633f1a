"""One engine for the tests about tenants: two customers with everything, and no worker at work.

What a test destroys it makes for itself; `theirs` is only ever looked at.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from fix_services import copy_database, free_port, on_database

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from fix_engine import api_process, module_settings, worker_process
from fix_tenants import JWT_KEY, LIMITS, House, Tenant, furnished

from engine.config import Settings
from engine.local import Services

__all__ = ["module_settings"]


@pytest.fixture(scope="session")
def tenant_settings(
    services: Services,
    template_database: str,
    models_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Settings:
    """A database, a Redis database and a folder of their own, tokens accepted, high rates."""
    return Settings(
        database_url=copy_database(services, template=template_database, name="rag_tenants"),
        redis_url=f"{services.redis_url}?db=13",
        data_dir=tmp_path_factory.mktemp("tenants") / "data",
        models_dir=models_path,
        port=free_port(),
        jwt_key=JWT_KEY,
        jwt_audience="tenants",
        limits=LIMITS,
    )


@pytest.fixture(scope="session")
def house(
    services: Services, tenant_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A running API over customers whose documents were all read; the worker has left."""
    folder = tmp_path_factory.mktemp("tenant-logs")
    name = tenant_settings.database_url.partition("?")[0].rpartition("/")[2]
    admin_url = on_database(services.admin_url, database=name)
    with (
        api_process(tenant_settings, log=folder / "api.log") as base_url,
        httpx.Client(base_url=base_url, timeout=30) as client,
    ):
        with worker_process(tenant_settings, log=folder / "worker.log"):
            mine, twin, second_twin, theirs = furnished(
                tenant_settings, "mine", "twin", "second", "theirs", client=client
            )
        _bury_somebody(admin_url)
        yield House(
            settings=tenant_settings,
            admin_url=admin_url,
            client=client,
            mine=mine,
            twin=twin,
            second_twin=second_twin,
            theirs=theirs,
        )


def _bury_somebody(admin_url: str) -> None:
    """A mark of a dead member for each customer: the merge loop leaves none standing."""
    with psycopg.connect(admin_url) as connection:
        connection.execute(
            "INSERT INTO dead_members (member_id, customer_id, profile_id)"
            " SELECT -id, customer_id, profile_id FROM segment_members"
        )


@pytest.fixture(scope="session")
def mine(house: House) -> Tenant:
    return house.mine


@pytest.fixture(scope="session")
def theirs(house: House) -> Tenant:
    return house.theirs
