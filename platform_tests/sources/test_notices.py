"""Events of buckets: read in every shape, believed in none, noted once."""

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from platform_tests.sources.stores import MemoryStore

from malacate.errors import ConfigError, SourceUnreachable
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.orchestration.notices import poll, poll_pubsub, poll_sqs, sqs_client
from malacate.sources.discovery import Discovery
from malacate.sources.events import Heard, Notice, read
from malacate.sources.notices import Handled, Listener, handle
from malacate.sources.selection import Selection

Json = dict[str, Any]


def s3_record(key: str, bucket: str = "drops", event: str = "ObjectCreated:Put") -> Json:
    return {
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
        "eventTime": "2026-11-21T08:00:00.000Z", "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDA"},
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "drops",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 3, "eTag": "d41d", "versionId": "v7", "sequencer": "0A"},
        },
    }  # fmt: skip


def s3_event(*records: Json) -> Json:
    return {"Records": list(records)}


def by_sns(message: Json) -> Json:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:1:drops",
            "MessageId": "m", "Message": json.dumps(message)}  # fmt: skip


def event_bridge(key: str, kind: str = "Object Created") -> Json:
    return {
        "version": "0", "id": "1", "detail-type": kind, "source": "aws.s3",
        "detail": {"bucket": {"name": "drops"},
                   "object": {"key": key, "size": 3, "version-id": "v7", "sequencer": "0A"}},
    }  # fmt: skip


def gcs_attributes(name: str, event: str = "OBJECT_FINALIZE") -> Json:
    return {"eventType": event, "bucketId": "drops", "objectId": name, "objectGeneration": "17",
            "payloadFormat": "JSON_API_V1", "notificationConfig": "drops/1"}  # fmt: skip


def gcs_push(name: str) -> Json:
    data = base64.b64encode(json.dumps({"kind": "storage#object", "name": name}).encode())
    message = {"attributes": gcs_attributes(name), "data": data.decode(), "messageId": "1"}
    return {"message": message, "subscription": "projects/p/subscriptions/drops"}


def gcs_object(name: str) -> Json:
    return {"kind": "storage#object", "bucket": "drops", "name": name, "generation": "17"}


def azure(name: str, kind: str = "BlobCreated", **data: str) -> Json:
    where = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/mine"
    subject = f"/blobServices/default/containers/drops/blobs/{name}"
    facts = {"api": "PutBlob", "eTag": "0x8D", "contentLength": 3, **data}
    return {"topic": where, "subject": subject, "eventType": f"Microsoft.Storage.{kind}",
            "id": "1", "data": facts, "dataVersion": "", "metadataVersion": "1"}  # fmt: skip


def azure_cloud_event(name: str) -> Json:
    event = azure(name)
    return {"specversion": "1.0", "type": event["eventType"], "source": event["topic"],
            "subject": event["subject"], "id": "1", "data": event["data"]}  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "bucket", "version"),
    [
        (s3_event(s3_record("rock/a.avro")), "drops", "v7"),
        (by_sns(s3_event(s3_record("rock/a.avro"))), "drops", "v7"),
        ({"Records": [{"eventSource": "aws:sqs", "messageId": "1",
                       "body": json.dumps(s3_event(s3_record("rock/a.avro")))}]}, "drops", "v7"),
        ({"Records": [{"eventSource": "aws:sqs",
                       "body": json.dumps(by_sns(s3_event(s3_record("rock/a.avro"))))}]},
         "drops", "v7"),
        ({"Records": [{"EventSource": "aws:sns",
                       "Sns": by_sns(s3_event(s3_record("rock/a.avro")))}]}, "drops", "v7"),
        (event_bridge("rock/a.avro"), "drops", "v7"),
        ({"attributes": gcs_attributes("rock/a.avro")}, "drops", "17"),
        (gcs_push("rock/a.avro"), "drops", "17"),
        (gcs_object("rock/a.avro"), "drops", "17"),
        (azure("rock/a.avro"), "mine/drops", "0x8D"),
        (azure_cloud_event("rock/a.avro"), "mine/drops", "0x8D"),
    ],
)  # fmt: skip
def test_every_shape_tells_the_same(payload: Json, bucket: str, version: str) -> None:
    due = Heard([Notice(bucket, "rock/a.avro", version, "written")])
    assert read(payload) == due
    assert read(json.dumps(payload).encode()) == due


