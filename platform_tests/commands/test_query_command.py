"""``malacate query`` answers what is read, and refuses what would change anything."""

from pathlib import Path

import pytest
from platform_tests.company import Command, Company, sale, sales


@pytest.fixture
def stocked(shop: Company) -> Company:
    shop.drop("sales/1.csv", sales(sale(1), sale(2, 2.5, '"a, b"')))
    shop.ingest.run(shop.route("raw/shop/sale"))
    return shop


def test_rows_are_printed_as_a_table_or_as_csv(stocked: Company, malacate: Command) -> None:
    sql = "select sale_id, weight_t, buyer from raw_shop.sale order by sale_id"
    code, out, _ = malacate("query", sql, "--first", "1")
    assert code == 0
    assert "1 of 2 rows" in out
    code, out, _ = malacate("query", sql, "--csv")
    assert out.splitlines() == ["sale_id,weight_t,buyer", "1,1.5,ana", '2,2.5,"a, b"']


@pytest.mark.parametrize(
    "sql",
    [
        "delete from raw_shop.sale",
        "drop table raw_shop.sale",
        "select 1; drop table raw_shop.sale",
        "with gone as (delete from raw_shop.sale returning *) select * from gone",
        "copy raw_shop.sale to 'out.csv'",
        "attach 'other.duckdb'",
        "create table x as select 1",
        "call pragma_version()",
        "select * from nowhere.nothing",
        "select from where",
        "",
    ],
)
def test_what_is_no_reading_statement_is_refused_and_changes_nothing(
    stocked: Company, malacate: Command, sql: str
) -> None:
    before = stocked.rows("raw_shop.sale")
    code, _, told = malacate("query", sql)
    assert (code, told.split(":")[0]) == (2, "bad_query")
    assert stocked.rows("raw_shop.sale") == before
    assert not Path("out.csv").exists()
