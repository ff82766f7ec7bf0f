"""What is asked of a SQL Server, and by which client. No live SQL Server is used anywhere here."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlglot
from platform_tests.conftest import PlatformHome
from platform_tests.sources.sqlserver_standin import KINDS, TRUCK, Trucks
from sqlglot import exp

from acme.simulator.sqlserver import StandInSession, connect
from malacate.errors import ConfigError, SourceUnreachable
from malacate.sources.cdc import sqlserver_client as client
from malacate.sources.cdc import sqlserver_sql as sql
from malacate.sources.cdc.sqlserver_client import Refused, Row

FIXED = {
    sql.CLOCK, sql.VISIBLE, sql.NEWEST, sql.TIME_OF, sql.INSTANCES, sql.COLUMNS, sql.SOME_COMMITS,
}  # fmt: skip
HOSTILE = "a]b'; DROP TABLE x --"


class Listening(StandInSession):
    """Notes what it is asked."""

    heard: set[str] = set()  # noqa: RUF012

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        Listening.heard.add(statement)
        return super().rows(statement, *values)


@pytest.mark.parametrize("statement", sorted(FIXED))
def test_every_statement_is_one_question_in_t_sql(statement: str) -> None:
    (tree,) = sqlglot.parse(statement, read="tsql")
    assert isinstance(tree, exp.Select)
    assert tree.find(exp.DML, exp.DDL, exp.Command, exp.Into) in (None, tree)


def test_identifiers_are_quoted_whatever_they_contain() -> None:
    (changes,) = sqlglot.parse(sql.changes(HOSTILE, [HOSTILE]), read="tsql")
    (rows,) = sqlglot.parse(sql.rows(f"dbo.{HOSTILE}", [HOSTILE]), read="tsql")
    for tree in (changes, rows):
        assert isinstance(tree, exp.Select)
        assert tree.expressions[-1].name == HOSTILE
    assert rows.find(exp.Table).name == HOSTILE
    assert sql.bracketed("truck") == "[dbo].[truck]"


def test_nothing_else_is_sent(postgres_url: str, platform_home: PlatformHome) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.settings["client"] = Listening
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "a")
    trucks.server.tick()
    trucks.load()
    trucks.put(1, "b")
    trucks.server.tick()
    trucks.load()
    trucks.source.captured()
    columns = list(KINDS)
    allowed = FIXED | {sql.changes("dbo_truck", columns), sql.rows(TRUCK, columns)}
    assert Listening.heard == allowed


def test_lsns_are_numbers_that_compare_as_the_server_compares_them() -> None:
    some = [bytes.fromhex(text) for text in
            ("00000025000000ff0003", "00000025000001000001", "00000026000000000001")]  # fmt: skip
    numbers = [sql.number(one) for one in some]
    assert numbers == sorted(numbers)
    assert [sql.lsn(number) for number in numbers] == some
    assert sql.number(None) == sql.number(bytes(10)) == 0


def test_without_the_driver_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mssql_python", None)
    with pytest.raises(ConfigError, match=r"malacate\[sqlserver\]") as told:
        client.connect("mssql://me:secret@db/erp")
    assert (told.value.reason, "secret" in str(told.value)) == ("no_driver", False)


def test_a_url_becomes_the_drivers_words() -> None:
    made = client.connection_string("mssql://me:p%7D%3B@db.mine/erp?Encrypt=yes")
    assert made == "Server={db.mine,1433};Database={erp};UID={me};PWD={p}};};Encrypt={yes};"
    with pytest.raises(ConfigError, match="mssql://"):
        client.connection_string("postgresql://me@db/erp")


def test_another_client_is_named_by_its_function() -> None:
    assert client.opener("acme.simulator.sqlserver:connect") is connect
    assert client.opener("") is client.connect
    for wrong in ("nowhere:connect", "acme.simulator.sqlserver:nothing", "acme"):
        with pytest.raises(ConfigError, match="module:function"):
            client.opener(wrong)


@pytest.mark.parametrize(
    ("words", "reason", "advice"),
    [
        ("Snapshot isolation transaction failed accessing database 'erp' because snapshot "
         "isolation is not allowed", "no_snapshot_isolation", "ALLOW_SNAPSHOT_ISOLATION ON"),
        ("The SELECT permission was denied on the object 'change_tables'", "denied",
         "GRANT SELECT ON SCHEMA::cdc"),
        ("Failed to load the driver. Please read the documentation", "no_driver", "libltdl7"),
        ("Login failed for user 'me'.", "unreachable", "user and password"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_is_told_with_what_to_do(
    words: str, reason: str, advice: str
) -> None:
    told = client.explained(Refused(f"{words}\nmore"), "raw_erp.truck", TRUCK)
    assert isinstance(told, ConfigError if reason == "no_driver" else SourceUnreachable)
    assert (told.reason, advice in told.advice, told.actual) == (reason, True, f"{words} more")


class Driver:
    """A driver with the calls of PEP 249 that are used, and nothing behind them."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.is_closed = False

    def cursor(self) -> "Driver":
        return self

    def execute(self, *asked: Any) -> None:
        if "fn_cdc_get_max_lsn" in asked[0]:
            raise Driver.Error("permission was denied")
        self.asked.append(asked)
        self.left = [[[1, "a"], [2, "b"]], []]

    def fetchmany(self, size: int) -> list[list[Any]]:
        return self.left.pop(0)

    def close(self) -> None:
        self.is_closed = True


def test_the_drivers_session_is_of_one_moment_and_binds_values() -> None:
    driver = Driver()
    session = client.DriverSession(Driver, driver)
    assert client.asked(session, sql.CLOCK) == [(1, "a"), (2, "b")]
    assert client.first(session, sql.TIME_OF, b"x") == (1, "a")
    assert driver.asked == [(sql.ISOLATION,), (sql.CLOCK,), (sql.TIME_OF, (b"x",))]
    with pytest.raises(Refused, match="denied"):
        client.first(session, sql.NEWEST)
    session.close()
    assert driver.is_closed
