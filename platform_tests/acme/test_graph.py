"""The whole graph as text, and the rules that hold for all of it.

``python platform_tests/acme/test_graph.py`` writes the text anew; its difference is for review.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from acme.definitions import DEFS, defs
from malacate.contracts.odcs import read_contract
from malacate.contracts.table import Column
from malacate.names import LEGAL, TableName
from malacate.orchestration.resources import Platform

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("graph.txt")
LAYERS = {"source": 3, "raw": 3, "silver": 2, "gold": 2, "ops": 2, "control": 2,
          "transfer": 2, "share": 2, "ml": 2}  # fmt: skip
"""How many parts the key of an asset of each layer has."""
SUFFIX = {
    "t": "_t", "kg": "_kg", "g/t": "_g_t", "t/h": ("tph", "_t_h"), "pct": "_pct", "m": "_m",
    "s": "_s", "h": "_h", "mm/s": "_mm_s", "mm2/s2": "_mm2_s2", "MPa": "_mpa",
    "L": "_l", "Hz": "_hz", "V": "_v", "degC": "_c",
}  # fmt: skip
ENDINGS = {"_at": ("timestamp", "timestamptz"), "_on": ("date",)}


@pytest.fixture(scope="module")
def location() -> dg.Definitions:
    return defs()


def told(location: dg.Definitions) -> str:
    """The graph, one asset after another: what it is, what it is made of, what is checked."""
    repository = location.get_repository_def()
    graph = repository.asset_graph
    lines: list[str] = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        facts = [f"group={node.group_name}", f"kinds={','.join(sorted(node.kinds))}"]
        facts += [f"owner={owner}" for owner in node.owners]
        lines.append(f"{key.to_user_string()}  {' '.join(facts)}")
        lines += [f"    <- {parent.to_user_string()}" for parent in sorted(node.parent_keys)]
        checks = graph.get_check_keys_for_assets({key})
        lines += sorted(
            f"    {'blocks' if graph.get(check).blocking else 'checks'} {check.name}"
            for check in checks
        )
    for sensor in sorted(repository.sensor_defs, key=lambda one: one.name):
        lines.append(f"sensor {sensor.name}  {sensor.default_status.value.lower()}")
    lines += sorted(f"schedule {one.name}  {one.cron_schedule}" for one in repository.schedule_defs)
    return "\n".join(lines) + "\n"


def test_the_graph_is_the_one_that_was_reviewed(location: dg.Definitions) -> None:
    assert told(location).splitlines() == SNAPSHOT.read_text().splitlines()


def test_every_key_is_layer_source_table_or_layer_table(location: dg.Definitions) -> None:
    for key in location.resolve_asset_graph().get_all_asset_keys():
        layer, *rest = key.path
        assert len(key.path) == LAYERS[layer], key
        assert all(LEGAL.fullmatch(part) for part in rest), key


def test_no_two_assets_share_a_table(location: dg.Definitions) -> None:
    keys = location.resolve_asset_graph().executable_asset_keys
    tables = {TableName.of(key.path) for key in keys}
    assert len(tables) == len(keys)
    assert {table.key for table in tables} == {tuple(key.path) for key in keys}


def test_every_asset_is_described_and_every_raw_one_has_an_owner(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert [node.key for node in nodes if not node.description] == []
    raw = [node for node in nodes if node.key.path[0] == "raw"]
    assert [node.key for node in raw if not node.owners] == []
    assert [node.key for node in raw if not node.freshness_policy and "changes" not in str(node.key)
            and "vibration_hour" not in str(node.key)] == []  # fmt: skip


def promised() -> Iterator[tuple[str, Column]]:
    for path in sorted(DEFS.rglob("contract.odcs.yaml")):
        for table in read_contract(path, path.parent.name).values():
            yield from ((str(table.name), column) for column in table.columns)


def test_a_promised_column_is_named_by_its_unit_and_its_type() -> None:
    for table, column in promised():
        name, where = column.name, f"{table}.{column.name}"
        assert not column.unit or name.endswith(SUFFIX[column.unit]), where
        for ending, kinds in ENDINGS.items():
            assert name.endswith(ending) == (column.sql_type in kinds), where
        is_flag = name.startswith(("is_", "has_"))
        assert is_flag == (column.sql_type == "boolean"), where


def modelled(location: dg.Definitions) -> Iterator[tuple[str, str, str]]:
    """Table, column and unit of every documented column of a dbt model."""
    assert location
    manifest: Mapping[str, Any] = json.loads((ROOT / "dbt/target/manifest.json").read_text())
    for node in manifest["nodes"].values():
        for column in node["columns"].values() if node["resource_type"] == "model" else ():
            unit = (column.get("config", {}).get("meta") or {}).get("unit", "")
            yield node["name"], column["name"], unit


def test_a_column_of_a_model_is_named_by_its_unit(location: dg.Definitions) -> None:
    wrong = [
        (table, name, unit)
        for table, name, unit in modelled(location)
        if unit in SUFFIX and not name.endswith(SUFFIX[unit])
    ]
    assert wrong == []


def alone(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run in a process that has nothing of this one's environment."""
    env = {"PATH": os.defpath, "HOME": str(ROOT / ".malacate"), **variables}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_it_loads_without_credentials_or_systems_and_without_a_cloud_s_client() -> None:
    code = (
        "import sys; from acme.definitions import defs; graph = defs().resolve_asset_graph(); "
        "print(len(graph.get_all_asset_keys())); "
        "print([name for name in ('google.cloud', 'google.auth', 'boto3', 'botocore') "
        "if name in sys.modules])"
    )
    done = alone(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert int(done.stdout.splitlines()[-2]) == len(
        [line for line in SNAPSHOT.read_text().splitlines() if "group=" in line]
    )


@pytest.mark.parametrize(
    "command",
    [
        ("dagster", "definitions", "validate", "-w", "workspace.yaml"),
        ("dg", "check", "defs", "--target-path", "platform"),
        ("dg", "list", "components", "--target-path", "platform"),
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_the_orchestrator_s_own_tools_are_content(command: tuple[str, ...]) -> None:
    done = alone(tool(command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    if command[1:3] == ("list", "components"):
        for name in (
            "ChangeFiles", "DatabaseTables", "DbtModels", "FileDrops", "HourlyAggregate",
            "ReplicationSlot", "SqlServerChanges",
        ):  # fmt: skip
            assert f"malacate.components.{name}" in done.stdout


def test_every_sensor_and_schedule_ticks(
    location: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("lab", "datastream", "geophones", "mobile", "traces"):
        (tmp_path / "drops" / source).mkdir(parents=True)
    monkeypatch.setenv("MALACATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ACME_DROPS", str(tmp_path / "drops"))
    repository = location.get_repository_def()
    platform = Platform(targets=str(DEFS.parent / "targets.yaml"))
    bells = [one for one in repository.sensor_defs if one.name.endswith(("__drops", "__alarms"))]
    assert len(bells) == 7
    for bell in bells:
        with dg.build_sensor_context(
            repository_def=repository, resources={"platform": platform}
        ) as context:
            asked = bell(context)
        assert isinstance(asked, dg.SkipReason)
        assert asked.skip_message == "nothing new"
    for schedule in repository.schedule_defs:
        with dg.build_schedule_context(repository_def=repository) as context:
            schedule.evaluate_tick(context)


def test_what_follows_by_itself_is_evaluated(location: dg.Definitions) -> None:
    bells = ("__drops", "__changes", "__captured", "__alarms")
    others = [
        one for one in location.get_repository_def().sensor_defs if not one.name.endswith(bells)
    ]
    assert [type(one) for one in others] == [dg.AutomationConditionSensorDefinition]
    with dg.DagsterInstance.ephemeral() as instance:
        first = dg.evaluate_automation_conditions(location, instance)
    assert first.total_requested == 0


if __name__ == "__main__":
    SNAPSHOT.write_text(told(defs()))