def test_event_grid_sends_many_at_once() -> None:
    heard = read(json.dumps([azure("a.avro"), azure("b.avro", "BlobDeleted")]).encode())
    assert [(n.name, n.kind) for n in heard.notices] == [
        ("a.avro", "written"),
        ("b.avro", "removed"),
    ]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("lab%2F00.avro", "lab/00.avro"),
        ("red+flower.avro", "red flower.avro"),
        ("a%2Bb.avro", "a+b.avro"),
        ("50%25.avro", "50%25.avro"),
        ("%252F.avro", "%252F.avro"),
        ("ni%C3%B1o.avro", "niño.avro"),
        ("niño.avro", "niño.avro"),
        ("a%0Ab.avro", "a%0Ab.avro"),
        ("%FF.avro", "%FF.avro"),
    ],
)
def test_keys_of_s3_are_decoded_once(sent: str, name: str) -> None:
    assert read(s3_event(s3_record(sent))).notices[0].name == name


def test_keys_of_the_others_come_as_they_are() -> None:
    for event in (event_bridge("a+b c%2F.avro"), {"attributes": gcs_attributes("a+b c%2F.avro")},
                  azure("a+b c%2F.avro")):  # fmt: skip
        assert read(event).notices[0].name == "a+b c%252F.avro"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (s3_event(s3_record("a", event="ObjectRemoved:DeleteMarkerCreated")), "removed"),
        (s3_event(s3_record("a", event="ObjectCreated:CompleteMultipartUpload")), "written"),
        (s3_event(s3_record("a", event="ObjectTagging:Put")), "other"),
        (event_bridge("a", "Object Deleted"), "removed"),
        ({"attributes": gcs_attributes("a", "OBJECT_ARCHIVE")}, "removed"),
        ({"attributes": gcs_attributes("a", "OBJECT_METADATA_UPDATE")}, "other"),
        (azure("a", "BlobTierChanged"), "other"),
    ],
)
def test_kinds_of_events_are_told_apart(event: Json, kind: str) -> None:
    assert read(event).notices[0].kind == kind


def test_a_file_that_azure_only_began_is_not_told_yet() -> None:
    assert read(azure("a.avro", api="CreateFile")) == Heard()
    assert len(read(azure("a.avro", api="FlushWithClose")).notices) == 1


def test_the_test_event_of_s3_says_nothing() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "drops", "RequestId": "1"}
    assert read(event) == Heard()
    assert read(by_sns(event)) == Heard()


def test_a_validation_of_event_grid_is_handed_back() -> None:
    event = {"id": "1", "topic": "t", "subject": "", "data": {"validationCode": "512d"},
             "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"}  # fmt: skip
    assert read(json.dumps([event]).encode()) == Heard(validation="512d")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no_json"),
        (b"\xff\x00\x80", "no_json"),
        (b"[" * 200_000, "no_json"),
        (b"1" * 6_000, "no_json"),
        (b"x" * ((10 << 20) + 1), "too_large"),
        (b"null", "unknown_shape"),
        (b'"text"', "unknown_shape"),
        (b"{}", "unknown_shape"),
        ({"Records": [7]}, "unknown_shape"),
        ({"data": "no base64!"}, "unknown_shape"),
        (s3_event({"s3": 5}), "missing_field"),
        (s3_event({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "drops"}}}),
         "missing_field"),
        (s3_event(s3_record("a", bucket="")), "missing_field"),
        (s3_event(s3_record("\ud800")), "bad_name"),
        (s3_event(s3_record("a%00b")), "bad_name"),
        (s3_event(s3_record("a" * 1025)), "bad_name"),
        ({"attributes": {**gcs_attributes("a"), "objectGeneration": ""}}, "missing_field"),
        ({"attributes": {"bucketId": "drops", "objectId": "a"}}, "missing_field"),
        ({**gcs_object("a"), "generation": None}, "missing_field"),
        ({**azure("a"), "subject": "/blobServices/default/containers/drops"}, "missing_field"),
        ({**azure("a"), "topic": None}, "missing_field"),
        ({**azure("a"), "data": "forged"}, "missing_field"),
        ({"Type": "SubscriptionConfirmation", "SubscribeURL": "https://x"},
         "unconfirmed_subscription"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_dead_letter(payload: bytes | Json, reason: str) -> None:
    heard = read(payload)
    assert heard.notices == []
    assert [letter.reason for letter in heard.dead] == [reason]
    assert heard.dead[0].payload.isascii()
    assert len(heard.dead[0].payload) <= 500


def test_one_dead_record_does_not_take_the_others_down() -> None:
    heard = read(s3_event(s3_record("a"), {"s3": None}, s3_record("b")))
    assert [notice.name for notice in heard.notices] == ["a", "b"]
    assert len(heard.dead) == 1


def test_envelopes_in_envelopes_end_somewhere() -> None:
    event = s3_event(s3_record("a"))
    for _ in range(20):
        event = {"Message": json.dumps(event)} if len(json.dumps(event)) < 9_000 else event
    event = {"Records": [{"Records": [{"Records": [{"Records": [{"Records": [event]}]}]}]}]}
    assert [letter.reason for letter in read(event).dead] == ["unknown_shape"]


KNOWN = ("Records", "s3", "bucket", "object", "key", "name", "eventName", "body", "Message", "Sns",
         "message", "attributes", "bucketId", "objectId", "eventType", "objectGeneration", "data",
         "kind", "generation", "topic", "subject", "source", "type", "detail", "detail-type",
         "Event", "Type", "versionId", "validationCode")  # fmt: skip
VALUES = ("storage#object", "aws.s3", "Microsoft.Storage.BlobCreated", "ObjectCreated:Put",
          "Microsoft.EventGrid.SubscriptionValidationEvent", "OBJECT_FINALIZE", "drops", "%",
          "\ud800", "/storageAccounts/", "e30=", "[]")  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KNOWN), inner),
)


