"""A stand-in for a SQL Server with change data capture, on a database of the mine's Postgres.

Its capture has the names, the ranges, the errors and the cleanup of the real one, and answers
T-SQL. Tables are written in Postgres' words; what is written is in the log with its commit.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
import sqlglot
from psycopg import sql
from sqlglot import exp

from acme.simulator.sqlserver_schema import INSTANCE, SCHEMA, TYPES
from malacate.sources.cdc.sqlserver_client import ROWS, Refused, Row


class SqlServer:
    """The stand-in at ``url``, an empty database that it makes its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def install(self) -> None:
        """Make the schemas and the functions of the server."""
        self.run(SCHEMA)

    def run(self, *statements: LiteralString | sql.Composed) -> None:
        """One transaction of Postgres statements: what it does to tables is in the log."""
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    def create_table(
        self, relation: str, columns: Mapping[str, str], key: Sequence[str], splits: bool = True
    ) -> None:
        """A table with columns of T-SQL types, and a log of its changes.

        Where it ``splits``, an update of the key is a delete and an insert, as of a primary key.
        """
        made = sql.SQL(
            "create table {} (); create trigger logged after insert or update or delete on {} "
            "for each row execute function sys.logged()"
        ).format(_path(relation), _path(relation))
        self.run(made)
        for name, kind in columns.items():
            self.add_column(relation, name, kind)
        if key:
            named = sql.SQL(", ").join(map(sql.Identifier, key))
            alter = sql.SQL("alter table {} add primary key ({})").format(_path(relation), named)
            self.run(alter)
        for name in key if splits else ():
            note = sql.SQL("insert into sys.splits values ({}, {})").format(relation, name)
            self.run(note)

    def add_column(self, relation: str, name: str, kind: str) -> None:
        """A column more; instances that stand do not capture it."""
        alter = sql.SQL("alter table {} add column {} {}").format(
            _path(relation), sql.Identifier(name), sql.SQL(TYPES[kind])
        )
        note = sql.SQL("insert into sys.columns (relation, name, type) values ({}, {}, {})")
        self.run(alter, note.format(relation, name, kind))

    def enable(
        self, relation: str, instance: str, role: str | None = None, has_begun: bool = True
    ) -> None:
        """``sp_cdc_enable_table``: capture all columns that the table has now, from now on."""
        table = sql.Identifier(f"{instance}_CT")
        function = sql.Identifier(f"fn_cdc_get_all_changes_{instance}")
        with psycopg.connect(self.url) as connection:
            columns = connection.execute(
                "select name, type from sys.columns where relation = %s::regclass order by ordinal",
                [relation],
            ).fetchall()
            made = sql.SQL(INSTANCE).format(table=table, function=function, name=instance)
            connection.execute(made)
            (number,) = connection.execute(
                "insert into cdc.change_tables (source_object_id, capture_instance, role_name, "
                "start_lsn) values (%s::regclass, %s, %s, case when %s then sys.next_lsn() end) "
                "returning object_id",
                [relation, instance, role, has_begun],
            ).fetchone() or (0,)
            for ordinal, (name, kind) in enumerate(columns, 1):
                connection.execute(
                    sql.SQL("alter table cdc.{} add column {} {}").format(
                        table, sql.Identifier(name), sql.SQL(TYPES[kind])
                    )
                )
                values = [number, name, kind, ordinal]
                connection.execute("insert into cdc.captured_columns values (%s,%s,%s,%s)", values)

    def disable(self, instance: str) -> None:
        """``sp_cdc_disable_table``: the instance and its changes are gone."""
        gone = sql.SQL(
            "delete from cdc.change_tables where capture_instance = {}; "
            "drop function cdc.{}; drop table cdc.{}"
        ).format(
            instance,
            sql.Identifier(f"fn_cdc_get_all_changes_{instance}"),
            sql.Identifier(f"{instance}_CT"),
        )
        self.run(gone)

    def together(self, is_together: bool) -> None:
        """Let commits share a block of the log from now on, as many writers at a time do."""
        self.run(sql.SQL("update sys.clock set is_together = {}").format(is_together))

    def deny(self, instance: str) -> None:
        """Take the right to read an instance away."""
        self.run(sql.SQL("insert into sys.denied values ({})").format(instance))

    def capture(self, transactions: int | None = None) -> int:
        """The capture job: bring commits of the log, or the first few, to the change tables."""
        with psycopg.connect(self.url) as connection:
            connection.execute("lock table cdc.lsn_time_mapping in exclusive mode")
            waiting = connection.execute(
                "select xid::text, lsn, max(at) from sys.log group by 1, 2 order by lsn limit %s",
                [transactions],
            ).fetchall()
            instances = connection.execute(
                "select t.capture_instance, t.source_object_id, t.start_lsn, "
                "array_agg(c.column_name order by c.column_ordinal) from cdc.change_tables as t "
                "join cdc.captured_columns as c using (object_id) group by 1, 2, 3"
            ).fetchall()
            for xid, lsn, at in waiting:
                for name, relation, start, columns in instances:
                    if start is not None and lsn >= start:
                        connection.execute(_captured(name, columns), [xid, relation])
                connection.execute("delete from sys.log where xid = %s::xid8", [xid])
                insert = "insert into cdc.lsn_time_mapping values (%s, %s, convert_to(%s, 'utf8'))"
                connection.execute(insert, [lsn, at, xid])
        return len(waiting)

    def tick(self) -> None:
        """Capture everything, and write the entry that the job writes while nothing happens."""
        self.capture()
        self.run(
            "insert into cdc.lsn_time_mapping values "
            "(sys.next_lsn(), clock_timestamp()::timestamp, '\\x00')"
        )

    def newest(self) -> bytes:
        """The newest LSN that was captured."""
        return bytes(self.ask("select sys.fn_cdc_get_max_lsn()")[0][0])

    def cleanup(self, instance: str, low: bytes | None = None) -> None:
        """``sp_cdc_cleanup_change_table``: forget an instance's changes before ``low``."""
        edge = low or self.newest()
        table = sql.Identifier(f"{instance}_CT")
        forget = sql.SQL(
            "update cdc.change_tables set start_lsn = {} where capture_instance = {}; "
            'delete from cdc.{} where "__$start_lsn" < {}; '
            "delete from cdc.lsn_time_mapping where start_lsn < "
            "(select start_lsn from cdc.change_tables order by start_lsn limit 1)"
        )
        self.run(forget.format(edge, instance, table, edge))

    def ask(self, query: LiteralString, *values: Any) -> list[Row]:
        """What a Postgres query finds."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()


def _captured(instance: str, columns: Sequence[str]) -> sql.Composed:
    table = sql.Identifier(f"{instance}_CT")
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    taken = sql.SQL(", ").join(sql.SQL("(r).{}").format(sql.Identifier(c)) for c in columns)
    return sql.SQL(
        "insert into cdc.{table} select lsn, substr(lsn, 1, 4) || int4send(seq::int) || "
        "int2send(1::smallint), operation, '\\x01', {taken} from (select *, "
        "jsonb_populate_record(null::cdc.{table}, content) as r from sys.log "
        "where xid = %s::xid8 and relation = %s::oid::regclass) as mine"
    ).format(table=table, names=names, taken=taken)


def _path(relation: str) -> sql.Identifier:
    return sql.Identifier(*relation.split("."))


class StandInSession:
    """A client's session with the stand-in: T-SQL is parsed as such, and asked of Postgres."""

    def __init__(self, url: str) -> None:
        try:
            self._connection = psycopg.connect(url, connect_timeout=10)
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        except psycopg.Error as error:
            raise Refused(str(error)) from error

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        """See ``Session``."""
        named = {f"p{number}": value for number, value in enumerate(values)}
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(in_postgres(statement), named)
                while some := cursor.fetchmany(ROWS):
                    yield some
        except psycopg.Error as error:
            raise Refused(str(error)) from error

    def close(self) -> None:
        """See ``Session``."""
        self._connection.close()


def connect(url: str) -> StandInSession:
    """Open a session; what ``client: acme.simulator.sqlserver:connect`` names."""
    return StandInSession(url)


@functools.cache
def in_postgres(statement: str) -> str:
    """A T-SQL statement in Postgres' words, its ``?`` named ``p0``, ``p1``, ... in their order."""
    numbers = iter(range(statement.count("?")))
    named = re.sub(r"\?", lambda _: f"@p{next(numbers)}", statement)
    tree = sqlglot.parse_one(named, read="tsql")
    for parameter in list(tree.find_all(exp.Parameter)):
        parameter.replace(exp.Placeholder(this=parameter.name))
    for clock in list(tree.find_all(exp.CurrentTimestampLTZ)):
        clock.replace(exp.func("sysdatetimeoffset"))
    return tree.sql("postgres", normalize_functions=False)
