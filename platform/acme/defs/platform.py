"""What every asset of the mine runs on: the chosen target, and the IO managers over it."""

from pathlib import Path

import dagster as dg

from malacate.components.alarm_rules import watches
from malacate.components.declared import raw_assets
from malacate.orchestration.alarms import alarm_assets
from malacate.orchestration.control import control_files
from malacate.orchestration.io_managers import LakeIOManager, WarehouseIOManager
from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.reconciled import reconciliation
from malacate.orchestration.resources import Platform
from malacate.orchestration.upkeep import daily_upkeep
from malacate.orchestration.warehouse_cost import warehouse_cost

FILES = (
    "raw/lab/rock_quality",
    "raw/geophones/vibration",
    "raw/traces/trace",
    "raw/datastream/haul_cycle_changes",
    "raw/datastream/status_event_changes",
    "raw/mobile/issue_event",
)
"""Tables of files."""

WATCHED = ("raw/geophones/vibration", "raw/geophones/vibration_hour", "raw/mobile/issue_event")
"""Tables that have alarms."""


@dg.definitions
def resources() -> dg.Definitions:
    """Steps of a run take turns in one process: a DuckDB file has one writer."""
    platform = Platform(targets=str(Path(__file__).parents[1] / "targets.yaml"))
    shared = dg.Definitions(
        resources={
            "platform": platform,
            "warehouse": WarehouseIOManager(platform=platform),
            "lake": LakeIOManager(platform=platform),
        },
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "follow_what_changed",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                description="Silver and gold follow raw; tables of databases follow their cron.",
            )
        ],
        schedules=[daily_upkeep],
        executor=dg.in_process_executor,
    )
    cost = warehouse_cost(["ops/column_lineage"], POOL, platform.target.engine)
    compared = reconciliation(
        lambda: raw_assets(Path(__file__).parent), POOL, platform.target.engine
    )
    alarms = alarm_assets(lambda: watches(Path(__file__).parent), WATCHED)
    return dg.Definitions.merge(
        shared, control_files(FILES), dg.Definitions(assets=[cost]), compared, alarms
    )
