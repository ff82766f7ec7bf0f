"""Rows of sensors whose clocks are wrong, or that come too late: put aside, each with its reason.

What is late is told by when a row came, as that was written down then: in a column of the row, or
in the name of its file. No clock is looked at while reading, so to read again gives the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Found, Reading
from malacate.contracts.rules import put_aside
from malacate.contracts.table import Table
from malacate.errors import ConfigError, UnreadableFile
from malacate.lake.lake import Lake
from malacate.sources.files import FileDrops

_NEVER_SET = datetime(2000, 1, 1, tzinfo=UTC)
"""No clock that was set tells an instant before: those that lost theirs begin at 1970 or 1980."""


@dataclass(frozen=True)
class Horizon:
    """How far the column ``instant`` may be from when a row came.

    That is the column ``came_at``, or what the end of the file's name says by the strftime pattern
    ``named``, in UTC. A later instant by more than ``future_seconds`` is ``clock_skew``, as is one
    of a clock that was never set; one older by more than ``late_hours`` is ``too_late``. A row that
    lacks one of the two is left to the rules of the contract.
    """

    instant: str
    came_at: str = ""
    named: str = ""
    future_seconds: float = 300.0
    late_hours: float = 72.0

    def __post_init__(self) -> None:
        if bool(self.came_at) == bool(self.named):
            raise ConfigError(
                "a horizon says twice, or not at all, when a row came",
                "Declare either came_at, a column, or named, a strftime pattern of file names.",
                reason="bad_horizon",
            )

    def require_instants(self, table: Table) -> None:
        """Raise ``ConfigError`` unless the columns that it names are instants of ``table``."""
        wanted = {self.instant, self.came_at} - {""}
        if lacking := wanted - table.by_name.keys():
            raise ConfigError(
                "a horizon names a column that the contract does not have",
                "Correct the name, or add the column to the contract.",
                source=str(table.name),
                object=", ".join(sorted(lacking)),
                reason="unknown_column",
            )
        for column in (table.by_name[name] for name in sorted(wanted)):
            if not pa.types.is_timestamp(column.type):
                raise ConfigError(
                    "a horizon names a column that is no instant",
                    "Name another, or give it the physicalType timestamptz in the contract.",
                    source=str(table.name),
                    object=column.name,
                    expected="a timestamp",
                    actual=str(column.type),
                    reason="bad_horizon",
                )

    def hold(self, reading: Reading, name: str) -> Reading:
        """The read of the file ``name``, with the rows beyond the horizon among its rejects.

        Raises ``UnreadableFile`` for a name that does not tell when its rows came.
        """
        reading.chunks = self.held(reading.chunks, self._told_by(name))
        return reading

    def held(self, chunks: Iterator[Chunk], came: pa.Scalar | None = None) -> Iterator[Chunk]:
        """The chunks of a batch, with the rows beyond the horizon among their rejects.

        All of them ``came`` at an instant in microseconds since 1970; where it is not given, each
        has to say it in ``came_at``.
        """
        read = 0
        for chunk in chunks:
            yield put_aside(chunk, self._broken(chunk.rows, came), read)
            read += chunk.rows_read

    def _told_by(self, name: str) -> pa.Scalar | None:
        if not self.named:
            return None
        end = "/".join(name.split("/")[-1 - self.named.count("/") :])
        try:
            at = datetime.strptime(end, self.named)
        except ValueError as error:
            raise UnreadableFile(
                "the name of a file does not tell when its rows came",
                "Have it named as declared, or correct the pattern, then release the file.",
                object=name,
                expected=self.named,
                reason="name_without_instant",
            ) from error
        return pa.scalar(_microseconds(at if at.tzinfo else at.replace(tzinfo=UTC)))

    def _broken(self, rows: pa.RecordBatch, came: pa.Scalar | None) -> dict[int, tuple[str, str]]:
        """Reason and detail of each row that is beyond the horizon, by its index."""
        at = _counted(rows.column(self.instant))
        came = _counted(rows.column(self.came_at)) if came is None else came
        late = pc.less(at, pc.subtract(came, round(self.late_hours * 3_600_000_000)))
        ahead = pc.greater(at, pc.add(came, round(self.future_seconds * 1_000_000)))
        unset = pc.less(at, _microseconds(_NEVER_SET))
        findings = (
            ("too_late", f"is older than {self.late_hours:g} h when it comes", late),
            ("clock_skew", f"is more than {self.future_seconds:g} s after it came", ahead),
            ("clock_skew", f"is before {_NEVER_SET:%Y}: its clock was not set", unset),
        )
        return {
            index: (reason, f"{self.instant} {detail}")
            for reason, detail, bad in findings
            for index in pc.indices_nonzero(pc.fill_null(bad, False)).to_pylist()
        }


@dataclass(frozen=True, kw_only=True)
class Punctual(FileDrops):
    """Files of readings, of which those beyond the horizon go to quarantine."""

    horizon: Horizon

    def __post_init__(self) -> None:
        self.horizon.require_instants(self.table)

    def read(self, found: Found, lake: Lake) -> Reading:
        """See ``FileDrops``; the name is looked at before the rows."""
        return self.horizon.hold(super().read(found, lake), found.object)


def _counted(instants: pa.Array) -> pa.Array:
    return instants.cast(pa.timestamp("us", instants.type.tz)).view(pa.int64())


def _microseconds(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000
