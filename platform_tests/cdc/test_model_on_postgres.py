"""The model tells what a real server tells: event by event, in its order."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from adbc_driver_postgresql import dbapi
from platform_tests.cdc.model import LARGE, TABLE, Life, statements
from platform_tests.sources.logical_postgres import logical_server, own_database

from malacate.contracts.changes import changes_of
from malacate.sources.cdc.pgoutput import Decoder, peek, pinned
from malacate.sources.cdc.pgoutput_values import rows

SLOT = "model"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with logical_server() as server, own_database(server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "create schema lab; create table lab.truck (life bigint, id bigint, value bigint, "
                "big text, primary key (life, id)); "
                "alter table lab.truck alter column big set storage external; "
                "create publication p for table lab.truck"
            )
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
        yield url


def logged(url: str) -> list[dict[str, Any]]:
    with (
        closing(dbapi.connect(pinned(url))) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute(peek(SLOT, ["p"]))
        found = list(Decoder(SLOT).stream(cursor.fetch_record_batch()))
    chunks = [chunk for one in found for chunk in rows(one, TABLE, changes_of(TABLE))]
    assert [reject for chunk in chunks for reject in chunk.rejects] == []
    return [row for chunk in chunks for row in chunk.rows.to_pylist()]


def test_the_steps_of_the_model_on_a_real_table_are_its_log(database: str) -> None:
    lives = [Life(seed, seed, 25, truncates=seed % 3 == 0) for seed in range(12)]
    with psycopg.connect(database, autocommit=True) as connection:
        for life in lives:
            for statement in statements(life):
                connection.execute(statement.encode())
            if life.truncates:
                connection.execute("truncate lab.truck")
    wanted = [event for life in lives for event in told(life)]
    came = [as_told(row) for row in sorted(logged(database), key=place)]
    assert came == wanted
    kinds = {(op, moved, missing) for op, _, _, moved, missing in wanted}
    assert kinds >= {("U", False, "big"), ("U", False, None), ("I", True, "big"),
                     ("I", True, None), ("D", True, None), ("D", False, None),
                     ("T", False, None), ("I", False, None)}  # fmt: skip


def told(life: Life) -> Iterator[Any]:
    for step in life.steps:
        for op, key, (value, big), moved, missing in step.told():
            yield op, key, (value, big and big.ljust(LARGE, "x")), moved, missing
    if life.truncates:
        yield "T", None, (None, None), False, None


def as_told(row: dict[str, Any]) -> Any:
    key = None if row["_op"] == "T" else (row["life"], row["id"])
    values = (row["value"], row["big"])
    return row["_op"], key, values, row["_is_key_change"], row["_missing"]


def place(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["_position_hi"], row["_position_lo"], row["_seq"]


def test_a_text_of_the_model_is_large_at_the_server(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("insert into lab.truck values (99, 1, 1, rpad('x', %s, 'x'))", [LARGE])
        found = connection.execute(
            "select pg_relation_size(reltoastrelid) from pg_class where relname = 'truck'"
        ).fetchone()
        assert found is not None
        assert found[0] > LARGE, json.dumps(found)
        connection.rollback()
