import dagster as dg

from platform_tests.company import Company, run_to_end, sale, sales

SALE = "raw/shop/sale"


def test_a_drop_becomes_a_checked_table(shop: Company, instance: dg.DagsterInstance) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    ran = run_to_end(shop, [SALE], instance)
    assert ran.made() == [SALE]
    assert ran.failed() == set()
    assert [row["sale_id"] for row in shop.rows("raw_shop.sale")] == [1, 2]
