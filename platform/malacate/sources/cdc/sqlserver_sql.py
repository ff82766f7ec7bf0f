"""All that is ever asked of a SQL Server, in its words, and the numbers that it counts by.

Values are bound; identifiers come from the contract and the catalog, and are quoted.
"""

from collections.abc import Sequence

from malacate.names import quote

ISOLATION = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
"""Makes all that a session asks be of one moment, the cleanup job notwithstanding."""

CLOCK = "SELECT SYSDATETIMEOFFSET()"

VISIBLE = "SELECT OBJECT_ID(?)"

NEWEST = "SELECT sys.fn_cdc_get_max_lsn()"

TIME_OF = "SELECT sys.fn_cdc_map_lsn_to_time(?)"

INSTANCES = (
    "SELECT [capture_instance], [start_lsn], sys.fn_cdc_get_min_lsn([capture_instance]), "
    "[role_name] FROM cdc.change_tables WHERE [source_object_id] = OBJECT_ID(?) "
    "ORDER BY [create_date], [object_id]"
)
"""A table's capture instances, oldest first."""

COLUMNS = (
    "SELECT c.[column_name], c.[column_type] FROM cdc.captured_columns AS c "
    "JOIN cdc.change_tables AS t ON t.[object_id] = c.[object_id] "
    "WHERE t.[capture_instance] = ? ORDER BY c.[column_ordinal]"
)

SOME_COMMITS = (
    "SELECT MAX(m.[start_lsn]), COUNT(*) FROM (SELECT TOP (?) [start_lsn] "
    "FROM cdc.lsn_time_mapping WHERE [start_lsn] >= ? AND [start_lsn] <= ? AND [tran_id] <> ? "
    "ORDER BY [start_lsn]) AS m"
)
"""The last of the first few commits of a range, and how many they are."""

_OF_CHANGE = ("__$start_lsn", "__$seqval", "__$operation")


def changes(instance: str, columns: Sequence[str]) -> str:
    """Changes of a closed range of LSNs, values before an update too, in the order of the log."""
    function = quote(f"fn_cdc_get_all_changes_{instance}", "tsql")
    order = ", ".join(f"c.{quote(name, 'tsql')}" for name in _OF_CHANGE)
    chosen = "".join(f", c.{quote(name, 'tsql')}" for name in columns)
    asked = f"SELECT {order}, m.[tran_end_time]{chosen} FROM cdc.{function}"  # noqa: S608
    return (
        f"{asked}(?, ?, N'all update old') AS c LEFT JOIN cdc.lsn_time_mapping AS m "
        f"ON m.[start_lsn] = c.[__$start_lsn] ORDER BY {order}"
    )


def rows(relation: str, columns: Sequence[str]) -> str:
    """The whole table."""
    chosen = ", ".join(quote(name, "tsql") for name in columns)
    return f"SELECT {chosen} FROM {bracketed(relation)}"  # noqa: S608


def bracketed(relation: str) -> str:
    """``schema.table`` quoted; without a schema it is one of ``dbo``."""
    schema, _, table = relation.rpartition(".")
    return f"{quote(schema or 'dbo', 'tsql')}.{quote(table, 'tsql')}"


NO_TRANSACTION = bytes(1)
"""The transaction of entries that the capture job writes while nothing happens."""

BLOCK = 0xFFFF
"""The last two bytes of an LSN count the records of one block of the log."""


def number(lsn: bytes | None) -> int:
    """An LSN as the 80-bit number that it is; 0 where there is none."""
    return int.from_bytes(lsn or b"", "big")


def lsn(place: int) -> bytes:
    """The number as the server's ``binary(10)``."""
    return place.to_bytes(10, "big")
