"""What YAML may declare: one file per kind of source."""

from malacate.components.change_files import ChangeFiles
from malacate.components.consumption_views import ConsumptionViews
from malacate.components.database_tables import DatabaseTables
from malacate.components.dbt_models import DbtModels
from malacate.components.event_stream import EventStream
from malacate.components.file_drops import FileDrops
from malacate.components.hourly_aggregate import HourlyAggregate
from malacate.components.replication_slot import ReplicationSlot
from malacate.components.sql_server_changes import SqlServerChanges
from malacate.components.transfer import Transfer

__all__ = [
    "ChangeFiles",
    "ConsumptionViews",
    "DatabaseTables",
    "DbtModels",
    "EventStream",
    "FileDrops",
    "HourlyAggregate",
    "ReplicationSlot",
    "SqlServerChanges",
    "Transfer",
]
