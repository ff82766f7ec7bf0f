"""Tables of a SQL Server, change by change, from its change data capture."""

import hashlib
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.contracts.changes import changes_of, keyed, state_of
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.orchestration import keyless
from malacate.orchestration.environment import by_reference, resolve
from malacate.orchestration.raw_assets import RawAsset, definitions_of
from malacate.orchestration.resources import Platform
from malacate.orchestration.sensors import Runs
from malacate.route import Route
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.sources.cdc.sqlserver_client import opener
from malacate.sources.cdc.sqlserver_sql import lsn
from malacate.warehouse.fold import Fold

_TAG = "malacate/sqlserver"


class CapturedTable(dg.Model, dg.Resolvable):
    """One table; all of its capture instances are read, unless one is named.

    ``accept_gap_at`` is the position that an error names where changes were lost for good: a new
    snapshot is taken there.
    """

    name: str
    capture_instance: str = ""
    accept_gap_at: str = ""


class SqlServerChanges(dg.Component, dg.Model, dg.Resolvable):
    """Every change of the tables, and their state, asked of a SQL Server's change tables.

    A run reads up to ``transactions`` of the database for each table. The capture job is late if
    what it captured last is older than ``captured_within_seconds``. ``client`` names another
    driver than Microsoft's, as ``module:function``.
    """

    source: str
    url: str
    tables: list[CapturedTable]
    interval_seconds: int = 60
    transactions: int = 100_000
    captured_within_seconds: int = 900
    client: str = ""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Two assets per table (changes and state), their checks, and a sensor for all."""
        raw = self.raw_assets(context.path)
        checks = [_captured(one, self.captured_within_seconds) for one in raw]
        checks += [keyless.check(one.keys[-1]) for one in raw if not _source(one).table.key]
        bell = _doorbell(self.source, raw, self.interval_seconds)
        mine = dg.Definitions(asset_checks=checks, sensors=[bell])
        return dg.Definitions.merge(definitions_of(raw, engine_of(context)), mine)

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        by_reference(self.url)
        tables = promised(folder, self.source, [one.name for one in self.tables])
        return [self._raw(tables[one.name], one) for one in self.tables]

    def _raw(self, table: Table, declared: CapturedTable) -> RawAsset:
        if declared.accept_gap_at and not declared.accept_gap_at.isdecimal():
            raise ConfigError(
                f"{declared.accept_gap_at!r} is no position",
                "Copy the number that the error named, in quotes.",
                source=str(table.name), reason="bad_position",
            )  # fmt: skip
        known = keyed(table)
        source = ChangeTable(
            changes_of(known),
            table,
            self.url,
            declared.capture_instance,
            declared.accept_gap_at,
            self.transactions,
            opener(self.client),
            resolve,
        )
        route = Route(source.log, source, WriteMode.APPEND, derives=Fold(state_of(known)))
        return RawAsset(route, frozenset({"sqlserver"}), delivers=table.name.table)


def _source(raw: RawAsset) -> ChangeTable:
    source: ChangeTable = raw.route.source  # type: ignore[assignment]
    return source


def _captured(raw: RawAsset, limit: int) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw.key,
        name="capture_keeps_up",
        description="the server's capture job has read its log up to lately",
    )
    def capture_keeps_up() -> dg.AssetCheckResult:
        captured = _source(raw).captured()
        passed = captured.age_seconds <= limit
        advice = "See that SQL Server Agent runs with its capture job: EXEC sys.sp_cdc_help_jobs;"
        return dg.AssetCheckResult(
            passed=passed,
            metadata={
                "expected": f"<= {limit} s",
                "actual": f"{captured.age_seconds:.0f} s",
                "captured_lsn": f"0x{lsn(captured.newest).hex()}",
                "captured_until": captured.at.isoformat() if captured.at else "unknown",
                **({} if passed else {"what_to_do": advice}),
            },
        )

    return capture_keeps_up


def _doorbell(source: str, raw: list[RawAsset], seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"raw__{source}__captured",
        target=dg.AssetSelection.assets(*(key for one in raw for key in one.keys)),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Asks for a run when {source} has captured more than was published.",
    )
    def captured_sensor(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> dg.SensorResult | dg.SkipReason:
        newest = _source(raw[0]).captured().newest
        ends = [_end(platform.target.open_ledger(), one) for one in raw]
        if min(ends) > newest:
            return dg.SkipReason("nothing was captured since")
        tags = {_TAG: source}
        runs = Runs.of(context.instance, tags)
        if why := runs.wait(seconds):
            return dg.SkipReason(why)
        stand = repr((newest, ends, runs.ended if runs.failed else 0.0))
        key = hashlib.sha256(stand.encode()).hexdigest()[:32]
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, tags=tags)])

    return captured_sensor


def _end(ledger: Ledger, raw: RawAsset) -> int:
    """Where the last window that the ledger knows to be published ended; 0 before the first."""
    c = BATCH.c
    last = sa.select(c.hi).where(*raw.route.batches, c.state == "loaded", c.kind == "window")
    found = ledger.select(last.order_by(c.ordinal.desc()).limit(1))
    return int(found[0]["hi"]) if found else 0
