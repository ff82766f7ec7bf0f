"""A doorbell asks for one run for all that waits, under a key made of what waits."""

import shutil
from collections.abc import Sequence

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_tests.company import Company, newer, run_to_end, sale, sales

from malacate.batch import Found
from malacate.errors import SourceUnreachable
from malacate.orchestration.sensors import decide

SALE = "raw/shop/sale"
Asked = dg.SensorResult | dg.SkipReason
founds = st.lists(
    st.builds(
        lambda name, version: Found("shop", "sale", "object", name, version, 1),
        st.text(max_size=5),
        st.text(max_size=3),
    ),
    unique_by=lambda found: found.batch_id,
    min_size=1,
    max_size=8,
)


@given(founds, st.integers(0, 9), st.randoms())
def test_the_same_set_has_the_same_key_in_whatever_order(
    waiting: list[Found], tries: int, dice: object
) -> None:
    other = list(waiting)
    dice.shuffle(other)
    assert decide(waiting, tries) == decide(other, tries)


@given(founds, founds, st.integers(0, 9))
def test_another_set_has_another_key(one: list[Found], two: list[Found], tries: int) -> None:
    same = {f.batch_id for f in one} == {f.batch_id for f in two}
    assert (decide(one, tries).run_key == decide(two, tries).run_key) == same


@given(founds, st.integers(0, 9))
def test_what_failed_is_asked_for_again_under_another_key(waiting: list[Found], tries: int) -> None:
    assert decide(waiting, tries).run_key != decide(waiting, tries + 1).run_key


def test_nothing_that_waits_asks_for_no_run() -> None:
    assert decide([], 3).run_key is None
    assert decide([], 3).why == "nothing new"


def _evaluate(
    shop: Company, instance: dg.DagsterInstance, cursor: str | None = None
) -> tuple[Asked, str | None]:
    """One tick of the sales' sensor, and the cursor after it."""
    repository = shop.definitions.get_repository_def()
    sensor = repository.get_sensor_def("raw__shop__sale__drops")
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository,
        resources={"platform": shop.platform},
    ) as context:  # fmt: skip
        asked = sensor(context)
        return asked, context.cursor


def keys(asked: Asked) -> list[str | None]:
    requests: Sequence[dg.RunRequest] = getattr(asked, "run_requests", None) or ()
    return [request.run_key for request in requests]


def test_an_empty_folder_asks_for_nothing(shop: Company, instance: dg.DagsterInstance) -> None:
    asked, _ = _evaluate(shop, instance)
    assert isinstance(asked, dg.SkipReason)
    assert asked.skip_message == "nothing new"


def test_a_new_file_asks_for_one_run_and_asks_again_under_the_same_key(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    first, cursor = _evaluate(shop, instance)
    again, _ = _evaluate(shop, instance, cursor)
    assert len(keys(first)) == 1
    assert keys(again) == keys(first)


def test_a_hundred_files_ask_for_one_run(shop: Company, instance: dg.DagsterInstance) -> None:
    for number in range(100):
        shop.drop(f"sales/{number}.csv", sales(sale(number)))
    asked, _ = _evaluate(shop, instance)
    assert len(keys(asked)) == 1


def test_a_file_that_comes_later_asks_under_another_key(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    first = shop.drop("sales/1.csv", sales(sale(1)))
    asked = [keys(_evaluate(shop, instance)[0])]
    shop.drop("sales/2.csv", sales(sale(2)))
    asked.append(keys(_evaluate(shop, instance)[0]))
    newer(first, sales(sale(3)))
    asked.append(keys(_evaluate(shop, instance)[0]))
    assert len({key for (key,) in asked}) == 3


def test_a_file_still_being_written_asks_for_nothing(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv.tmp", sales(sale(1)))
    shop.drop("sales/_SUCCESS", "")
    assert keys(_evaluate(shop, instance)[0]) == []


def test_a_file_of_another_table_does_not_ring_this_bell(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("refunds/1.csv", "sale_id,amount\n1,2.50\n")
    assert keys(_evaluate(shop, instance)[0]) == []


def test_a_missing_folder_is_an_error_never_nothing_new(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shutil.rmtree(shop.drops)
    with pytest.raises(SourceUnreachable, match="Create it"):
        _evaluate(shop, instance)


def test_after_the_run_nothing_is_asked_with_any_cursor(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    _, cursor = _evaluate(shop, instance)
    run_to_end(shop, [SALE], instance)
    for known in (cursor, None, "of another version"):
        assert keys(_evaluate(shop, instance, known)[0]) == []
    assert [row["sale_id"] for row in shop.rows("raw_shop.sale")] == [1]


def test_a_file_whose_reading_failed_is_asked_for_again_once_it_is_due(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    (first,) = keys(_evaluate(shop, instance)[0])
    ledger = shop.ingest.ledger
    (claim,) = ledger.claim("shop", "sale")
    assert keys(_evaluate(shop, instance)[0]) == []
    ledger.fail(claim, "the disk is gone", "unreachable", backoff_seconds=60)
    assert keys(_evaluate(shop, instance)[0]) == []
    ledger.release([claim.batch_id])
    (claim,) = ledger.claim("shop", "sale")
    ledger.fail(claim, "the disk is gone", "unreachable", backoff_seconds=0)
    (again,) = keys(_evaluate(shop, instance)[0])
    assert again != first


def test_a_bell_asks_for_the_table_it_hangs_on(shop: Company) -> None:
    repository = shop.definitions.get_repository_def()
    sensor = repository.get_sensor_def("raw__shop__sale__drops")
    job = repository.get_job(sensor.job_name)
    assert job.asset_layer.executable_asset_keys == {dg.AssetKey(SALE.split("/"))}
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
