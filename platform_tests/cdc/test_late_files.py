"""(8) Files that come late into old folders, while backfills run, are found and change nothing."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from platform_tests.cdc import files
from platform_tests.cdc.folding import Row, folding, lines, of_file, shown, together
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import TABLE, Life, Values, expected, side_by_side
from platform_tests.sources.stores import MemoryStore

from malacate.sources.discovery import Discovery, Rising, Windows
from malacate.sources.selection import Selection

BEGAN = files.AT.timestamp()
HOUR = 3600.0
PLANS = (None, Windows("lab_truck/%Y/%m/%d/%H/%M/", overlap_seconds=600), Rising(300))


def minute(number: int) -> datetime:
    return files.AT + timedelta(minutes=number)


def folder(number: int) -> str:
    return f"lab_truck/{minute(number):%Y/%m/%d/%H/%M}"


def told(found: Sequence[Life]) -> dict[str, list[Row]]:
    """Events by the folder of their minute; a step a minute."""
    folders: dict[str, list[Row]] = {}
    for one in files.in_datastream(found, "postgres", files.lsn(0xFFFFFF00), by_statement=False):
        number = int(str(one["uuid"]).split("-")[1])
        one["source_timestamp"] = minute(number)
        folders.setdefault(folder(number), []).append(one)
    return folders


def backfill(life: Life, choose: random.Random) -> tuple[str, list[Row]]:
    """Begun at one step, rows are read at a later one and stamped later still: changes
    in between are in the log as well.
    """
    began = choose.randrange(len(life.steps) + 1)
    read = choose.randrange(began, len(life.steps) + 1)
    stamped = choose.randrange(read, len(life.steps) + 1)
    rows = after(life, read)
    events = []
    for number, ((one, key), values) in enumerate(rows.items()):
        row = dict(zip(("life", "id", "value", "big"), (one, key, *values), strict=True))
        events.append({
            "uuid": f"b{life.number}-{number}", "read_timestamp": minute(read), "payload": row,
            "source_timestamp": minute(stamped), "read_method": "postgresql-backfill",
            "source_metadata": {"schema": "lab", "table": "truck", "change_type": "INSERT"},
        })  # fmt: skip

    return folder(began), events


def after(life: Life, steps: int) -> dict[tuple[int, int], Values]:
    rows: dict[tuple[int, int], Values] = {}
    for step in life.steps[:steps]:
        rows.pop(step.key or (0, 0), None)
        if step.op != "D":
            rows[step.to or step.key or (0, 0)] = step.new
    return rows


def any_delay(drawn: Lives, seed: int) -> None:
    choose = random.Random(seed)
    found = side_by_side(drawn)
    uploads: list[tuple[float, str, bytes]] = []
    parts = [*told(found).items(), *(backfill(life, choose) for life in found[::3])]
    for number, (name, events) in enumerate(parts):
        choose.shuffle(events)
        cut = choose.randrange(len(events) + 1)
        for half, some in enumerate((events[:cut], events[cut:])):
            late = choose.choice([30.0, 300.0, 5 * HOUR, 30 * HOUR])
            data = lines(some)
            if some:
                uploads.append((BEGAN + late, f"{name}/f{number}_{half}.jsonl", data))
    batches = taken_in(sorted(uploads), choose)
    assert shown(folding(TABLE).after(batches)) == expected(found)


def taken_in(uploads: Sequence[tuple[float, str, bytes]], choose: random.Random) -> list[pa.Table]:
    """What the ticks of three days find, as few batches: those of before noon, and the rest."""
    store = MemoryStore(now=BEGAN)
    drops = Discovery(Selection(store, ("lab_truck/*",)), "lab", "truck", choose.choice(PLANS))
    cursor, seen, came = None, set[str](), list[Any]()
    waiting = list(uploads)
    for hour in (0.5, 1, 5.5, 29, 31, 55, 80):
        store.now = BEGAN + hour * HOUR
        while waiting and waiting[0][0] <= store.now:
            at, name, data = waiting.pop(0)
            store.put(name, data, at=at)
        tick = drops.tick(cursor, store.now)
        cursor = tick.cursor
        fresh = [one for one in tick.found if one.batch_id not in seen]
        seen |= {one.batch_id for one in fresh}
        chunks = [
            c for one in fresh for c in of_file(TABLE, one.object, store.objects[one.object][1])
        ]
        came += [together(chunks)] if chunks else []
    half = choose.randrange(len(came) + 1)
    return [_one(some) for some in (came[:half], came[half:]) if some]


def _one(some: Sequence[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(some)
    at = whole.schema.get_field_index("_file_row")
    places = pa.array(range(len(whole)), pa.int64())
    return whole.set_column(at, whole.schema.field(at), places)


DRAWN = {"drawn": lives, "seed": seeds}
test_files_late_in_old_folders_are_found_and_fold_to_the_source = tried(
    any_delay, SIDE_BY_SIDE, **DRAWN
)