@given(payload=st.binary() | ANYTHING.map(lambda x: json.dumps(x).encode()) | ANYTHING)
@settings(max_examples=600)
def test_no_payload_whatever_is_an_error(payload: Any) -> None:
    heard = read(payload)
    for notice in heard.notices:
        assert notice.name.encode()
        assert isinstance(notice.bucket, str)


@pytest.fixture
def ledger(tmp_path: Any) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("s3://drops/lab")


def listener(store: MemoryStore, **facts: Any) -> Listener:
    chosen = Selection(store, ("rock/*.avro",), **facts)
    return Listener("drops", "lab/", Discovery(chosen, "lab", "rock"), supersedes=True)


def hear(store: MemoryStore, ledger: Ledger, *keys: str, **facts: Any) -> Handled:
    payload = s3_event(*(s3_record(key) for key in keys))
    return handle(payload, [listener(store, **facts)], ledger)


def test_what_stands_is_noted_as_a_listing_would_note_it(
    store: MemoryStore, ledger: Ledger
) -> None:
    entry = store.put("rock/a.avro", b"123")
    handled = hear(store, ledger, "lab/rock/a.avro")
    assert handled.new == 1
    assert handled.found == [Discovery(Selection(store), "lab", "rock").found(entry)]
    assert handled.found[0].version == entry.version, "the store is believed, not the event"
    assert ledger.note(handled.found) == 0


def test_ten_thousand_events_of_one_object_are_one_row(store: MemoryStore, ledger: Ledger) -> None:
    store.put("rock/a.avro")
    for _ in range(10):
        hear(store, ledger, *["lab/rock/a.avro"] * 1000)
    assert len(ledger.batches()) == 1
    assert store.asked["head"] == 10


def test_an_overwritten_object_is_noted_and_its_old_version_given_up(
    store: MemoryStore, ledger: Ledger
) -> None:
    store.put("rock/a.avro")
    hear(store, ledger, "lab/rock/a.avro")
    store.put("rock/a.avro")
    hear(store, ledger, "lab/rock/a.avro")
    assert [row["state"] for row in ledger.batches()] == ["superseded", "seen"]


def test_an_object_that_is_gone_already_is_told_as_vanished(
    store: MemoryStore, ledger: Ledger
) -> None:
    handled = hear(store, ledger, "lab/rock/a.avro")
    assert handled.vanished == ["rock/a.avro"]
    assert ledger.batches() == []


