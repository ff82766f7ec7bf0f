"""What BigQuery allows a table, a job and a project, and the pace that keeps a table under it.

The numbers are those of cloud.google.com/bigquery/quotas in 2026; none of them can be raised.
"""

from dataclasses import dataclass
from datetime import timedelta

MODIFICATIONS_PER_DAY = 1_500
"""Of one table, in 24 hours, by loads, copies and query results together. A publication is DML,
which is not refused then: but after as many INSERTs of a day into a table the next ones queue.
"""

LOADS_PER_TABLE_PER_DAY = 1_500
"""Failed ones too. Each staging table is for one load, which is tried a few times."""

LOADS_PER_DAY = 100_000
"""Of the project. A batch takes one; rejects and keys take one more each."""

PARTITIONS_PER_TABLE = 10_000
"""With a partition per month, 800 years."""

PARTITIONS_PER_JOB = 4_000
"""That one statement, or one load, may change."""

PARTITIONS_PER_TRANSACTION = 100_000
"""Counted once for each statement that changes a partition."""

TABLES_PER_TRANSACTION = 100
"""That are changed."""

MUTATING_AT_ONCE = 2
"""UPDATE, DELETE and MERGE statements that run on one table."""

MUTATING_QUEUED = 20
"""Those that wait for them; one more fails, and is tried again."""

METADATA_CHANGES_PER_10_SECONDS = 5
"""Of one table by DDL and by its API; a partitioned table has 50. A contract that brings more
columns at once waits: what is refused for its rate is tried again.
"""

QUERY_BYTES = 1_000_000
"""Of a script's text, before names are resolved: 1 MB."""


@dataclass(frozen=True)
class Pace:
    """How often one table is published to: ``most`` times in any ``period``."""

    most: int = MODIFICATIONS_PER_DAY
    period: timedelta = timedelta(days=1)

    def pause(self, done: int, since: float) -> float:
        """Seconds until the next may come, after ``done`` in this period, the last ``since`` ago.

        Half of them come as they like. From there on each keeps its distance from the one before,
        so wide that the other half lasts for a period: so ``most`` is never passed, and a batch
        waits two periods / ``most`` at most (115 s by default). Never less than a millisecond:
        a clock may be too coarse to show that less has passed.
        """
        at_once = self.most // 2
        left = self.period.total_seconds() / (self.most - at_once) - since
        return max(left, 0.001) if done >= at_once and left > 0 else 0.0


EACH_DAY = Pace()


class TooMuch(Exception):
    """These publications pass what one transaction may be; each half of them may fit."""


def require_fits(batches: int, text: str, partitions: int) -> None:
    """Raise ``TooMuch`` for a script with text or partitions beyond the limits.

    One batch alone cannot be less: BigQuery itself says what is wrong with it.
    """
    too_long = len(text.encode()) > QUERY_BYTES
    if batches > 1 and (too_long or partitions > PARTITIONS_PER_JOB):
        raise TooMuch
