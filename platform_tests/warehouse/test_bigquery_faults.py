"""BigQuery when jobs fail and answers are lost: what storms meet by chance only."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from platform_tests.emulators import bigquery_proxy, parts
from platform_tests.emulators.bigquery_proxy import Fault, Proxy
from platform_tests.emulators.bigquery_words import Request, accepted
from platform_tests.warehouse.batches import Batches, drop, table, window
from platform_tests.warehouse.engines import Engine, on_bigquery
from platform_tests.warehouse.test_warehouse import REJECT, ids, outcome, rows

from malacate import crash
from malacate.batch import WriteMode
from malacate.errors import LakeError, WarehouseBusy
from malacate.warehouse.protocol import Publication


@dataclass(frozen=True)
class Behind:
    """An empty warehouse behind a proxy of its own."""

    engine: Engine
    proxy: Proxy

    @property
    def append(self) -> Batches:
        return Batches(self.engine.lake, table())

    def publish(self, *publications: Publication) -> list[str]:
        """As a new run would."""
        return outcome(self.engine.warehouse, *publications)

    def sent(self, what: str) -> list[Request]:
        return [request for request in self.proxy.seen if request.what == what]


@pytest.fixture
def behind(bigquery_server: parts.BigQuery, request: pytest.FixtureRequest) -> Iterator[Behind]:
    patience = getattr(request, "param", 3.0)
    with bigquery_proxy.proxied(bigquery_server.url) as proxy:
        yield Behind(on_bigquery(bigquery_server, proxy.url, patience), proxy)


@pytest.mark.parametrize("times", [1, 2, 3, 4, 7])
def test_a_load_that_bigquery_failed_is_loaded_by_a_later_run(behind: Behind, times: int) -> None:
    behind.proxy.inject(Fault("conflict", ("load",), times))
    one, done = behind.append.of(drop(), rows(1)), list[str]()
    for _ in range(3):
        with suppress(WarehouseBusy):
            done += behind.publish(one)
    assert done[0] == "published"
    assert ids(behind.engine.warehouse) == [1]


def missing(request: Request) -> dict[str, Any]:
    """A load that found no file: its job is done, and keeps its id."""
    error = {"reason": "notFound", "message": "Not found: URI gs://bucket/rows.parquet"}
    status = {"state": "DONE", "errorResult": error, "errors": [error]}
    return {**accepted(request), "status": status}


def test_a_landing_that_was_restored_is_published(behind: Behind) -> None:
    one = behind.append.of(drop(), rows(1))
    behind.proxy.inject(Fault("conflict", ("load",), 1))
    with mock.patch.object(bigquery_proxy, "conflict", missing), pytest.raises(LakeError):
        behind.publish(one)
    assert behind.publish(one) == ["published"]
    assert ids(behind.engine.warehouse) == [1]


def test_what_was_loaded_is_not_loaded_again_by_the_next_run(behind: Behind) -> None:
    upsert = Batches(behind.engine.lake, table(), WriteMode.UPSERT)
    one = upsert.of(window(None, 5), rows(1), keys=rows(1), rejects=[REJECT])
    behind.proxy.inject(Fault("drop_before", ("transaction",), None))
    for _ in range(2):
        with pytest.raises(WarehouseBusy, match="Run again"):
            behind.publish(one)
    behind.proxy.quiet()
    assert behind.publish(one) == ["published"]
    jobs = {request.key for request in behind.sent("load")}
    assert len(jobs) == 3


def test_a_transaction_changes_its_claims_before_it_looks_at_markers(behind: Behind) -> None:
    behind.publish(behind.append.of(drop(), rows(1), rejects=[REJECT]))
    (sent,) = behind.sent("transaction")
    verbs = [" ".join(one.split()[:3]) for one in sent.sql.split(";\n")]
    assert verbs[:2] == ["begin transaction", "update malacate.claims set"]
    guards = [n for n, one in enumerate(sent.sql.split(";\n")) if "error('malacate: " in one]
    changes = [n for n, verb in enumerate(verbs) if re.match("insert|delete|update|merge", verb)]
    assert guards == [2, 3]
    assert changes[1] > guards[-1]


def test_nothing_is_repeated_by_the_client_itself(behind: Behind) -> None:
    behind.proxy.inject(Fault("status", ("transaction",), 1, status=503))
    assert behind.publish(behind.append.of(drop(), rows(1))) == ["published"]
    asked = [request.key for request in behind.sent("transaction")]
    assert (len(asked), len(set(asked))) == (2, 1)
    assert [r.what for r in behind.proxy.seen if r.key == asked[0]][1] == "job"


def test_a_conflict_is_decided_anew_by_another_job(behind: Behind) -> None:
    behind.proxy.inject(Fault("conflict", ("transaction",), 1))
    assert behind.publish(behind.append.of(drop(), rows(1))) == ["published"]
    assert len({request.key for request in behind.sent("transaction")}) == 2
    assert ids(behind.engine.warehouse) == [1]


def test_a_job_without_a_budget_names_none(behind: Behind) -> None:
    behind.publish(behind.append.of(drop(), rows(1)))
    asked = [one.configuration["query"] for one in behind.sent("query")]
    assert {one.get("maximumBytesBilled") for one in asked} == {None}


@pytest.mark.parametrize("behind", [60.0], indirect=True)
def test_one_that_was_overtaken_while_its_job_waited_changes_nothing(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (behind.append.of(drop("a", v), rows(v)) for v in (1, 2))
    waiting = [newer]

    def pause(name: str) -> None:
        if name == "tx_marker" and waiting:
            assert behind.publish(waiting.pop()) == ["published"]

    monkeypatch.setattr(crash, "point", pause)
    assert behind.publish(older) == ["superseded"]
    assert ids(behind.engine.warehouse) == [2]


def test_versions_between_those_of_other_tables_end_with_the_newest(engine: Engine) -> None:
    one, other = (Batches(engine.lake, table(name=name)) for name in ("rock", "core"))
    older, newer = (one.of(drop("a", version), rows(version)) for version in (1, 2))
    call = [older, other.of(drop("b"), rows(7)), newer]
    assert outcome(engine.warehouse, *call) == ["published"] * 3
    assert ids(engine.warehouse) == [2]
