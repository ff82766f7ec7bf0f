"""Change files of a replication service: a change log and the current state behind it."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.components.file_drops import LookOf
from malacate.contracts.changes import ROW_HASH, changes_of, keyed, state_of
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.orchestration import keyless
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.route import Route
from malacate.sources.cdc.datastream import ChangeDrops, Writer, with_others
from malacate.sources.cdc.datastream_rows import Whose
from malacate.sources.cdc.datastream_texts import Binary
from malacate.sources.cdc.debezium_values import UNAVAILABLE, Decimals, Spelling, Times
from malacate.sources.discovery import Discovery
from malacate.sources.selection import Selection
from malacate.warehouse.fold import Fold


class ChangesOf(dg.Model, dg.Resolvable):
    """The files of one table's changes; those of other tables may be among them.

    A table without a key has to say ``keyless: row_hash``: each of its rows is known by all that
    it holds, so an update whose old row is not told leaves the old row behind.
    """

    name: str
    files: list[str] = Field(min_length=1)
    keyless: Literal["row_hash"] | None = None
    settle_seconds: float = Field(0.0, ge=0)
    look: LookOf = LookOf()


class ChangeFiles(dg.Component, dg.Model, dg.Resolvable):
    """Datastream's or Debezium's change files: every change kept, the state folded by position.

    ``format`` is seen from each file unless it is said. ``decimals``, ``times`` and ``binary`` say
    how Debezium spelled values that come without a schema, ``unavailable`` its text for values
    that were not sent. ``notices`` is as for ``FileDrops``.
    """

    source: str
    folder: str
    tables: list[ChangesOf]
    format: Writer | None = None
    decimals: Decimals | None = None
    times: Times | None = None
    binary: Binary | None = None
    unavailable: str = Field(UNAVAILABLE, min_length=1)
    interval_seconds: int = 30
    notices: str = Field("", pattern=r"^(|sqs:.+|pubsub:.+|\$\{.+)$")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Two assets per table (changes and state), their checks, and a sensor."""
        raw = self.raw_assets(context.path)
        bare = [one.keys[-1] for one in raw if _state(one).key == (ROW_HASH.name,)]
        return dg.Definitions.merge(
            with_doorbells(raw, engine_of(context), self.interval_seconds, self.notices),
            dg.Definitions(asset_checks=[keyless.check(key) for key in bare]),
        )

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [table.name for table in self.tables])
        sources = [self._source(tables[one.name], one) for one in self.tables]
        return [self._raw(source) for source in with_others(sources)]

    def _source(self, table: Table, declared: ChangesOf) -> ChangeDrops:
        if not table.key and declared.keyless is None:
            raise ConfigError(
                "changes cannot be folded without a key",
                f"Declare primaryKey in {table.origin}, or `keyless: row_hash` for the table.",
                source=str(table.name), reason="no_key",
            )  # fmt: skip
        log = changes_of(keyed(table))
        chosen = Selection(store(self.folder), tuple(declared.files), declared.settle_seconds)
        every = 3600 * declared.look.reconcile_hours
        plan = declared.look.plan()
        discovery = Discovery(chosen, log.source, log.name.table, plan, every)
        spelling = Spelling(self.decimals, self.times, self.binary, self.unavailable)
        return ChangeDrops(log, Whose(keyed(table)), discovery, spelling, self.format)

    def _raw(self, source: ChangeDrops) -> RawAsset:
        table = source.whose.table
        route = Route(source.log, source, WriteMode.APPEND, derives=Fold(state_of(table)))
        return RawAsset(route, frozenset({"avro"}), of_files=True, delivers=table.name.table)


def _state(raw: RawAsset) -> Table:
    source: ChangeDrops = raw.route.source  # type: ignore[assignment]
    return source.whose.table
