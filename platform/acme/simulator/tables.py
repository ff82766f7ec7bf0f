"""The production app's nine tables: columns, keys, foreign keys, indexes; DDL made from them."""

from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql

AT = pa.timestamp("us", "UTC")
TEXT, INT, BIGINT = pa.string(), pa.int32(), pa.int64()
_POSTGRES = {TEXT: "text", INT: "integer", BIGINT: "bigint", AT: "timestamptz"}
_POSTGRES |= {pa.date32(): "date", pa.bool_(): "boolean"}


def decimal(precision: int, scale: int) -> pa.DataType:
    """A ``numeric(precision, scale)``."""
    return pa.decimal128(precision, scale)


@dataclass(frozen=True)
class AppTable:
    """A table of schema ``owner``. Columns are not null unless ``optional`` names them."""

    name: str
    columns: dict[str, pa.DataType]
    key: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    references: tuple[tuple[str, str], ...] = ()
    indexes: tuple[str, ...] = ()
    owner: str = "app"

    @property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow, ``updated_at`` last."""
        return pa.schema(
            [pa.field(n, t, nullable=n in self.optional) for n, t in self._all().items()]
        )

    def _all(self) -> dict[str, pa.DataType]:
        return {**self.columns, "updated_at": AT}

    def create(self) -> sql.Composed:
        """Its DDL, with the primary key and without what is faster to add after loading."""
        columns = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(f.name),
                sql.SQL(_postgres_type(f.type)),
                sql.SQL("" if f.nullable else " NOT NULL"),
            )
            for f in self.schema
        ]
        key = sql.SQL(", ").join(map(sql.Identifier, self.key))
        return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
            self.identifier, sql.SQL(", ").join(columns), key
        )

    def finish(self) -> list[sql.Composed]:
        """The foreign keys and indexes."""
        keys = [
            sql.SQL("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {}").format(
                self.identifier, sql.Identifier(column), sql.Identifier("app", target)
            )
            for column, target in self.references
        ]
        return keys + [
            sql.SQL("CREATE INDEX ON {} ({})").format(self.identifier, sql.Identifier(column))
            for column in self.indexes
        ]

    @property
    def identifier(self) -> sql.Identifier:
        """``"<owner>"."<name>"``."""
        return sql.Identifier(self.owner, self.name)


def _postgres_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    return _POSTGRES[kind]


_PARTS = ("queue_load_s", "spot_s", "load_s", "haul_s", "queue_dump_s", "dump_s", "return_s")

TABLES: dict[str, AppTable] = {
    table.name: table
    for table in (
        AppTable(
            "shift",
            {"shift_id": BIGINT, "crew": TEXT, "start_at": AT, "end_at": AT},
            key=("shift_id",),
        ),
        AppTable(
            "equipment",
            {
                "equipment_id": TEXT, "class": TEXT, "model": TEXT, "sap_equnr": TEXT,
                "rated_payload_t": decimal(6, 1), "commissioned_on": pa.date32(),
                "is_active": pa.bool_(),
            },
            key=("equipment_id",),
            optional=frozenset({"rated_payload_t"}),
        ),
        AppTable(
            "status_event",
            {"equipment_id": TEXT, "from_at": AT, "to_at": AT, "tum_code": TEXT, "reason": TEXT},
            key=("equipment_id", "from_at"),
            optional=frozenset({"to_at"}),
            references=(("equipment_id", "equipment"),),
            indexes=("updated_at",),
        ),
        AppTable(
            "haul_cycle",
            {
                "cycle_id": BIGINT, "truck_id": TEXT, "operator_id": TEXT, "loader_id": TEXT,
                "shift_id": BIGINT, "source_block": TEXT, "dump_id": TEXT, "material": TEXT,
                "started_at": AT, "ended_at": AT, **dict.fromkeys(_PARTS, INT),
                "payload_t": decimal(6, 2), "dist_loaded_m": decimal(9, 1),
                "dist_empty_m": decimal(9, 1), "fuel_l": decimal(8, 2),
            },
            key=("cycle_id",),
            references=(
                ("truck_id", "equipment"), ("loader_id", "equipment"), ("shift_id", "shift"),
            ),
            indexes=("updated_at", "shift_id"),
        ),
        AppTable(
            "blast",
            {
                "blast_id": BIGINT, "pit": TEXT, "bench": TEXT, "pattern": TEXT, "fired_at": AT,
                "holes": INT, "explosive_kg": decimal(10, 1),
                "max_charge_per_delay_kg": decimal(8, 1),
            },
            key=("blast_id",),
        ),
        AppTable(
            "assay",
            {
                "sample_id": BIGINT, "block_id": TEXT, "lab": TEXT, "qc_type": TEXT,
                "method": TEXT, "cu_pct": decimal(6, 4), "au_g_t": decimal(7, 4),
                "moisture_pct": decimal(5, 2), "sampled_at": AT, "received_at": AT,
            },
            key=("sample_id",),
            optional=frozenset({"cu_pct", "au_g_t", "moisture_pct", "received_at"}),
            indexes=("updated_at",),
        ),
        AppTable(
            "ore_movement",
            {
                "movement_id": BIGINT, "shift_id": BIGINT, "from_id": TEXT, "to_id": TEXT,
                "material": TEXT, "tonnes_wet_t": decimal(12, 2), "moisture_pct": decimal(5, 2),
                "cu_pct": decimal(6, 4), "moved_at": AT,
            },
            key=("movement_id",),
            references=(("shift_id", "shift"),),
        ),
        AppTable(
            "plan",
            {
                "plan_on": pa.date32(), "pit": TEXT, "material": TEXT,
                "tonnes_t": decimal(12, 1), "cu_pct": decimal(6, 4),
            },
            key=("plan_on", "pit", "material"),
            optional=frozenset({"cu_pct"}),
        ),
        AppTable(
            "crusher_hour",
            {
                "crusher_id": TEXT, "hour_at": AT, "tph": decimal(8, 1),
                "weightometer_t": decimal(10, 2),
            },
            key=("crusher_id", "hour_at"),
        ),
    )
}  # fmt: skip
"""In an order in which foreign keys find what they refer to."""
