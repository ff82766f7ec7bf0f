"""SQL type text and Arrow type, both ways."""

import pyarrow as pa
import pytest

from malacate.contracts.types import arrow_type, sql_type
from malacate.errors import ContractError

PAIRS = [
    ("boolean", pa.bool_()),
    ("tinyint", pa.int8()),
    ("smallint", pa.int16()),
    ("integer", pa.int32()),
    ("bigint", pa.int64()),
    ("real", pa.float32()),
    ("double", pa.float64()),
    ("decimal(12,2)", pa.decimal128(12, 2)),
    ("decimal(40,0)", pa.decimal256(40, 0)),
    ("varchar", pa.string()),
    ("blob", pa.binary()),
    ("date", pa.date32()),
    ("time", pa.time64("us")),
    ("timestamp", pa.timestamp("us")),
    ("timestamptz", pa.timestamp("us", "UTC")),
    ("integer[]", pa.list_(pa.int32())),
    (
        'struct("a" integer, "b" varchar[])',
        pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]),
    ),
    ("map(varchar, bigint)", pa.map_(pa.string(), pa.int64())),
]


@pytest.mark.parametrize(("text", "kind"), PAIRS, ids=[text for text, _ in PAIRS])
def test_a_type_goes_both_ways(text: str, kind: pa.DataType) -> None:
    assert arrow_type(text) == kind
    assert sql_type(kind) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("uuid", pa.string()),
        ("json", pa.string()),
        ("varchar(10)", pa.string()),
        ("timestamp with time zone", pa.timestamp("us", "UTC")),
        ("INT", pa.int32()),
    ],
)
def test_other_words_for_a_type_are_understood(text: str, kind: pa.DataType) -> None:
    assert arrow_type(text) == kind


@pytest.mark.parametrize("text", ["", "foo", "hugeint", "ubigint", "interval", "decimal(77,0)"])
def test_a_type_that_no_target_holds_exactly_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="is not a type a contract can use") as caught:
        arrow_type(text)
    assert caught.value.reason == "unknown_type"


def test_an_arrow_type_without_sql_type_is_refused() -> None:
    with pytest.raises(ContractError) as caught:
        sql_type(pa.month_day_nano_interval())
    assert caught.value.reason == "unknown_type"
