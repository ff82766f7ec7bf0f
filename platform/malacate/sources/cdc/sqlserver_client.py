"""Sessions with a SQL Server: one small protocol, kept by Microsoft's driver, and its answers told.

The driver is an extra: ``pip install 'malacate[sqlserver]'``.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from malacate.errors import ConfigError, MalacateError, SourceGap, SourceUnreachable
from malacate.sources.cdc.sqlserver_sql import ISOLATION, bracketed

ROWS = 8192
Row = tuple[Any, ...]


class Refused(Exception):
    """What the server or its driver answered instead of rows, in its words."""


class Session(Protocol):
    """One transaction in snapshot isolation: all that it is asked is of one moment."""

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        """Ask, values bound to ``?``; rows come in lists. Raises ``Refused``."""

    def close(self) -> None:
        """End the transaction and the connection."""


Open = Callable[[str], Session]
"""Opens a session at a URL; raises ``Refused`` or ``ConfigError``."""


def asked(session: Session, statement: str, *values: Any) -> list[Row]:
    """A whole, small answer: a connection answers one question at a time."""
    return [row for some in session.rows(statement, *values) for row in some]


def first(session: Session, statement: str, *values: Any) -> Row:
    """The first row of a small answer; empty without one."""
    return next(iter(asked(session, statement, *values)), ())


class DriverSession:
    """A session through ``mssql-python``."""

    def __init__(self, driver: Any, connection: Any) -> None:
        self._driver, self._connection = driver, connection
        with self._told(), contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(ISOLATION)

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        """See ``Session``."""
        with self._told(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, *([values] if values else []))
            while some := cursor.fetchmany(ROWS):
                yield [tuple(row) for row in some]

    def close(self) -> None:
        """See ``Session``."""
        with self._told():
            self._connection.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise Refused(str(error)) from error


def connect(url: str) -> Session:
    """Open ``mssql://user:password@host:port/database?Encrypt=yes`` with Microsoft's driver."""
    try:
        driver = importlib.import_module("mssql_python")
    except ImportError as error:
        raise ConfigError(
            "the driver for SQL Server is not installed",
            "Run: pip install 'malacate[sqlserver]'",
            actual=str(error),
            reason="no_driver",
        ) from error
    try:
        return DriverSession(driver, driver.connect(connection_string(url), timeout=10))
    except (driver.Error, driver.ConnectionStringParseError) as error:
        raise Refused(str(error)) from error


def connection_string(url: str) -> str:
    """The URL in the driver's words; what follows ``?`` is passed on."""
    parts = urlsplit(url)
    if parts.scheme != "mssql" or not parts.hostname:
        raise ConfigError(
            "this is no URL of a SQL Server",
            "Write mssql://user:password@host:1433/database?Encrypt=yes; keep it in a variable.",
            expected="mssql://...",
            reason="bad_url",
        )
    named = {
        "Server": f"{parts.hostname},{parts.port or 1433}",
        "Database": unquote(parts.path.lstrip("/")),
        "UID": unquote(parts.username or ""),
        "PWD": unquote(parts.password or ""),
        **dict(parse_qsl(parts.query)),
    }
    pairs = ((name, value.replace("}", "}}")) for name, value in named.items() if value)
    return "".join(f"{name}={{{value}}};" for name, value in pairs)


def opener(named: str) -> Open:
    """The function that ``module:function`` names: another driver; without a name, Microsoft's."""
    if not named:
        return connect
    module, _, function = named.partition(":")
    try:
        found: Open = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the client {named!r} cannot be imported",
            "Write it as module:function; it takes a URL and returns a session.",
            actual=str(error),
            reason="no_client",
        ) from error
    return found


def explained(error: Refused, table: str, relation: str) -> MalacateError:
    """What the server answered, as an error that says what to do."""
    words = " ".join(str(error).split())[:500]
    facts = {"source": table, "object": relation, "actual": words}
    if "insufficient number of arguments" in words.lower():
        # Error 313: how the functions say that a range is not inside what they hold.
        return SourceGap(
            "the change functions refuse the range: it is not inside what they hold",
            "Run again: if changes were cleaned up, the next run names what is lost.",
            **facts,
            reason="out_of_range",
        )
    if "failed to load the driver" in words.lower():
        return ConfigError(
            "the driver for SQL Server misses libraries of the system",
            "On Debian: apt-get install libltdl7 libkrb5-3 libgssapi-krb5-2",
            **facts,
            reason="no_driver",
        )
    if "snapshot isolation" in words.lower():
        return SourceUnreachable(
            "the database allows no snapshot isolation",
            "Run there, as its owner: ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;",
            **facts,
            reason="no_snapshot_isolation",
        )
    if "permission" in words.lower():
        return SourceUnreachable(
            "this user may not read changes", grants(relation), **facts, reason="denied"
        )
    return SourceUnreachable(
        "the database does not answer as it should",
        "Check host, database, user and password in its URL; `malacate doctor` shows them.",
        **facts,
        reason="unreachable",
    )


def grants(relation: str, role: str | None = None) -> str:
    """The statements that let a user read the changes of a table."""
    name = bracketed(relation)
    member = f"ALTER ROLE [{role}] ADD MEMBER [the user]; " if role else ""
    return (
        f"Run there: GRANT SELECT ON {name} TO [the user]; {member}"
        "GRANT SELECT ON SCHEMA::cdc TO [the user];"
    )
