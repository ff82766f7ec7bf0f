"""What tables hold as far as it matters to some publications: asked of the markers at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from malacate.names import TableName
from malacate.warehouse.bigquery_spans import Span, of_marker
from malacate.warehouse.protocol import Publication
from malacate.warehouse.verdict import Holdings

SEEN = "schema_name || '.' || table_name in unnest(@tables)"
"""The rows about the tables that are bound."""

_WHOLE = "(mode = 'snapshot' and is_current)"


@dataclass
class Held:
    """What a table holds, how many markers it has, the batches of each object.

    ``whole`` are the batches that were the whole table, ``current`` those whose object has no newer
    version, ``spans`` where the rows of each are, if its marker tells.
    """

    holdings: Holdings = field(default_factory=Holdings)
    markers: int = 0
    versions: dict[str, list[str]] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    current: set[str] = field(default_factory=set)
    spans: dict[str, Span | None] = field(default_factory=dict)

    def note(self, row: Any) -> None:
        """Take in a marker."""
        batch, name, ordinal = row["batch_id"], row["object"], row["ordinal"]
        self.holdings.batches.add(batch)
        self.holdings.newest[name] = max(ordinal, self.holdings.newest.get(name, ordinal))
        self.versions.setdefault(name, []).append(batch)
        self.spans[batch] = of_marker(row["span"])
        if row["is_current"]:
            self.current.add(batch)
        if row["is_whole"]:
            self.whole.append(batch)


def held(
    rows: Callable[[str, Mapping[str, Any]], list[Any]], publications: Sequence[Publication]
) -> dict[TableName, Held]:
    """What the tables of the publications hold; ``rows`` runs a statement with bound values."""
    found = {this.table.name: Held() for this in publications}
    tables = {"tables": [str(name) for name in found]}
    counted = (
        "select schema_name, table_name, count(*) as n from malacate.loads "
        f"where {SEEN} group by schema_name, table_name"
    )
    for row in rows(counted, tables):
        found[_name(row)].markers = row["n"]
    these = {
        "batches": [this.landing.batch_id for this in publications],
        "objects": [this.landing.object for this in publications],
    }
    matters = f"batch_id in unnest(@batches) or object in unnest(@objects) or {_WHOLE}"
    columns = "schema_name, table_name, object, batch_id, ordinal, is_current, span"
    asked = f"select {columns}, {_WHOLE} as is_whole from malacate.loads"
    for row in rows(f"{asked} where {SEEN} and ({matters})", {**tables, **these}):
        found[_name(row)].note(row)
    for row in rows(f"select * from malacate.positions where {SEEN}", tables):
        found[_name(row)].holdings.position = row["position"]
    return found


def _name(row: Any) -> TableName:
    return TableName(row["schema_name"], row["table_name"])
