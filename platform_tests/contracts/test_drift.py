"""What came against what was promised: the allowed differences, and the diff of the others."""

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malacate.contracts.drift import Delivered, Evolution, align, same, widens
from malacate.contracts.table import Column, Table
from malacate.errors import SchemaDrift
from malacate.names import TableName

ID = Column("id", pa.int64(), required=True)
SITE = Column("site", pa.string(), physical_name="SiteCode", aliases=("site_name",))
TABLE = Table(TableName("raw_mine", "load"), (ID, SITE), origin="load.odcs.yaml:3")
EXACT: Delivered = {"id": pa.int64(), "SiteCode": pa.string()}


def drift(table: Table, delivered: Delivered) -> str:
    with pytest.raises(SchemaDrift) as caught:
        align(table, delivered, "load.avro")
    assert caught.value.reason == "schema_drift"
    assert (caught.value.source, caught.value.object) == ("raw_mine.load", "load.avro")
    return caught.value.actual


def test_what_is_promised_is_no_evolution() -> None:
    found = align(TABLE, EXACT)
    assert (found.sources, found.evolutions) == ({"id": "id", "site": "SiteCode"}, ())


def test_16_the_order_of_columns_means_nothing() -> None:
    assert align(TABLE, dict(reversed(list(EXACT.items())))) == align(TABLE, EXACT)


def test_15_a_column_that_is_missing_is_drift() -> None:
    assert drift(TABLE, {"SiteCode": pa.string()}) == "missing 'id' bigint"


def test_15_a_renamed_column_is_drift_that_names_its_likely_origin() -> None:
    assert drift(TABLE, {"id": pa.int64(), "sites": pa.string()}) == (
        "missing 'site' varchar; extra 'sites' (if 'site' was renamed to it, add it to the aliases)"
    )


def test_15_a_declared_alias_is_an_evolution() -> None:
    found = align(TABLE, {"id": pa.int64(), "site_name": pa.string()})
    assert found.sources["site"] == "site_name"
    assert found.evolutions == (Evolution("renamed", "site", "came as 'site_name'"),)


def test_15_a_column_under_two_of_its_names_is_drift() -> None:
    both = {**EXACT, "site_name": pa.string()}
    assert "'site' came twice, as 'SiteCode' and 'site_name'" in drift(TABLE, both)


def test_15_a_new_column_is_drift_unless_the_contract_ignores_new_ones() -> None:
    more = {**EXACT, "colour": pa.string()}
    assert drift(TABLE, more) == "extra 'colour'"
    found = align(replace(TABLE, extra_columns="ignore"), more)
    assert found.evolutions == (Evolution("ignored", "colour", "not in the contract"),)


def test_15_a_column_added_since_may_be_absent_from_an_older_file() -> None:
    table = TABLE.having(Column("shift", pa.string(), since="1.2.0"))
    found = align(table, EXACT)
    assert found.sources["shift"] is None
    assert found.evolutions == (Evolution("absent", "shift", "added in 1.2.0; null here"),)


def test_28_every_difference_is_told_at_once() -> None:
    told = drift(TABLE, {"id": pa.string(), "colour": pa.int8()})
    assert told == (
        "retyped 'id': string cannot become int64 without loss; "
        "missing 'site' varchar; extra 'colour'"
    )


def test_34_a_number_that_comes_as_text_is_drift() -> None:
    assert "retyped 'id'" in drift(TABLE, {**EXACT, "id": pa.string()})


def test_a_narrower_number_is_widened() -> None:
    found = align(TABLE, {**EXACT, "id": pa.int32()})
    assert found.evolutions == (Evolution("widened", "id", "int32 to int64"),)


def test_a_format_without_types_is_matched_by_name_alone() -> None:
    assert align(TABLE, dict.fromkeys(EXACT)) == align(TABLE, EXACT)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (pa.large_string(), pa.string()),
        (pa.binary(16), pa.binary()),
        (pa.timestamp("us", "+00:00"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "Europe/Madrid"), pa.timestamp("us", "UTC")),
        (pa.large_list(pa.large_string()), pa.list_(pa.string())),
        (pa.list_(pa.field("element", pa.int8(), nullable=False)), pa.list_(pa.int8())),
    ],
    ids=str,
)
def test_layout_is_no_difference(kind: pa.DataType, other: pa.DataType) -> None:
    assert same(kind, other)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.null(), pa.struct([("a", pa.int8())])),
        (pa.int8(), pa.int16()),
        (pa.uint32(), pa.int64()),
        (pa.int32(), pa.float64()),
        (pa.int64(), pa.decimal128(19, 0)),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.int16(), pa.decimal128(7, 2)),
        (pa.float32(), pa.float64()),
        (pa.decimal128(12, 2), pa.decimal128(14, 4)),
        (pa.decimal128(38, 2), pa.decimal256(40, 2)),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")),
        (pa.time32("ms"), pa.time64("us")),
    ],
    ids=str,
)
def test_a_wider_type_holds_every_value(kind: pa.DataType, wanted: pa.DataType) -> None:
    assert widens(kind, wanted)
    assert not widens(wanted, kind)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.int64(), pa.float64()),
        (pa.int32(), pa.float32()),
        (pa.uint64(), pa.int64()),
        (pa.int8(), pa.uint64()),
        (pa.uint64(), pa.decimal128(19, 0)),
        (pa.int16(), pa.decimal128(6, 2)),
        (pa.float64(), pa.decimal128(38, 10)),
        (pa.decimal128(12, 2), pa.decimal128(12, 4)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.time64("ns"), pa.time64("us")),
        (pa.string(), pa.int64()),
        (pa.binary(), pa.string()),
        (pa.date32(), pa.timestamp("us")),
    ],
    ids=str,
)
def test_a_type_that_could_lose_a_value_does_not_widen(
    kind: pa.DataType, wanted: pa.DataType
) -> None:
    assert not widens(kind, wanted)


NUMBERS = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(9, 2),
    pa.decimal128(19, 0),
    pa.decimal128(20, 0),
    pa.decimal128(38, 4),
]


@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.integers(-(2**63), 2**64 - 1))
def test_widening_keeps_every_number(kind: pa.DataType, wanted: pa.DataType, value: int) -> None:
    if not widens(kind, wanted):
        return
    try:
        delivered = pa.array([Decimal(value) if pa.types.is_decimal(kind) else value], kind)
    except (pa.ArrowInvalid, OverflowError):
        return
    assert pc.cast(delivered, wanted, safe=True).to_pylist() == delivered.to_pylist()
