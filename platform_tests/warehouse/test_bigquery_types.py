"""How contracts' types are held in BigQuery, where no emulator can tell."""

import pyarrow as pa
import pytest
from platform_tests.warehouse.batches import table

from malacate.contracts.table import Column
from malacate.errors import ContractError
from malacate.warehouse.bigquery_types import ddl, fields


def kind_of(kind: pa.DataType) -> str:
    return ddl(fields(table(Column("one", kind)))[0])


@pytest.mark.parametrize(
    ("precision", "scale", "held"),
    [(1, 0, "NUMERIC"), (38, 9, "NUMERIC"), (29, 0, "NUMERIC"), (30, 0, "BIGNUMERIC"),
     (12, 10, "BIGNUMERIC"), (38, 38, "BIGNUMERIC"), (76, 38, "BIGNUMERIC")],
)  # fmt: skip
def test_a_decimal_is_held_by_the_least_type_that_has_all_its_digits(
    precision: int, scale: int, held: str
) -> None:
    wide = pa.decimal256 if precision > 38 else pa.decimal128
    assert kind_of(wide(precision, scale)) == held


@pytest.mark.parametrize(
    "kind",
    [pa.decimal256(76, 0), pa.decimal256(60, 10), pa.decimal256(50, 39), pa.uint64(),
     pa.list_(pa.list_(pa.int64())), pa.struct([("a.b", pa.int64())]), pa.timestamp("ns")],
)  # fmt: skip
def test_what_cannot_be_held_exactly_is_refused_by_name(kind: pa.DataType) -> None:
    with pytest.raises(ContractError, match="one") as refused:
        kind_of(kind)
    assert refused.value.reason == "unknown_type"


def test_nested_types_are_nested() -> None:
    pairs = pa.map_(pa.string(), pa.list_(pa.date32()))
    assert kind_of(pa.list_(pa.struct([("x y", pa.time64("us"))]))) == "ARRAY<STRUCT<`x y` TIME>>"
    assert kind_of(pairs) == "ARRAY<STRUCT<`key` STRING, `value` ARRAY<DATE>>>"
    assert kind_of(pa.timestamp("us", "America/Santiago")) == "TIMESTAMP"
