"""What a platform does for itself, once a day."""

import dagster as dg

from malacate.lake.sweep import sweep
from malacate.orchestration.resources import Platform
from malacate.recover import Recovery


@dg.op(description="Removes leavings of dead workers and snapshots replaced more than a week ago.")
def sweep_lake(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Sweep the lake and tell how much went."""
    ingest = platform.ingest()
    recovery = Recovery(ingest.ledger, ingest.lake, ingest.warehouse)
    swept = sweep(ingest.lake, proven=recovery.proven)
    context.log.info(f"{swept.files} files, {swept.bytes:,} bytes removed")
    for name in swept.unknown:
        context.log.warning(f"input/{name}: an old copy of a drop that no marker speaks for")
    context.add_output_metadata({"files": swept.files, "bytes": swept.bytes})


@dg.job(description="Once a day: what nobody needs any more leaves the lake.")
def upkeep() -> None:
    """The daily round."""
    sweep_lake()


daily_upkeep = dg.ScheduleDefinition(
    job=upkeep,
    cron_schedule="10 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
"""At ten past three, UTC."""
