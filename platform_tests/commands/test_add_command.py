"""A source drafted from a sample: it loads, it materializes, and nothing is overwritten."""

from pathlib import Path
from typing import Any

import dagster as dg
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from platform_tests.company import Command, Company, run_to_end

CSV = "Sample No;Depth (m);depth_m\n1;2.5;x\n2;3.5;y\n"
SCHEMA = {
    "type": "record", "name": "r",
    "fields": [{"name": "id", "type": "long"}, {"name": "rqd", "type": "double"}],
}  # fmt: skip
ROWS: list[dict[str, Any]] = [{"id": 1, "rqd": 2.5}, {"id": 2, "rqd": 3.5}]


def sample(folder: Path, kind: str) -> Path:
    folder.mkdir()
    path = folder / f"rock.{kind}"
    if kind == "csv":
        path.write_text(CSV)
    elif kind == "jsonl":
        path.write_text('{"id": 1, "rqd": 2.5}\n{"id": 2, "rqd": 3.5}\n')
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("wb") as file:
            fastavro.writer(file, SCHEMA, ROWS)
    return path


@pytest.mark.parametrize("kind", ["csv", "avro", "parquet", "jsonl"])
def test_what_is_drafted_loads_and_materializes(
    shop: Company, malacate: Command, instance: dg.DagsterInstance, kind: str
) -> None:
    path = sample(shop.folder / "lab", kind)
    code, out, err = malacate("add", "source", str(path), "--source", "lab")
    assert code == 0, err
    text = (shop.declarations / "lab/defs.yaml").read_text()
    assert len(text.splitlines()) < 25
    assert str(shop.declarations / "lab/defs.yaml") in out.replace("\n", "")
    run_to_end(shop, ["raw/lab/rock"], instance)
    assert len(shop.rows("raw_lab.rock")) == 2
    assert malacate("doctor", "--json")[1].count('"lab/rock"') == 1


def test_csv_is_text_and_says_so(shop: Company, malacate: Command) -> None:
    path = sample(shop.folder / "lab", "csv")
    assert "every column is text" in malacate("add", "source", str(path), "--source", "lab")[1]
    contract = (shop.declarations / "lab/contract.odcs.yaml").read_text()
    assert contract.startswith("# Draft. CSV has no types: every column is text")
    (table,) = yaml.safe_load(contract)["schema"]
    names = [(p["name"], p.get("physicalName", p["name"])) for p in table["properties"]]
    assert names == [
        ("sample_no", "Sample No"), ("depth_m_2", "Depth (m)"), ("depth_m", "depth_m"),
    ]  # fmt: skip
    assert {p["physicalType"] for p in table["properties"]} == {"varchar"}
    declared = (shop.declarations / "lab/defs.yaml").read_text()
    assert '";"' in declared
    assert "# delimiter guessed from the first line" in declared


def test_a_sample_tells_its_format_by_its_bytes(shop: Company, malacate: Command) -> None:
    path = sample(shop.folder / "lab", "avro").rename(shop.folder / "lab/rock.bin")
    assert malacate("add", "source", str(path), "--source", "lab")[0] == 0
    assert "name: avro" in (shop.declarations / "lab/defs.yaml").read_text()


def test_a_source_that_is_there_is_not_overwritten(shop: Company, malacate: Command) -> None:
    path = sample(shop.folder / "lab", "csv")
    before = (shop.declarations / "shop/defs.yaml").read_text()
    code, _, err = malacate("add", "source", str(path), "--source", "shop")
    assert (code, err.startswith("already_there: ")) == (2, True)
    assert (shop.declarations / "shop/defs.yaml").read_text() == before


@pytest.mark.parametrize(
    ("name", "text", "source", "reason"),
    [
        ("rock.bin", "x", "lab", "unknown_format"),
        ("rock.csv", "a,b\n1,2\n", "Lab-1", "illegal_name"),
        ("gone.csv", None, "lab", "no_file"),
        ("empty.csv", "", "lab", "empty"),
    ],
)
def test_a_sample_that_cannot_be_used_leaves_nothing(
    shop: Company, malacate: Command, name: str, text: str | None, source: str, reason: str
) -> None:
    path = shop.folder / name
    if text is not None:
        path.write_text(text)
    code, _, err = malacate("add", "source", str(path), "--source", source)
    assert code == 2
    assert err.startswith(reason), err
    assert not (shop.declarations / source).exists()


def test_the_folders_can_be_named(shop: Company, malacate: Command, tmp_path: Path) -> None:
    path = sample(shop.folder / "lab", "csv")
    options = ("--folder", "${SHOP_DROPS}", "--defs", str(tmp_path), "--table", "core")
    assert malacate("add", "source", str(path), "--source", "lab", *options)[0] == 0
    declared = yaml.safe_load((tmp_path / "lab/defs.yaml").read_text())["attributes"]
    assert declared["folder"] == "${SHOP_DROPS}"
    assert [table["name"] for table in declared["tables"]] == ["core"]
