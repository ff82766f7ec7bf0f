"""What is set on tables, datasets and jobs: labels, keys, region; and that it is left as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from platform_tests.emulators import parts
from platform_tests.warehouse.batches import Batches, drop, snapshot, table, window
from platform_tests.warehouse.engines import on_bigquery
from platform_tests.warehouse.test_warehouse import NAME, REJECT, rows

from malacate.batch import WriteMode
from malacate.contracts.table import Column
from malacate.lake.lake import Lake
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_jobs import Jobs

KEY = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"
ENCRYPTED = {"kmsKeyName": KEY}
ABOUT = {"app": "malacate", "layer": "raw", "source": "lab"}
PARTED = replace(
    table(
        Column("id", pa.int32(), True, "number of the sample"),
        Column("name", pa.string(), description='it\'s a "name"\n\\ of rock'),
        Column("on", pa.date32()),
    ),
    partitioned_by="on",
    description="samples",
)


@dataclass
class Seen:
    """A warehouse with key and region, and the requests that it sent."""

    warehouse: BigQueryWarehouse
    client: bigquery.Client
    lake: Lake
    sent: list[dict[str, Any]]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [one["data"] for one in self.sent if one["path"].endswith(path) and one.get("data")]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [one["configuration"] for one in self.bodies("/jobs")]

    def lived(self) -> None:
        """Each way to write, rejects, and a contract that grows."""
        for mode in (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.SNAPSHOT):
            batches = Batches(self.lake, PARTED, mode)
            newer = {WriteMode.SNAPSHOT: snapshot(9), WriteMode.UPSERT: window(None, 9)}
            self.warehouse.publish([batches.of(newer.get(mode, drop()), rows(1), rejects=[REJECT])])
        wider = replace(PARTED.by_name["id"], type=pa.float64())
        grown = replace(PARTED, columns=(wider, *PARTED.columns[1:], MORE))
        self.warehouse.publish([Batches(self.lake, grown).of(drop("b"), [{"id": 1.5}])])


MORE = Column("more", pa.string(), description="came 'later'")


@pytest.fixture
def seen(bigquery_server: parts.BigQuery, bigquery_url: str) -> Seen:
    engine, sent = on_bigquery(bigquery_server, bigquery_url), list[dict[str, Any]]()

    class Told(bigquery.Client):
        def _call_api(self, *more: Any, **asked: Any) -> Any:
            sent.append(asked)
            return super()._call_api(*more, **asked)

    client = Told(
        engine.warehouse.location,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": bigquery_url},
        location="EU",
    )
    bucket = engine.lake.root.name
    warehouse = BigQueryWarehouse(
        Jobs(client, 20.0, key=KEY), lambda path: f"gs://{bucket}/{path}", "EU", KEY
    )
    return Seen(warehouse, client, engine.lake, sent)


def test_what_is_made_has_labels_a_region_and_a_key(seen: Seen) -> None:
    seen.lived()
    datasets = {one["datasetReference"]["datasetId"]: one for one in seen.bodies("/datasets")}
    assert {name: one["labels"] for name, one in datasets.items()} == {
        "malacate": {"app": "malacate"},
        "malacate_staging": {"app": "malacate"},
        "raw_lab": ABOUT,
    }
    assert {one["location"] for one in datasets.values()} == {"EU"}
    encrypted = [one["defaultEncryptionConfiguration"] for one in datasets.values()]
    assert encrypted == [ENCRYPTED] * 3
    tables = {one["tableReference"]["tableId"]: one for one in seen.bodies("/tables")}
    assert tables["rock"]["labels"] == ABOUT
    assert [one["encryptionConfiguration"] for one in tables.values()] == [ENCRYPTED] * len(tables)


def test_jobs_have_labels_and_run_where_the_data_is(seen: Seen) -> None:
    seen.lived()
    about_the_table = [job for job in seen.jobs if "load" in job or _is_script(job)]
    assert [job["labels"] for job in about_the_table] == [ABOUT] * len(about_the_table)
    assert {job["labels"]["app"] for job in seen.jobs} == {"malacate"}
    assert {one["jobReference"]["location"] for one in seen.bodies("/jobs")} == {"EU"}


def test_a_key_is_on_each_load_and_on_each_result_but_where_bigquery_refuses_one(
    seen: Seen,
) -> None:
    seen.lived()
    seen.warehouse.read(NAME)
    loads = [job["load"] for job in seen.jobs if "load" in job]
    assert [one["destinationEncryptionConfiguration"] for one in loads] == [ENCRYPTED] * len(loads)
    for query in (job["query"] for job in seen.jobs if "query" in job):
        is_read = query["query"].lower().startswith(("select", "with"))
        assert ("destinationEncryptionConfiguration" in query) == is_read, query["query"][:80]


def test_only_what_is_staged_is_ever_overwritten(seen: Seen) -> None:
    """So what somebody set on a table or its columns (policy tags say) stays: the schema of a
    target is changed by ALTER alone, and by that of one column.
    """
    seen.lived()
    for job in seen.jobs:
        assert "copy" not in job
        assert "destinationTable" not in job.get("query", {})
        if "load" in job:
            assert job["load"]["destinationTable"]["datasetId"] == "malacate_staging"
    changed = [one for one in seen.sent if one["method"] in ("PATCH", "PUT", "DELETE")]
    assert changed == []
    statements = [job["query"]["query"].lower() for job in seen.jobs if "query" in job]
    ddl = [one for one in statements if one.startswith(("alter", "create", "drop"))]
    assert [one.split("`rock` ")[1].split("`")[0] for one in ddl] == [
        "alter column ", "add column if not exists ",
    ]  # fmt: skip
    scripts = [one for one in statements if one.startswith("begin")]
    assert not [one for one in scripts if "create or replace table" in one or "truncate" in one]


def test_descriptions_and_a_label_of_somebody_else_survive(seen: Seen) -> None:
    seen.warehouse.ensure([PARTED])
    with own(seen) as standing:
        standing.labels = {**standing.labels, "owner": "geology"}
        seen.client.update_table(standing, ["labels"])
    seen.lived()
    standing = seen.client.get_table("raw_lab.rock")
    assert standing.description == "samples"
    assert standing.labels == {**ABOUT, "owner": "geology"}
    said = {field.name: field.description for field in standing.schema}
    assert said["name"] == PARTED.by_name["name"].description
    added = [job["query"]["query"] for job in seen.jobs if "query" in job]
    (more,) = [one for one in added if "add column" in one]
    assert more.endswith("options (description='came \\'later\\'')")


@contextmanager
def own(seen: Seen) -> Iterator[bigquery.Table]:
    """The table, for changes of the test, which are not kept in ``sent``."""
    before = len(seen.sent)
    yield seen.client.get_table("raw_lab.rock")
    del seen.sent[before:]


def _is_script(job: dict[str, Any]) -> bool:
    return str(job.get("query", {}).get("query", "")).startswith("begin transaction")
