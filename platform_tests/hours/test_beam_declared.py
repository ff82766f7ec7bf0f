"""``engine: beam`` in a declaration: the same tables, the hours an asset of their own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.company import Company, at_home

from malacate.components.declared import load_declared, raw_assets
from malacate.errors import ConfigError

GEOPHONES = Path(__file__).parents[2] / "platform" / "acme" / "defs" / "geophones"
READINGS, HOURS = dg.AssetKey(["raw", "pit", "vibration"]), dg.AssetKey(["raw", "pit", "hour"])
DECLARED = """
type: malacate.components.HourlyAggregate

attributes:
  source: pit
  folder: ${PIT_DROPS}
  readings: vibration
  hours: hour
  files: ["*.parquet"]
  format: {name: parquet}
  per_hour: 360
  axes: {tran: ppv_tran_mm_s, vert: ppv_vert_mm_s, long: ppv_long_mm_s}
  resolution: 0.0001
  rms: rms_mm_s
  vector_sum: pvs_mm_s
  battery: battery_v
  files_for_ml: hour
  engine: beam
  beam:
    runner: DataflowRunner
    options: {project: "${PIT_PROJECT}", region: europe-west1, max_num_workers: 20,
              experiments: [use_runner_v2]}
"""


@pytest.fixture
def pit() -> Iterator[Company]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        company.write("defs/pit/defs.yaml", DECLARED)
        contract = (GEOPHONES / "contract.odcs.yaml").read_text()
        company.write("defs/pit/contract.odcs.yaml", contract.replace("vibration_hour", "hour"))
        with at_home(company, PIT_DROPS=str(company.drops)):
            yield company


def declared(pit: Company, right: str = "", wrong: str = "") -> dg.Definitions:
    assert right in DECLARED
    pit.write("defs/pit/defs.yaml", DECLARED.replace(right, wrong, 1) if right else DECLARED)
    return load_declared(pit.declarations)


def test_hours_follow_the_readings_as_an_asset_of_their_own(pit: Company) -> None:
    graph = declared(pit).resolve_asset_graph()
    assert graph.get(HOURS).parent_keys == {READINGS}
    assert graph.get(HOURS).automation_condition == dg.AutomationCondition.eager()
    assert graph.get(dg.AssetKey(["ml", "hour"])).parent_keys == {HOURS}
    assert graph.get(HOURS).execution_set_asset_keys == {HOURS}
    (raw,) = raw_assets(pit.declarations)
    assert raw.route.derives is None


def test_without_it_the_warehouse_derives_the_same_tables(pit: Company) -> None:
    beam = DECLARED[DECLARED.index("  engine: beam") :]
    graph = declared(pit, beam, "").resolve_asset_graph()
    assert graph.get(HOURS).parent_keys == {READINGS}
    assert graph.get(HOURS).execution_set_asset_keys == {READINGS, HOURS}


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("DataflowRunner", "DataFlowRunner", "'DataflowRunner'"),
        ("region:", "regoin:", "'region'"),
        ("  runner: ", "  runer: ", "'runner'"),
        ("engine: beam", "engine: flink", "'duckdb', 'numpy' or 'beam'"),
        ("engine: beam", "engine: duckdb", "engine: beam"),
        ("${PIT_PROJECT}", "https://u:p@host", "environment variable"),
    ],
)
def test_a_mistake_in_it_is_told_with_its_file(
    pit: Company, right: str, wrong: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        declared(pit, right, wrong)
    assert "defs.yaml" in str(caught.value)
