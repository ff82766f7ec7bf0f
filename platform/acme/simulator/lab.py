"""The laboratory's drops: a daily Avro file of rock quality, in three versions of its schema.

A file is a function of the world, its day and how often it was corrected since.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from acme.simulator.drops import as_json, avro, deliver, parquet
from acme.simulator.tables import AT, TEXT, decimal
from acme.simulator.world import SECTORS, World

Row = dict[str, Any]
CODECS = ("deflate", "snappy", "zstandard", "null")
DAYS, ROWS_PER_FILE, INTERVALS_PER_HOLE = 12, 500, 25
TICKS_PER_FILE, TICKS_PER_CORRECTION = 24, 6
LITHOLOGIES = ("andesite", "breccia", "diorite", "granodiorite", "porphyry")
_LOGGERS = ("Carla Rojas", "Diego Soto", "Elena Mamani", "Iván Quispe", "Paula Vera")
_V2_FROM, _V3_FROM = 4, 8
_JOINTS = {
    "jn": (2.0, 3.0, 4.0, 6.0, 9.0, 12.0),
    "jr": (1.0, 1.5, 2.0, 3.0),
    "ja": (1.0, 2.0, 3.0, 4.0),
    "jw": (1.0, 0.66, 0.5),
    "srf": (1.0, 2.5, 5.0),
}

SCHEMA = pa.schema(
    {
        "sample_no": pa.int64(), "hole_id": TEXT, "from_m": decimal(7, 2), "to_m": decimal(7, 2),
        "sector_id": TEXT, "lithology": TEXT, "rqd_pct": decimal(5, 2), "ucs_mpa": decimal(6, 2),
        "is50_mpa": pa.float64(), "jn": pa.float64(), "jr": pa.float64(), "ja": pa.float64(),
        "jw": pa.float64(), "srf": pa.float64(), "q": pa.float64(), "rmr89": pa.int32(),
        "gsi": pa.int32(), "logged_by": TEXT, "lab": TEXT, "analysed_at": AT,
        "schema_version": pa.int32(),
    }
)  # fmt: skip
"""Rows as the newest version names and types them."""


@dataclass(frozen=True)
class RockFile:
    """The file of one day. ``number`` counts from the first day of history."""

    world: World
    number: int
    revision: int = 0

    @property
    def day(self) -> date:
        """The day whose analyses it holds."""
        return (self.world.end + timedelta(days=self.number - DAYS)).date()

    @property
    def name(self) -> str:
        """Its name; a corrected file keeps it."""
        return f"rock_{self.day:%Y-%m-%d}.avro"

    @property
    def version(self) -> int:
        """The version of its schema: 2 adds ``gsi``, 3 renames ``lith`` and widens a number."""
        return 1 + (self.number >= _V2_FROM) + (self.number >= _V3_FROM)

    @property
    def codec(self) -> str:
        """How its blocks are compressed; each file differs from the last."""
        return CODECS[self.number % len(CODECS)]

    def deliver(self, folder: Path, truth: Path) -> Path:
        """Write the file under ``folder`` and what is known of it under ``truth``."""
        path = folder / "rock_quality" / self.name
        rows, bad = self.rows(), self.bad_rows()
        sound = [row for i, row in enumerate(rows) if i not in {b["row"] for b in bad}]
        known = {
            "file": str(path.relative_to(folder)), "revision": self.revision,
            "schema_version": self.version, "codec": self.codec,
            "rows": len(rows), "good_rows": len(sound), "bad_rows": bad,
            "corrected_rows": [self._corrected(i) for i in range(self.revision)],
        }  # fmt: skip
        good = pa.Table.from_pylist(sound, SCHEMA)
        deliver(truth / "lab" / f"{path.stem}.parquet", parquet(good))
        deliver(truth / "lab" / f"{path.stem}.json", as_json(known))
        deliver(path, avro(avro_schema(self.version), self._as_delivered(rows), self.codec))
        return path

    def bad_rows(self) -> list[Row]:
        """The rows that break the contract on purpose: in two files of three, two rows."""
        if self.number % 3 == 2:
            return []
        planted = (("rqd_pct", "140.00", "above_maximum"), ("ucs_mpa", "-12.50", "below_minimum"))
        places = self._rng("bad").choice(self._count, 2, replace=False)
        return [
            {"row": int(place), "column": column, "value": value, "reason": reason}
            for place, (column, value, reason) in zip(places, planted, strict=True)
        ]

    def rows(self) -> list[Row]:
        """Its rows, bad ones too, as ``SCHEMA`` names them."""
        columns = {**self._intervals(), **self._rock()}
        by_row = zip(*(columns[name] for name in SCHEMA.names), strict=True)
        rows = [dict(zip(SCHEMA.names, values, strict=True)) for values in by_row]
        for place in map(self._corrected, range(self.revision)):
            rows[place]["ucs_mpa"] += Decimal("1.25")
        for bad in self.bad_rows():
            rows[bad["row"]][bad["column"]] = Decimal(bad["value"])
        return rows

    def _intervals(self) -> dict[str, list[Any]]:
        """Which metres of which hole each row is of, and who looked at them when."""
        count, noon = self._count, datetime.combine(self.day, time(12), UTC)
        hole, nth = np.divmod(np.arange(count), INTERVALS_PER_HOLE)
        logger = self._rng("loggers").integers(0, len(_LOGGERS), hole[-1] + 1)
        return {
            "sample_no": (self.number * 1_000_000 + np.arange(count)).tolist(),
            "hole_id": [f"DH-{self.day:%y%m%d}-{h:03d}" for h in hole],
            "from_m": [_exact(n * 2) for n in nth],
            "to_m": [_exact(n * 2 + 2) for n in nth],
            "sector_id": [SECTORS[(self.number + h) % len(SECTORS)] for h in hole],
            "logged_by": [_LOGGERS[logger[h]] for h in hole],
            "lab": ["GeoLab Andes"] * count,
            "analysed_at": [noon + timedelta(milliseconds=1234.567 * i) for i in range(count)],
            "schema_version": [self.version] * count,
        }

    def _rock(self) -> dict[str, list[Any]]:
        """What was measured; ``q`` follows from the six values before it."""
        rng, count = self._rng("rows"), self._count
        rqd = np.round(np.clip(rng.normal(68, 18, count), 5, 100), 2)
        ucs = np.round(np.clip(rng.normal(105, 35, count), 2, 340), 2)
        jn, jr, ja, jw, srf = (rng.choice(choice, count) for choice in _JOINTS.values())
        q = np.clip(np.round(rqd / jn * jr / ja * jw / srf, 5), 0.001, 1000)
        rmr = np.clip(np.rint(9 * np.log(q) + 44 + rng.normal(0, 6, count)), 1, 100).astype(int)
        lithology = rng.integers(0, len(LITHOLOGIES), count)
        return {
            "lithology": [LITHOLOGIES[i] for i in lithology],
            "rqd_pct": [_exact(v) for v in rqd],
            "ucs_mpa": [_exact(v) for v in ucs],
            "is50_mpa": np.round(np.clip(ucs / 25, 0, 15), 3).tolist(),
            **dict(zip(_JOINTS, (a.tolist() for a in (jn, jr, ja, jw, srf)), strict=True)),
            "q": q.tolist(),
            "rmr89": rmr.tolist(),
            "gsi": (np.maximum(rmr - 5, 0)).tolist() if self.version > 1 else [None] * count,
        }

    def _as_delivered(self, rows: list[Row]) -> list[Row]:
        if self.version == 3:
            return rows
        return [{**row, "lith": row["lithology"]} for row in rows]

    @property
    def _count(self) -> int:
        return max(50, round(ROWS_PER_FILE * self.world.scale))

    def _corrected(self, correction: int) -> int:
        bad = {row["row"] for row in self.bad_rows()}
        sound = [place for place in range(self._count) if place not in bad]
        return int(self._rng("corrected", correction).choice(sound))

    def _rng(self, *story: str | int) -> np.random.Generator:
        return self.world.rng("lab", self.number, *story)


def avro_schema(version: int) -> dict[str, Any]:
    """The schema that the laboratory used in ``version``."""
    fields = []
    for field in SCHEMA:
        name, kind = field.name, _avro_type(field.type)
        if name == "gsi":
            kind = ["null", kind]
        if version < 3:
            name = "lith" if name == "lithology" else name
            kind = "int" if name == "sample_no" else kind
        if not (name == "gsi" and version == 1):
            fields.append({"name": name, "type": kind})
    return {"type": "record", "name": "rock_quality", "namespace": "lab", "fields": fields}


def _avro_type(kind: pa.DataType) -> Any:
    if pa.types.is_decimal(kind):
        size = {"precision": kind.precision, "scale": kind.scale}
        return {"type": "bytes", "logicalType": "decimal", **size}
    if pa.types.is_timestamp(kind):
        return {"type": "long", "logicalType": "timestamp-micros"}
    return {TEXT: "string", pa.int32(): "int", pa.int64(): "long", pa.float64(): "double"}[kind]


def _exact(value: float) -> Decimal:
    return Decimal(f"{value:.2f}")


def due(world: World, tick: int) -> list[RockFile]:
    """What the laboratory delivers in a tick: a new file a day, corrections of it between."""
    days, hours = divmod(tick, TICKS_PER_FILE)
    if hours % TICKS_PER_CORRECTION:
        return []
    return [RockFile(world, DAYS - 1 + days, hours // TICKS_PER_CORRECTION)]
