"""Tables of a Postgres database, change by change, from a replication slot of our own."""

from pathlib import Path

import dagster as dg

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.contracts.changes import changes_of, keyed, state_of
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.orchestration.environment import by_reference, resolve
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.slot_assets import SlotAssets
from malacate.orchestration.target import target_name
from malacate.route import Route
from malacate.sources.cdc.slot import ReplicationSlot as Slot
from malacate.sources.cdc.slot import SlotTable
from malacate.sources.cdc.slot_server import SlotServer
from malacate.sources.databases_postgres import observe
from malacate.warehouse.fold import Fold

_LEGAL = "abcdefghijklmnopqrstuvwxyz0123456789_"
_LONGEST = 58
"""Of 63 characters; ``_g255`` may follow."""


class ReplicationSlot(dg.Component, dg.Model, dg.Resolvable):
    """Every change of the tables, and their state, from one slot and one publication.

    ``{target}`` in the slot's name is the target's: what one has read and let go, another that
    reads the same database has not.
    """

    source: str
    url: str
    publication: str
    slot: str
    tables: list[str]
    interval_seconds: int = 30
    max_lag_bytes: int = 4 << 30

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Two assets per table (changes and state), their checks, and a sensor for all."""
        raw, slot = self._routes(context.path)
        made = SlotAssets(slot, raw, self.interval_seconds, self.max_lag_bytes)
        return made.definitions(engine_of(context))

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        return self._routes(folder)[0]

    def observed(self) -> list[Table]:
        """See ``Observable``."""
        return [observe(self.source, resolve(self.url), name) for name in self.tables]

    def _routes(self, folder: Path) -> tuple[list[RawAsset], Slot]:
        by_reference(self.url)
        name = self.slot.replace("{target}", target_name().replace("-", "_").lower())
        if not set(name) <= set(_LEGAL) or not 0 < len(name) <= _LONGEST:
            raise ConfigError(
                f"{name!r} cannot be the name of a slot",
                f"Use lower-case letters, digits and underscores, at most {_LONGEST}.",
                source=self.source, reason="illegal_name",
            )  # fmt: skip
        found = promised(folder, self.source, self.tables)
        tables = [found[name] for name in self.tables]
        slot = Slot(SlotServer(self.url, name, self.publication, resolve), tables)
        return [_raw(table, slot) for table in tables], slot


def _raw(table: Table, slot: Slot) -> RawAsset:
    known = keyed(table)
    log = changes_of(known)
    route = Route(log, SlotTable(slot, table, log), WriteMode.APPEND, derives=Fold(state_of(known)))
    return RawAsset(route, frozenset({"postgres"}), delivers=table.name.table)
