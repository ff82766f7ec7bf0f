from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from malacate.contracts.odcs import read_contract
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError
from malacate.names import TableName

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: mine
name: The mine
version: 2.1.0
status: active
team:
  name: geotechnics
slaProperties:
  - property: freshness
    element: load
    value: 90
    unit: m
schema:
  - name: load
    physicalName: app.load
    logicalType: object
    description: One truck load
    customProperties:
      - {property: extraColumns, value: ignore}
      - {property: quarantineLimit, value: 0.2}
    properties:
      - name: shift_no
        logicalType: integer
        physicalType: integer
        primaryKey: true
        primaryKeyPosition: 2
      - name: load_id
        logicalType: integer
        physicalType: bigint
        primaryKey: true
        primaryKeyPosition: 1
      - name: payload_t
        physicalName: PAYLOAD
        logicalType: number
        physicalType: decimal(12,3)
        required: true
        classification: internal
        description: What it carried
        logicalTypeOptions: {minimum: 0, maximum: 400}
        customProperties:
          - {property: unit, value: t}
          - {property: aliases, value: [tonnes, tons]}
      - name: material
        logicalType: string
        physicalType: varchar
        logicalTypeOptions: {pattern: "[A-Z]+", maxLength: 12}
        enum:
          - {value: ORE}
          - {value: WASTE}
        customProperties:
          - {property: since, value: 2.0.0}
          - {property: format, value: "%d/%m/%Y"}
  - name: truck
    properties:
      - name: truck_id
        logicalType: string
        physicalType: varchar
        required: false
