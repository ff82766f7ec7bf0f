"""An hour of life in the production app: what is added, corrected, moved and taken away."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
from psycopg import sql

from acme.simulator import columns
from acme.simulator.cycles import Spans, haul_cycles
from acme.simulator.history import (
    OPERATING,
    QC_SHARES,
    QC_TYPES,
    ROUTES,
    STOPS,
    blast_columns,
    crusher_hours,
    movement_columns,
    plans,
    shifts,
)
from acme.simulator.journal import Journal, Row
from acme.simulator.tables import TABLES
from acme.simulator.world import DAY, HOUR, SHIFT, World, instant

_OPEN = sql.SQL("SELECT * FROM app.status_event WHERE to_at IS NULL ORDER BY equipment_id")
_BEFORE = sql.SQL(
    "SELECT * FROM app.status_event WHERE equipment_id = %s AND from_at < %s "
    "ORDER BY from_at DESC LIMIT 1"
)
_NEXT = {
    "haul_cycle": sql.SQL("SELECT max(cycle_id) + 1 AS id FROM app.haul_cycle"),
    "assay": sql.SQL("SELECT max(sample_id) + 1 AS id FROM app.assay"),
    "ore_movement": sql.SQL("SELECT max(movement_id) + 1 AS id FROM app.ore_movement"),
}
# Not the newest, so that the largest number is never free to be given twice.
_RECENT = sql.SQL("SELECT * FROM app.haul_cycle ORDER BY cycle_id DESC LIMIT 400 OFFSET 60")
_AWAITED = sql.SQL(
    "SELECT sample_id FROM app.assay WHERE received_at IS NULL ORDER BY sample_id LIMIT 3"
)


def live(world: World, tick: int, journal: Journal) -> None:
    """Make the changes of hour ``tick``; their order is the order of the app's log."""
    begin = world.end_s + (tick - 1) * HOUR
    _calendar(world, tick, journal, begin)
    recent = journal.query(_RECENT)
    working = _change_status(world, tick, journal, begin)
    cycles = _dispatch(world, tick, journal, begin, working)
    if tick % 4 == 0:
        _move_a_boundary(journal)
    _correct_cycles(world, tick, journal, recent)
    _receive_assays(world, tick, journal, begin)
    fed = crusher_hours(world.rng("tick", tick, "crusher"), cycles, begin, begin + HOUR)
    journal.insert_all(fed, "crusher_hour")