@pytest.mark.parametrize("key", ["rock/a.avro", "labrock/a.avro", "lab", "lab/", "../lab/rock/a"])
def test_an_event_of_another_prefix_is_a_dead_letter(
    store: MemoryStore, ledger: Ledger, key: str
) -> None:
    store.put("rock/a.avro")
    handled = hear(store, ledger, key)
    assert [letter.reason for letter in handled.dead] == ["another_bucket"]
    assert store.asked["head"] == 0


def test_an_event_of_another_bucket_or_account_is_a_dead_letter(
    store: MemoryStore, ledger: Ledger
) -> None:
    store.put("rock/a.avro")
    for event in (s3_event(s3_record("lab/rock/a.avro", "other")), azure("lab/rock/a.avro")):
        handled = handle(event, [listener(store)], ledger)
        assert [letter.reason for letter in handled.dead] == ["another_bucket"]
    assert ledger.batches() == []


def test_events_of_markers_and_other_files_are_passed_over(
    store: MemoryStore, ledger: Ledger
) -> None:
    handled = hear(store, ledger, "lab/rock/_SUCCESS", "lab/rock/a.tmp", "lab/roads/a.avro")
    assert [passed.reason for passed in handled.passed] == ["marker", "temporary", "pattern"]
    assert store.asked["head"] == 0


def test_a_removed_object_is_not_asked_for(store: MemoryStore, ledger: Ledger) -> None:
    event = s3_event(s3_record("lab/rock/a.avro", event="ObjectRemoved:Delete"))
    assert handle(event, [listener(store)], ledger) == Handled()
    assert store.asked["head"] == 0


def test_a_store_that_does_not_answer_leaves_the_event_to_come_again(
    store: MemoryStore, ledger: Ledger
) -> None:
    store.put("rock/a.avro")
    store.is_down = True
    with pytest.raises(SourceUnreachable):
        hear(store, ledger, "lab/rock/a.avro")
    assert ledger.batches() == []


def test_the_event_of_a_success_brings_its_folder(store: MemoryStore, ledger: Ledger) -> None:
    store.put("rock/1/a.avro")
    store.put("rock/2/b.avro")
    assert hear(store, ledger, "lab/rock/1/a.avro", complete="success").found == []
    store.put("rock/1/_SUCCESS")
    handled = hear(store, ledger, "lab/rock/1/_SUCCESS", complete="success")
    assert [found.object for found in handled.found] == ["rock/1/a.avro"]


def test_the_event_of_a_manifest_brings_what_it_lists(store: MemoryStore, ledger: Ledger) -> None:
    store.put("rock/a.avro", b"123")
    store.put("rock/day.manifest", b'{"files": [{"name": "a.avro", "size": 3}]}')
    assert hear(store, ledger, "lab/rock/a.avro", complete="manifest").found == []
    handled = hear(store, ledger, "lab/rock/day.manifest", complete="manifest")
    assert [found.object for found in handled.found] == ["rock/a.avro"]


def test_one_event_may_be_of_several_tables(store: MemoryStore, ledger: Ledger) -> None:
    store.put("rock/a.avro")
    other = Listener("drops", "lab/", Discovery(Selection(store), "lab", "all"))
    handled = handle(s3_event(s3_record("lab/rock/a.avro")), [listener(store), other], ledger)
    assert sorted(found.table for found in handled.found) == ["all", "rock"]
    assert handled.new == 2


@given(payload=st.binary() | ANYTHING)
@settings(max_examples=100,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_forged_payloads_leave_no_row(payload: Any, store: MemoryStore, ledger: Ledger) -> None:
    handle(payload, [listener(store)], ledger)
    assert ledger.batches() == []


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def queue(aws: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=aws)
    sqs = sqs_client("us-east-1", aws)
    s3.create_bucket(Bucket="drops")
    name = f"notices-{uuid.uuid4().hex}"
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="drops", NotificationConfiguration=told)

    def put(key: str) -> None:
        s3.put_object(Bucket="drops", Key=key, Body=b"123")

    def waiting() -> int:
        facts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(facts["ApproximateNumberOfMessages"])

    return SimpleNamespace(client=sqs, url=url, put=put, waiting=waiting)


