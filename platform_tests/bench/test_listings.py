"""The bucket that `make bench` lists answers as S3 does."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from bench.listings import AN_HOUR, bucket
from dagster_aws.s3.sensor import get_objects
from platform_tests.sources.stores import LazyStore, name_of

from malacate.stores.objects import ObjectStore
from malacate.stores.s3 import S3Bucket

COUNT = 2_345
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with bucket() as endpoint:
        yield boto3.client("s3", endpoint_url=endpoint, **KEYS)


@pytest.mark.parametrize(
    ("prefix", "after"),
    [
        ("", ""),
        ("rock/2026/01/01/05/", ""),
        ("rock/", name_of(2_300, AN_HOUR)),
        ("rock/2026/01/01/05/", name_of(550, AN_HOUR)),
        ("rock/", "rock/2026/01/01/05/000050z"),
        ("roads/", ""),
        ("", "z"),
    ],
)
def test_it_lists_what_is_there(client: Any, prefix: str, after: str) -> None:
    listed = ObjectStore(S3Bucket(client, f"bucket-{COUNT}")).list(prefix, after)
    due = LazyStore(COUNT, AN_HOUR).list(prefix, after)
    assert [entry.name for entry in listed] == [entry.name for entry in due]


def test_dagster_understands_it_too(client: Any) -> None:
    new = get_objects(f"bucket-{COUNT}", since_key=name_of(2_339, AN_HOUR), client=client)
    assert [facts["Key"] for facts in new] == [name_of(n, AN_HOUR) for n in range(2_340, COUNT)]
    assert new[-1]["LastModified"] == datetime(2026, 1, 1, 23, 26, 24, tzinfo=UTC)
