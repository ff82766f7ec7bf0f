"""What a publication will do, given what its table already holds: the same for every engine."""

from dataclasses import dataclass, field
from typing import Literal

from malacate.batch import WriteMode
from malacate.errors import ConfigError, SourceGap
from malacate.warehouse.protocol import Publication, follows

Verdict = Literal["published", "already", "superseded"]


@dataclass
class Holdings:
    """What a table holds: its batches, the newest ordinal of each object, where reading stands."""

    batches: set[str] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)
    position: str | None = None

    def take(self, this: Publication) -> Verdict:
        """What becomes of a publication; if it is published, it is held from now on.

        Raises ``SourceGap`` for a window that leaves something out.
        """
        landing = this.landing
        if landing.batch_id in self.batches:
            return "already"
        if self._is_overtaken(this):
            return "superseded"
        self.batches.add(landing.batch_id)
        newest = self.newest.get(landing.object, landing.ordinal)
        self.newest[landing.object] = max(newest, landing.ordinal)
        if landing.hi is not None:
            self.position = landing.hi
        return "published"

    def _is_overtaken(self, this: Publication) -> bool:
        """Whether something newer is published already; a window must leave no gap."""
        landing = this.landing
        if not this.replaces_older and this.mode is not WriteMode.SNAPSHOT:
            return False
        if self.newest.get(landing.object, landing.ordinal) > landing.ordinal:
            return True
        if landing.kind != "window":
            return False
        if not follows(landing.lo, self.position):
            raise _gap(this, self.position)
        if self.position is None:
            return False
        # An older end adds nothing; of a log, an older begin would add a part of it again. One
        # without a begin is a snapshot.
        begins = landing.lo if this.mode is WriteMode.APPEND else None
        return int(begins or landing.hi or 0) < int(self.position)


def _gap(this: Publication, position: str | None) -> SourceGap:
    return SourceGap(
        "a window does not begin where the last one ended",
        "Run the table again: it reads from the warehouse's position.",
        source=str(this.table.name),
        object=this.landing.object,
        expected=f"a window from {position}",
        actual=f"one from {this.landing.lo}",
        reason="gap",
    )


def outside_partition(this: Publication, number: int) -> ConfigError:
    """A row outside its partition would stay when the partition is replaced, and come twice."""
    column = this.partition.column if this.partition else ""
    return ConfigError(
        "an asset returned rows that are not of its partition",
        f"Filter them by {column!r}: each would be written once per run.",
        source=str(this.table.name),
        object=this.landing.object,
        actual=f"{number} of {this.landing.rows} rows outside",
        reason="outside_partition",
    )