def test_real_notices_of_s3_are_noted_and_then_deleted(
    queue: SimpleNamespace, store: MemoryStore, ledger: Ledger
) -> None:
    for name in ("rock/00.avro", "rock/a b+c.avro", "rock/niño.avro"):
        store.put(name)
        queue.put(f"lab/{name}")
    queue.client.send_message(QueueUrl=queue.url, MessageBody="garbage")
    polled = poll_sqs(queue.client, queue.url, [listener(store)], ledger)
    noted = {row["object"] for row in ledger.batches()}
    assert noted == {"rock/00.avro", "rock/a b+c.avro", "rock/niño.avro"}
    assert polled.messages == 5, "the first one is s3:TestEvent"
    assert [line.split(":")[0] for line in polled.told()] == ["dead letter, no_json"]
    assert queue.waiting() == 0


def test_a_poll_takes_no_more_than_its_limit(
    queue: SimpleNamespace, store: MemoryStore, ledger: Ledger
) -> None:
    for number in range(25):
        store.put(f"rock/{number}.avro")
        queue.put(f"lab/rock/{number}.avro")
    assert poll_sqs(queue.client, queue.url, [listener(store)], ledger, limit=12).messages == 12
    assert queue.waiting() == 14
    poll_sqs(queue.client, queue.url, [listener(store)], ledger)
    assert len(ledger.batches()) == 25


def test_messages_stay_until_the_ledger_has_them(
    queue: SimpleNamespace, store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("rock/a.avro")
    queue.put("lab/rock/a.avro")
    store.is_down = True
    polled = poll_sqs(queue.client, queue.url, [listener(store)], ledger)
    assert [type(failure) for failure in polled.failures] == [SourceUnreachable]
    assert queue.waiting() == 1
    store.is_down = False
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", _full)
        with pytest.raises(OSError, match="disk full"):
            poll_sqs(queue.client, queue.url, [listener(store)], ledger)
    assert queue.waiting() == 1
    poll_sqs(queue.client, queue.url, [listener(store)], ledger)
    assert (len(ledger.batches()), queue.waiting()) == (1, 0)


def _full(*_: object) -> int:
    raise OSError("disk full")


def test_a_queue_that_is_not_there_is_an_error(
    queue: SimpleNamespace, store: MemoryStore, ledger: Ledger
) -> None:
    with pytest.raises(SourceUnreachable):
        poll_sqs(queue.client, f"{queue.url}-gone", [listener(store)], ledger)


class PubSubStub:
    """What the client of Pub/Sub does, without its server: pull, acknowledge."""

    def __init__(self, *messages: SimpleNamespace) -> None:
        self.messages = {f"ack{i}": message for i, message in enumerate(messages)}

    def pull(self, request: Json, timeout: float) -> SimpleNamespace:
        from google.api_core.exceptions import DeadlineExceeded

        some = list(self.messages.items())[: request["max_messages"]]
        if not some:
            raise DeadlineExceeded("nothing came")
        received = [SimpleNamespace(ack_id=ack, message=message) for ack, message in some]
        return SimpleNamespace(received_messages=received)

    def acknowledge(self, request: Json, timeout: float) -> None:
        for ack in request["ack_ids"]:
            del self.messages[ack]


def gcs_message(name: str) -> SimpleNamespace:
    return SimpleNamespace(attributes=gcs_attributes(name), data=b"{}")


def test_messages_of_pubsub_are_acknowledged_once_they_are_noted(
    store: MemoryStore, ledger: Ledger
) -> None:
    store.put("rock/a.avro")
    client = PubSubStub(
        gcs_message("lab/rock/a.avro"), SimpleNamespace(attributes={}, data=b"\xff")
    )
    store.is_down = True
    polled = poll_pubsub(client, "projects/p/subscriptions/s", [listener(store)], ledger)
    assert len(polled.failures) == 1
    assert list(client.messages) == ["ack0"], "the dead letter is told and goes"
    store.is_down = False
    poll_pubsub(client, "projects/p/subscriptions/s", [listener(store)], ledger)
    assert len(ledger.batches(BATCH.c.object == "rock/a.avro")) == 1
    assert poll_pubsub(client, "projects/p/subscriptions/s", [], ledger).messages == 0


def test_a_queue_that_does_not_answer_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    polled = poll("sqs:http://127.0.0.1:9/queue", [], Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    assert polled.messages == 0
    (line,) = polled.told()
    assert "does not answer" in line
    with pytest.raises(ConfigError):
        poll("kafka:x", [], Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    assert poll("", [], Ledger(f"sqlite:///{tmp_path}/ledger.db")).told() == []
