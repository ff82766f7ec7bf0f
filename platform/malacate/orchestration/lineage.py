"""Where a column comes from: walked from gold to named columns at the sources.

The walk follows what each materialization recorded: dbt's models, Python assets and raw tables
alike. A column that ends anywhere but at a source is told.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg
import pyarrow as pa

Columns = Mapping[str, Sequence[tuple[dg.AssetKey, str]]]
"""The columns of an asset, each with the columns it is made of."""


@dataclass(frozen=True)
class Origin:
    """A column of a served table, and one column at a source that it is made of."""

    table: str
    column: str
    source_table: str
    source_column: str


def origins(
    keys: Sequence[dg.AssetKey], columns_of: Callable[[dg.AssetKey], Columns]
) -> tuple[list[Origin], list[str]]:
    """Origins of every column of ``keys``, and ``table.column: where the trail ends`` of others."""

    @cache
    def ends(key: dg.AssetKey, column: str) -> tuple[tuple[dg.AssetKey, str], ...]:
        if key.path[0] == "source":
            return ((key, column),)
        made_of = columns_of(key).get(column, ())
        found = [end for upstream, name in made_of for end in ends(upstream, name)]
        return tuple(dict.fromkeys(found))

    traced: list[Origin] = []
    lost: list[str] = []
    for key in keys:
        for column in columns_of(key):
            found = ends(key, column)
            traced += [Origin(_name(key), column, _name(k), c) for k, c in found]
            if not found:
                lost.append(f"{_name(key)}.{column}")
        if not columns_of(key):
            lost.append(f"{_name(key)}: no column is known")
    return traced, lost


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()


def recorded(instance: dg.DagsterInstance) -> Callable[[dg.AssetKey], Columns]:
    """Columns of an asset as its latest materialization recorded them."""

    @cache
    def columns_of(key: dg.AssetKey) -> Columns:
        names: list[str] = []
        deps: Mapping[str, Sequence[dg.TableColumnDep]] = {}
        event = instance.get_latest_materialization_event(key)
        made = event.asset_materialization if event else None
        if made is None:
            return {}
        schema = made.metadata.get("dagster/column_schema")
        lineage = made.metadata.get("dagster/column_lineage")
        if isinstance(schema, dg.TableSchemaMetadataValue):
            names = [column.name for column in schema.schema.columns]
        if isinstance(lineage, dg.TableColumnLineageMetadataValue):
            deps = lineage.column_lineage.deps_by_column
        return {
            name: [(dep.asset_key, dep.column_name) for dep in deps.get(name, ())]
            for name in names or deps
        }

    return columns_of


def lineage_asset(
    layer: str, upstream: Sequence[dg.AssetKey], pool: str, engine: str = "duckdb"
) -> dg.AssetsDefinition:
    """``ops/column_lineage``: every column of ``layer`` with the source columns behind it."""
    key = dg.AssetKey(["ops", "column_lineage"])
    check = dg.AssetCheckSpec(
        "every_column_has_a_source",
        asset=key,
        description=f"every column of {layer} leads back to a named column of a source",
    )

    @dg.asset(
        key=key,
        deps=upstream,
        group_name="ops",
        kinds={"python", engine},
        io_manager_key="warehouse",
        check_specs=[check],
        pool=pool,
        automation_condition=dg.AutomationCondition.eager(),
        description=f"Each column of {layer} with the source columns it is made of.",
    )
    def column_lineage(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[pa.Table]]:
        known = context.job_def.asset_layer.executable_asset_keys
        keys = sorted({*upstream, *(key for key in known if key.path[0] == layer)})
        traced, lost = origins(keys, recorded(context.instance))
        yield dg.MaterializeResult(value=_table(traced), check_results=[_result(traced, lost)])

    return column_lineage


def _table(traced: Sequence[Origin]) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in Origin.__dataclass_fields__])
    return pa.Table.from_pylist([vars(origin) for origin in traced], schema)


def _result(traced: Sequence[Origin], lost: Sequence[str]) -> dg.AssetCheckResult:
    columns = len({(origin.table, origin.column) for origin in traced}) + len(lost)
    told = {"expected": columns, "actual": columns - len(lost)}
    advice = (
        "Write the named columns as expressions of columns (no count(*), no constants), or have "
        "the Python asset record dagster/column_lineage."
    )
    return dg.AssetCheckResult(
        passed=not lost,
        check_name="every_column_has_a_source",
        metadata={**told, "without_source": list(lost), "what_to_do": advice} if lost else told,
    )