"""


def contract(folder: Path, text: str = CONTRACT) -> Path:
    path = folder / "contract.odcs.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_contract(contract(folder, text), "fleet")
    return caught.value


def line_of(text: str, fragment: str, nth: int = 1) -> int:
    lines = [i for i, line in enumerate(text.splitlines(), 1) if fragment in line]
    return lines[nth - 1]


def test_every_field_of_a_table_is_read(tmp_path: Path) -> None:
    path = contract(tmp_path)
    load = read_contract(path, "fleet")["load"]
    assert load == Table(
        name=TableName("raw_fleet", "load"),
        columns=(
            Column("shift_no", pa.int32(), True),
            Column("load_id", pa.int64(), True),
            Column(
                "payload_t",
                pa.decimal128(12, 3),
                True,
                "What it carried",
                "t",
                "internal",
                "PAYLOAD",
                ("tonnes", "tons"),
                minimum=0,
                maximum=400,
            ),
            Column(
                "material",
                pa.string(),
                since="2.0.0",
                pattern="[A-Z]+",
                max_length=12,
                allowed=("ORE", "WASTE"),
                format="%d/%m/%Y",
            ),
        ),
        key=("load_id", "shift_no"),
        description="One truck load",
        physical_name="app.load",
        extra_columns="ignore",
        owner="geotechnics",
        fresh_within=timedelta(minutes=90),
        quarantine_limit=0.2,
        version="2.1.0",
    )
    assert load.origin == f"{path}:{line_of(CONTRACT, '- name: load')}"
    assert load.source == "fleet"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    truck = read_contract(contract(tmp_path), "fleet")["truck"]
    assert truck.columns == (Column("truck_id", pa.string()),)
    assert (truck.key, truck.extra_columns, truck.quarantine_limit) == ((), "reject", 0.05)
    assert truck.fresh_within is None


MISTAKES = {
    "an unknown key": ("status: active", "colour: red", "colour", "Use one of"),
    "a typo at the top": ("slaProperties:", "slaProperites:", "slaProperites", "'slaProperties'"),
    "a typo of a table": ("physicalName: app", "physicalNam: app", "physicalNam:", "physicalName"),
    "a typo of a column": ("required: true", "requird: true", "requird", "'required'"),
    "a typo of ours": ("quarantineLimit", "quarantineLimt", "quarantineLimt", "quarantineLimit"),
    "a typo of ours in a column": ("property: unit", "property: units", "units", "'unit'"),
    "a tab": ("        physicalType: bigint", "\tphysicalType: bigint", "\tphysicalType", "tabs"),
    "a duplicate key": ("id: mine", "id: mine\nid: other", "id: other", "Keep one"),
    "a table's illegal name": ("name: load\n", "name: Truck Load\n", "Truck Load", "truck_load"),
    "a column's illegal name": ("name: payload_t", "name: payload-t", "payload-t", "payload_t"),
    "a source's reserved sign": ("name: load_id", "name: '$id'", "$id", "'id'"),
    "no as a name": ("name: material", "name: no", "name: no", ""),
    "on as a name": ("name: material", "name: on", "name: on", ""),
    "yes as a table's name": ("name: truck\n", "name: yes\n", "name: yes", ""),
    "1e3 as a name": ("name: material", "name: 1e3", "name: 1e3", ""),
    "1.0e+3 as a name": ("name: material", "name: 1.0e+3", "1.0e+3", ""),
    "a date as a name": ("name: material", "name: 2026-11-03", "2026-11-03", ""),
    "a wrong type": ("required: false", "required: maybe", "maybe", ""),
    "a list that is text": ("value: [tonnes, tons]", "value: tonnes", "value: tonnes", "list"),
    "an unknown type": ("physicalType: bigint", "physicalType: numbr", "name: load_id", "bigint"),
    "an unknown policy": ("value: ignore", "value: ignroe", "ignroe", "ignore"),
    "a limit that is text": ("value: 0.2", "value: few", "value: few", "number"),
    "a limit above one": ("value: 0.2", "value: 20", "value: 20", "number"),
    "a bound that is text": ("minimum: 0,", "minimum: none,", "minimum: none", "number"),
    "a length that is text": ("maxLength: 12", "maxLength: long", "maxLength: long", "whole"),
    "an unknown option": ("maxLength: 12", "maxLenght: 12", "maxLenght", "maxLength"),
    "a broken pattern": ('"[A-Z]+"', '"[A-Z"', "[A-Z", "expression"),
    "a promise in leap years": ("unit: m", "unit: parsec", "parsec", "'h'"),
    "a promise that is text": ("value: 90", "value: soon", "value: soon", "number"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_its_line_and_advice(tmp_path: Path, mistake: str) -> None:
    right, wrong, at, advice = MISTAKES[mistake]
    assert right in CONTRACT
    text = CONTRACT.replace(right, wrong, 1)
    error = refusal(tmp_path, text)
    path, _, line = error.object.rpartition(":")
    assert path == str(tmp_path / "contract.odcs.yaml")
    assert int(line) == line_of(text, at)
    assert advice in str(error)
    assert error.advice


def test_required_and_since_exclude_each_other(tmp_path: Path) -> None:
    text = CONTRACT.replace("required: true", "required: true", 1)
    text = text.replace("{property: unit, value: t}", "{property: since, value: 2.0.0}")
    error = refusal(tmp_path, text)
    assert error.reason == "impossible"
    assert error.object.endswith(f":{line_of(text, 'name: payload_t')}")


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    text = CONTRACT.replace("- name: truck\n", "- name: load\n")
    error = refusal(tmp_path, text)
    assert error.reason == "two_tables"
    assert error.object.endswith(f":{line_of(text, '- name: load', 3)}")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("name: material", "name: load_id"),
        ("[tonnes, tons]", "[tonnes, material]"),
        ("physicalName: PAYLOAD", "physicalName: load_id"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, right: str, wrong: str) -> None:
    assert refusal(tmp_path, CONTRACT.replace(right, wrong)).reason == "two_columns"


def test_a_column_without_a_type_is_refused_with_the_types_there_are(tmp_path: Path) -> None:
    text = CONTRACT.replace("        physicalType: bigint\n", "")
    error = refusal(tmp_path, text)
    assert error.reason == "unknown_type"
    assert "decimal(p,s)" in error.advice
    assert error.object.endswith(f":{line_of(text, 'name: load_id')}")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n", "a: [1\n", "\xff: 1\n"])
def test_what_is_no_contract_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contract.odcs.yaml"
    path.write_bytes(text.encode("latin-1"))
    if text:
        with pytest.raises(ConfigError) as caught:
            read_contract(path, "fleet")
        assert caught.value.object.startswith(str(path))
    else:
        assert read_contract(path, "fleet") == {}


def test_a_contract_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        read_contract(tmp_path / "nowhere.yaml", "fleet")


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    text = CONTRACT[: CONTRACT.index("  - name: truck")] + "  - name: truck\n"
    assert "no columns" in str(refusal(tmp_path, text))


def test_an_illegal_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sap_erp"):
        read_contract(contract(tmp_path), "SAP ERP")


DATED = "physicalType: varchar\n        required: false"


def test_a_column_of_dates_may_partition_its_table(tmp_path: Path) -> None:
    text = CONTRACT.replace(DATED, "physicalType: date\n        partitioned: true")
    read = read_contract(contract(tmp_path, text), "fleet")
    assert (read["truck"].partitioned_by, read["load"].partitioned_by) == ("truck_id", "")


def test_any_other_column_may_not(tmp_path: Path) -> None:
    text = CONTRACT.replace(DATED, f"{DATED}\n        partitioned: true")
    assert refusal(tmp_path, text).reason == "bad_partition"


@pytest.mark.parametrize(("custom", "keeps"), [(True, True), (False, False)])
def test_a_partition_that_never_changes_is_told_by_the_key(
    tmp_path: Path, custom: bool, keeps: bool
) -> None:
    told = f"[{{property: immutable, value: {str(custom).lower()}}}]"
    column = f"physicalType: date\n        partitioned: true\n        customProperties: {told}"
    table = read_contract(contract(tmp_path, CONTRACT.replace(DATED, column)), "fleet")["truck"]
    named = replace(table, key=())
    assert (named.by_name[table.partitioned_by].immutable, named.keeps_partition) == (custom, keeps)
    assert replace(table, key=(table.partitioned_by,)).keeps_partition
    assert not replace(table, partitioned_by="").keeps_partition


def test_that_a_column_never_changes_is_true_or_false(tmp_path: Path) -> None:
    told = "[{property: immutable, value: 'yes'}]"
    column = f"{DATED}\n        customProperties: {told}"
    assert refusal(tmp_path, CONTRACT.replace(DATED, column)).reason == "bad_value"
