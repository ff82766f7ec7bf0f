"""Which batches a table held at an instant: a pure function of its markers.

A marker tells when its batch was published, not whether versions of its object add up; what is
still current tells that. Of an object whose versions once added up and are replaced since, the
versions before the first replacement are taken to have replaced one another too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from malacate.batch import Found, WriteMode
from malacate.names import TableName
from malacate.warehouse.protocol import Warehouse


@dataclass(frozen=True)
class Loaded:
    """A batch with its marker: what it is a version of, and when its transaction began."""

    batch_id: str
    object: str
    version: str
    ordinal: int
    mode: str
    is_current: bool
    published_at: datetime

    @property
    def order(self) -> tuple[datetime, int, int]:
        """As they were published; those of one transaction as they were taken up."""
        found = Found("", "", "object", self.object, self.version, self.ordinal)
        return self.published_at, self.ordinal, found.turn


def history(warehouse: Warehouse, name: TableName) -> list[Loaded]:
    """Every batch that was published into a table, oldest first; none if it is computed."""
    columns = ", ".join(Loaded.__dataclass_fields__)
    found = warehouse.query(
        f"select {columns} from malacate.loads where schema_name = $schema and table_name = $table",
        {"schema": name.schema, "table": name.table},
    )
    return sorted((Loaded(**row) for row in found.to_pylist()), key=lambda one: one.order)


def standing(published: Sequence[Loaded], instant: datetime | None = None) -> list[Loaded]:
    """The batches whose rows make the table at ``instant`` (now without one), oldest first.

    A snapshot is the table until the next publication; what is upserted stays part of it, since
    only a replay tells which of its rows were replaced.
    """
    past = [one for one in published if instant is None or one.published_at <= instant]
    whole = [place for place, one in enumerate(past) if one.mode == WriteMode.SNAPSHOT]
    if whole and whole[-1] == len(past) - 1:
        return past[-1:]
    joined = past[whole[-1] + 1 :] if whole else past
    return _without_replaced(joined, _replacing(published))


def _without_replaced(joined: Sequence[Loaded], replacing: Iterable[str]) -> list[Loaded]:
    kept: dict[str, list[str]] = {}
    replacing = set(replacing)
    for one in joined:
        if one.batch_id in replacing:
            kept.pop(one.object, None)
        kept.setdefault(one.object, []).append(one.batch_id)
    left = {batch_id for versions in kept.values() for batch_id in versions}
    return [one for one in joined if one.batch_id in left]


def _replacing(published: Sequence[Loaded]) -> set[str]:
    """Those that took the place of what was published of their object before.

    The first version that is current still, and all before it: had one after it replaced
    anything, it would not be current.
    """
    found, has_current = set(), set()
    for one in published:
        if one.mode != WriteMode.UPSERT and one.object not in has_current:
            found.add(one.batch_id)
        if one.is_current:
            has_current.add(one.object)
    return found