def _calendar(world: World, tick: int, journal: Journal, begin: int) -> None:
    """What the hour of the day brings: shifts, plans, blasts, the count of a shift's tonnes."""
    rng, end, day = world.rng("tick", tick, "calendar"), begin + HOUR, begin // DAY
    if begin % SHIFT == 0:
        journal.insert_all(shifts(begin, begin + SHIFT), "shift")
    if begin % DAY == 0:
        journal.insert_all(plans(world, day + 2, day + 3), "plan")
    if begin % DAY == 18 * HOUR:
        pit = np.flatnonzero(rng.random(2) < 0.6)
        rows = blast_columns(rng, np.full(len(pit), day), pit)
        journal.insert_all(columns.table(TABLES["blast"].schema, rows), "blast")
    if end % SHIFT == 0:
        number = np.full(len(ROUTES), begin // SHIFT)
        rows = movement_columns(world, rng, number, np.arange(len(ROUTES)))
        rows["movement_id"] = _next(journal, "ore_movement") + np.arange(len(ROUTES))
        journal.insert_all(columns.table(TABLES["ore_movement"].schema, rows), "ore_movement")
    if tick % 12 == 6:
        key = {"plan_on": instant((day + 1) * DAY).date(), "pit": "north", "material": "ore"}
        tonnes_t = round(float(world.trucks.rated_t.sum()) * rng.uniform(6.4, 7.4), 1)
        journal.update("plan", key, {"tonnes_t": tonnes_t})


def _change_status(world: World, tick: int, journal: Journal, begin: int) -> list[str]:
    """Close a third of the open events and open the next; return who operates all hour long."""
    rng, working = world.rng("tick", tick, "status"), []
    for event in journal.query(_OPEN):
        machine = event["equipment_id"]
        changes, second = rng.random() < 1 / 3, int(rng.integers(60, HOUR - 60))
        stop = list(STOPS)[int(rng.integers(len(STOPS)))]
        reason = STOPS[stop][int(rng.integers(len(STOPS[stop])))]
        if not changes:
            working += [machine] if event["tum_code"] == OPERATING else []
            continue
        stops = event["tum_code"] == OPERATING
        at = instant(begin + second)
        journal.update("status_event", _event_key(event), {"to_at": at})
        code, why = (stop, reason) if stops else (OPERATING, "production")
        opened = {"equipment_id": machine, "from_at": at, "tum_code": code, "reason": why}
        journal.insert("status_event", opened)
    return working


def _dispatch(
    world: World, tick: int, journal: Journal, begin: int, working: list[str]
) -> pa.Table:
    truck = np.array([i for i, name in enumerate(world.trucks.ids) if name in working], np.int64)
    hour = np.full(len(truck), begin)
    rng, first = world.rng("tick", tick, "dispatch"), _next(journal, "haul_cycle")
    cycles = haul_cycles(world, rng, Spans(truck, hour, hour + HOUR), first)
    for row in cycles.to_pylist():
        journal.insert("haul_cycle", row)
    return cycles


def _move_a_boundary(journal: Journal) -> None:
    """A dispatcher learns that work began earlier: the key of an event changes."""
    for event in journal.query(_OPEN):
        before = journal.query(_BEFORE, event["equipment_id"], event["from_at"])
        earlier = event["from_at"] - timedelta(seconds=90)
        # Only work is lengthened: moved the other way, a cycle would run into a stop.
        if before and event["tum_code"] == OPERATING and before[0]["from_at"] < earlier:
            journal.update("status_event", _event_key(before[0]), {"to_at": earlier})
            journal.update("status_event", _event_key(event), {"from_at": earlier})
            return


def _correct_cycles(world: World, tick: int, journal: Journal, recent: list[Row]) -> None:
    rng = world.rng("tick", tick, "corrections")
    chosen = [recent[i] for i in rng.choice(len(recent), 10, replace=False)]
    share = [Decimal(str(round(u, 4))) for u in rng.uniform(0.97, 1.03, 10)]
    payload = [round(row["payload_t"] * u, 2) for row, u in zip(chosen, share, strict=True)]
    keys = [{"cycle_id": row["cycle_id"]} for row in chosen]
    for key, payload_t in list(zip(keys, payload, strict=True))[:5]:
        journal.update("haul_cycle", key, {"payload_t": payload_t})
    journal.delete("haul_cycle", keys[5])
    journal.delete("haul_cycle", keys[6])
    journal.insert("haul_cycle", {**chosen[6], "payload_t": payload[6]})
    if tick % 4 == 2:
        journal.update("haul_cycle", keys[7], {"cycle_id": _next(journal, "haul_cycle")})
    if tick % 3 == 2:
        _tell_late(journal, chosen[8:], payload[8:])


def _tell_late(journal: Journal, cycles: list[Row], payload: list[Decimal]) -> None:
    """Changes that are told an hour late, of rows that change again at once, or go."""
    keys = [{"cycle_id": cycle["cycle_id"]} for cycle in cycles]
    with journal.late():
        for key, payload_t in zip(keys, payload, strict=True):
            journal.update("haul_cycle", key, {"payload_t": payload_t})
    journal.update("haul_cycle", keys[0], {"payload_t": cycles[0]["payload_t"]})
    journal.delete("haul_cycle", keys[1])


def _receive_assays(world: World, tick: int, journal: Journal, begin: int) -> None:
    rng = world.rng("tick", tick, "assays")
    for sample in journal.query(_AWAITED):
        grade = min(5.0, float(rng.gamma(2.2, 0.38)))
        result = {"cu_pct": round(grade, 4), "au_g_t": round(grade * rng.uniform(0.1, 0.5), 4)}
        result["moisture_pct"] = round(float(rng.uniform(1, 9)), 2)
        journal.update("assay", sample, {**result, "received_at": journal.now})
    for number in range(4):
        row = {
            "sample_id": _next(journal, "assay"),
            "block_id": world.blocks[int(rng.integers(len(world.blocks)))],
            "lab": ("ALS", "SGS")[number % 2],
            "qc_type": QC_TYPES[int(rng.choice(4, p=QC_SHARES))],
            "method": ("AAS", "ICP-OES")[int(rng.integers(2))],
            "sampled_at": instant(begin + int(rng.integers(HOUR))),
        }
        journal.insert("assay", row)


def _event_key(event: Row) -> Row:
    return {"equipment_id": event["equipment_id"], "from_at": event["from_at"]}


def _next(journal: Journal, table: str) -> int:
    return int(journal.query(_NEXT[table])[0]["id"])
