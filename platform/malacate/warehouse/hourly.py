"""The hours behind readings: recomputed, for what a batch touched, from all that is published.

So the order, the number and the lateness of batches cannot matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.protocol import BATCH_COLUMN, IfAny


def _q(names: Sequence[str]) -> str:
    return ", ".join(quote(name, "duckdb") for name in names)


def _rows_touching(published: Table) -> str:
    batches = "select batch_id from touching"
    return f"{published.name.sql('duckdb')} where {BATCH_COLUMN} in ({batches})"


@dataclass(frozen=True)
class HourlyStats:
    """Per sensor and hour: readings, completeness, RMS, PPV and peak vector sum.

    ``expected_per_hour`` readings make an hour complete. PPV is the largest absolute peak
    particle velocity of the three axes, in mm/s; the hour's RMS is the quadratic mean of the
    readings' RMS, in mm/s. A changed hour has its revision raised; an unchanged one is left.
    """

    table: Table
    expected_per_hour: int

    @property
    def target(self) -> Table:
        """The table of hours."""
        return self.table

    def touched(self, published: Table) -> str:
        """Hours that a reading came to, or left."""
        hour = "date_trunc('hour', measured_at) as hour_at"
        return f"select distinct sensor_id, {hour} from {_rows_touching(published)}"

    def statements(self, published: Table) -> Sequence[str | IfAny]:
        """Recompute those hours from all of their readings; one without readings goes."""
        raw, hours = published.name.sql("duckdb"), self.table.name.sql("duckdb")
        columns = _q([*(column.name for column in self.table.columns), BATCH_COLUMN])
        kept = ("readings", "rms_mm_s", "ppv_mm_s", "peak_pvs_mm_s")
        differs = " or ".join(f"h.{name} is distinct from n.{name}" for name in kept)
        hour = "(sensor_id, hour_at)"
        return (
            f"create or replace temp table touched as from gone union {self.touched(published)}",
            "create or replace temp table hour_now as with once as ("
            f"select r.*, t.hour_at from {raw} r join touched t on r.sensor_id = t.sensor_id "
            "and date_trunc('hour', r.measured_at) = t.hour_at where true qualify row_number() "
            "over (partition by r.sensor_id, r.seq order by r.measured_at) = 1) "
            "select sensor_id, max(sector_id) as sector_id, hour_at, count(*) as readings, "
            f"{self.expected_per_hour}::bigint as expected_readings, "
            f"round(count(*) / {self.expected_per_hour}, 6)::double as completeness, "
            "round(sqrt(avg(rms_mm_s * rms_mm_s)), 6) as rms_mm_s, "
            "max(greatest(abs(ppv_tran_mm_s), abs(ppv_vert_mm_s), abs(ppv_long_mm_s))) "
            "as ppv_mm_s, max(pvs_mm_s) as peak_pvs_mm_s from once group by sensor_id, hour_at",
            "create or replace temp table hour_changed as select n.*, "
            f"coalesce(h.revision, 0) + 1 as revision, $batch_id as {BATCH_COLUMN} "
            f"from hour_now n left join {hours} h on n.sensor_id = h.sensor_id "
            f"and n.hour_at = h.hour_at where h.sensor_id is null or {differs}",
            f"delete from {hours} where {hour} in (select {hour} from hour_changed) "
            f"or ({hour} in (select {hour} from touched) "
            f"and {hour} not in (select {hour} from hour_now))",
            f"insert into {hours} ({columns}) select {columns} from hour_changed",
        )

    def lineage(self) -> Mapping[str, Sequence[str]]:
        """Which reading columns an hour's columns are computed of."""
        counted = ["sensor_id", "seq"]
        peaks = ["ppv_tran_mm_s", "ppv_vert_mm_s", "ppv_long_mm_s"]
        return {
            "sensor_id": ["sensor_id"],
            "sector_id": ["sector_id"],
            "hour_at": ["measured_at"],
            "readings": counted,
            "expected_readings": counted,
            "completeness": counted,
            "rms_mm_s": ["rms_mm_s"],
            "ppv_mm_s": peaks,
            "peak_pvs_mm_s": ["pvs_mm_s"],
            "revision": ["seq", "rms_mm_s", *peaks, "pvs_mm_s"],
        }
