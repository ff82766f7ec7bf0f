"""The stand-in for BigQuery reads from the bucket what was put there by Google's client."""

import uuid
from io import BytesIO

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from platform_tests.emulators.conftest import PROJECT, Warehouse

SCHEMA = [bigquery.SchemaField("a", "INT64"), bigquery.SchemaField("b", "STRING")]
ROWS = [(1, "x"), (2, None)]


@pytest.fixture
def bucket(warehouse: Warehouse) -> storage.Bucket:
    client = storage.Client(
        PROJECT, AnonymousCredentials(), client_options={"api_endpoint": warehouse.storage_url}
    )
    return client.create_bucket(f"b{uuid.uuid4().hex}")


@pytest.fixture
def table(warehouse: Warehouse) -> bigquery.TableReference:
    dataset = warehouse.client.create_dataset(f"d{uuid.uuid4().hex}")
    return dataset.table("t")


def parquet() -> bytes:
    out = BytesIO()
    pq.write_table(pa.table({"a": [a for a, _ in ROWS], "b": [b for _, b in ROWS]}), out)
    return out.getvalue()


def avro() -> bytes:
    out = BytesIO()
    fields = [{"name": "a", "type": "long"}, {"name": "b", "type": ["null", "string"]}]
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
    fastavro.writer(out, schema, [{"a": a, "b": b} for a, b in ROWS])
    return out.getvalue()


@pytest.mark.parametrize(("format", "data"), [("PARQUET", parquet()), ("AVRO", avro())])
def test_what_is_put_into_the_bucket_is_loaded(
    warehouse: Warehouse,
    bucket: storage.Bucket,
    table: bigquery.TableReference,
    format: str,
    data: bytes,
) -> None:
    bucket.blob("final/x y/part.bin").upload_from_string(data, if_generation_match=0)
    config = bigquery.LoadJobConfig(source_format=format, schema=SCHEMA)
    uri = f"gs://{bucket.name}/final/x y/part.bin"
    warehouse.client.load_table_from_uri(uri, table, job_config=config).result()
    found = warehouse.rows(f"select a, b from {table.dataset_id}.t order by a")
    assert found == ROWS


def test_what_is_deleted_from_the_bucket_is_gone_for_the_engine(
    warehouse: Warehouse, bucket: storage.Bucket, table: bigquery.TableReference
) -> None:
    blob = bucket.blob("part.parquet")
    blob.upload_from_string(parquet())
    blob.delete()
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=SCHEMA)
    job = warehouse.client.load_table_from_uri(
        f"gs://{bucket.name}/part.parquet", table, job_config=config
    )
    with pytest.raises(Exception, match=r"part\.parquet"):
        job.result()


def test_a_put_that_is_refused_leaves_the_file_as_it_was(
    warehouse: Warehouse, bucket: storage.Bucket
) -> None:
    bucket.blob("m.json").upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(Exception, match="412"):
        bucket.blob("m.json").upload_from_string(b"second", if_generation_match=0)
    assert (warehouse.bucket_root / bucket.name / "m.json").read_bytes() == b"first"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a//b", "/a", "a/"])
def test_a_name_that_is_no_path_is_refused_where_blobs_are_files(
    bucket: storage.Bucket, name: str
) -> None:
    with pytest.raises(Exception, match="Not the name of a file too"):
        bucket.blob(name).upload_from_string(b"x")


def test_datasets_and_tables_are_told_apart_from_those_that_are_not_there(
    warehouse: Warehouse, table: bigquery.TableReference
) -> None:
    with pytest.raises(NotFound):
        warehouse.client.get_table(table)
    with pytest.raises(Conflict):
        warehouse.client.create_dataset(table.dataset_id)
