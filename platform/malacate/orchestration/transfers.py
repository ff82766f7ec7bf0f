"""A transfer as a Dagster asset, with its doorbell and the check that every copy stands."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from malacate.orchestration.resources import Platform
from malacate.orchestration.sensors import rung
from malacate.transfer import Sent, Transfer

CHECK = "every_copy_stands"
SHOWN = 50


def transferred(name: str, transfer: Transfer, seconds: int) -> dg.Definitions:
    """The asset ``transfer/<name>`` and a sensor that looks every ``seconds``."""
    key = dg.AssetKey(["transfer", name])

    @dg.asset(
        key=key,
        group_name="transfers",
        kinds={"file"},
        description="Objects copied from one place to another, proven by reading each copy back.",
        check_specs=[
            dg.AssetCheckSpec(CHECK, asset=key, description="each copy stands as it was read back")
        ],
    )
    def copies(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        ingest = platform.ingest()
        ledger = ingest.ledger
        while not transfer.look(ledger, time.time()):
            pass
        log = context.log
        sent = transfer.run(ledger, ingest.lake, lambda n, size: log.debug(f"{n}: {size} bytes"))
        yield dg.MaterializeResult(
            metadata=_told(sent), check_results=[_check(key, transfer, sent)]
        )
        ledger.mark_reported([str(batch["batch_id"]) for batch in sent.batches])

    @dg.sensor(
        name=f"transfer__{name}__drops",
        target=dg.AssetSelection.assets(key),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks for objects that transfer {name} has not copied yet.",
    )
    def look(platform: Platform) -> dg.SensorResult | dg.SkipReason:
        ledger = platform.target.open_ledger()
        transfer.look(ledger, time.time())
        ring = rung(ledger, *transfer.batches)
        if ring.run_key is None:
            return dg.SkipReason(ring.why)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=ring.run_key)])

    return dg.Definitions(assets=[copies], sensors=[look])


def _told(sent: Sent) -> dict[str, Any]:
    shown = ("object", "size", "sha256", "landing")
    records = [
        dg.TableRecord({name: batch[name] for name in shown}) for batch in sent.batches[-SHOWN:]
    ]
    return {
        "objects": len(sent.batches),
        "bytes": sent.bytes,
        **({"manifest": sent.manifest} if sent.manifest else {}),
        **({"latest_objects": dg.MetadataValue.table(records)} if records else {}),
    }


def _check(key: dg.AssetKey, transfer: Transfer, sent: Sent) -> dg.AssetCheckResult:
    missing = []
    for batch in sent.batches:
        try:
            stands = transfer.target.head(batch["object"]).version == batch["landing"]
        except FileNotFoundError:
            stands = False
        missing += [] if stands else [batch["object"]]
    told: dict[str, Any] = {
        "expected": len(sent.batches),
        "actual": len(sent.batches) - len(missing),
    }
    if missing:
        told |= {"missing": missing[:SHOWN],
                 "what_to_do": "Somebody else changes the target: find out who."}  # fmt: skip
    return dg.AssetCheckResult(
        passed=not missing, asset_key=key, check_name=CHECK, metadata=told,
    )  # fmt: skip
