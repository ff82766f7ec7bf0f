"""Everything the production app holds before the first tick. Pure: the same world, the same rows.

What a truck does within a cycle is in ``cycles``; what happens later is in ``hour``.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from acme.simulator import columns
from acme.simulator.columns import NEVER
from acme.simulator.cycles import Spans, haul_cycles
from acme.simulator.tables import TABLES
from acme.simulator.world import (
    CREWS,
    CRUSHERS,
    DAY,
    DUMPS,
    HOUR,
    MATERIALS,
    PITS,
    SHIFT,
    Seconds,
    World,
)

OPERATING = "operating"
STOPS = {
    "delay": ("queue at loader", "refuel", "shift change"),
    "standby": ("no operator", "no loader"),
    "planned_down": ("service 250 h", "service 500 h", "tyres"),
    "unplanned_down": ("engine", "hydraulics", "electrical"),
}
_STOP_SHARES = (0.55, 0.2, 0.12, 0.13)
_FIRST_CYCLE, _FIRST_SAMPLE, _FIRST_MOVEMENT = 100_001, 500_001, 1
ROUTES = (("ROM-N", 0), ("ROM-S", 0), ("PIT-N", 1), ("PIT-S", 2))
TYPICAL_CU_PCT = {"ore": 0.85, "low_grade": 0.32, "waste": 0.05}
QC_TYPES, QC_SHARES = ("sample", "blank", "standard", "duplicate"), (0.88, 0.04, 0.04, 0.04)


def history(world: World) -> dict[str, pa.Table]:
    """The rows of every table, by table name, in an order in which references are found."""
    events, working = _status_events(world)
    cycles = haul_cycles(world, world.rng("cycles"), working, _FIRST_CYCLE)
    fed = crusher_hours(world.rng("crusher"), cycles, world.start_s, world.end_s)
    rows = {
        "shift": shifts(world.start_s, world.end_s),
        "equipment": _equipment(world),
        "status_event": events,
        "haul_cycle": cycles,
        "blast": _blasts(world),
        "assay": _assays(world),
        "ore_movement": _ore_movements(world),
        "plan": plans(world, world.start_s // DAY, world.end_s // DAY + 2),
        "crusher_hour": fed,
    }
    return {name: rows[name] for name in TABLES}


def shifts(begin_s: int, end_s: int) -> pa.Table:
    """Shifts of 12 hours without a gap; a shift's number is its place since 1970."""
    number = np.arange(begin_s // SHIFT, -(-end_s // SHIFT))
    rows = {
        "shift_id": number,
        "crew": columns.picked(CREWS, number % 4),
        "start_at": number * SHIFT,
        "end_at": (number + 1) * SHIFT,
        "updated_at": number * SHIFT,
    }
    return columns.table(TABLES["shift"].schema, rows)


def plans(world: World, first_day: int, end_day: int) -> pa.Table:
    """Planned tonnes and grade of each day (days since 1970), pit and material."""
    grid = np.array(
        [(d, p, m) for d in range(first_day, end_day) for p in (0, 1) for m in range(3)]
    )
    day, pit, material = grid.reshape(-1, 3).T
    rng = world.rng("plan", first_day)
    fleet_t = world.trucks.rated_t.sum() * 30
    share = np.array([0.45, 0.2, 0.35])[material] / len(PITS)
    grade = np.array([TYPICAL_CU_PCT["ore"], TYPICAL_CU_PCT["low_grade"], np.nan])[material]
    rows = {
        "plan_on": day,
        "pit": columns.picked(PITS, pit),
        "material": columns.picked(MATERIALS, material),
        "tonnes_t": fleet_t * share * rng.uniform(0.95, 1.1, len(day)),
        "cu_pct": grade * rng.uniform(0.9, 1.1, len(day)),
        "updated_at": np.minimum((day - 2) * DAY, world.end_s),
    }
    return columns.table(TABLES["plan"].schema, rows)


def _equipment(world: World) -> pa.Table:
    trucks, loaders = world.trucks, world.loaders
    ids = [*trucks.ids, *loaders, *CRUSHERS]
    kinds = ["haul_truck"] * len(trucks.ids) + ["shovel"] * len(loaders) + ["crusher"] * 2
    others = len(ids) - len(trucks.ids)
    rows = {
        "equipment_id": ids,
        "class": kinds,
        "model": [*trucks.models, *["4100XPC"] * len(loaders), *["60-89"] * len(CRUSHERS)],
        "sap_equnr": [f"{10_000_000 + i:018d}" for i in range(len(ids))],
        "rated_payload_t": np.concatenate([trucks.rated_t, np.full(others, np.nan)]),
        "commissioned_on": world.start_s // DAY - world.rng("age").integers(90, 4000, len(ids)),
        "is_active": [True] * len(ids),
        "updated_at": np.full(len(ids), world.start_s),
    }
    return columns.table(TABLES["equipment"].schema, rows)


def _status_events(world: World) -> tuple[pa.Table, Spans]:
    """Events that tile the time of each machine, and the spans in which trucks were operating."""
    ids = [*world.trucks.ids, *world.loaders, *CRUSHERS]
    rng, horizon = world.rng("status"), world.end_s - world.start_s
    pairs = horizon // (2 * HOUR) + 8
    lengths = np.empty((len(ids), 2 * pairs), np.int64)
    lengths[:, 0::2] = np.maximum(rng.exponential(3.2 * HOUR, (len(ids), pairs)), 900)
    lengths[:, 1::2] = np.maximum(rng.exponential(0.8 * HOUR, (len(ids), pairs)), 600)
    begin = world.start_s + np.cumsum(lengths, axis=1) - lengths
    machine, nth = np.nonzero(begin < world.end_s)
    begin_s = begin[machine, nth]
    is_last = np.append(machine[1:] != machine[:-1], True)
    end_s = np.where(is_last, world.end_s, np.append(begin_s[1:], 0))
    stop = rng.choice(len(STOPS), len(nth), p=_STOP_SHARES)
    code = np.where(nth % 2 == 0, 0, stop + 1)
    rows = {
        "equipment_id": columns.picked(ids, machine),
        "from_at": begin_s,
        "to_at": np.where(is_last, NEVER, end_s),
        "tum_code": columns.picked((OPERATING, *STOPS), code),
        "reason": _reasons(rng, code),
        "updated_at": np.where(is_last, begin_s, end_s),
    }
    works = (code == 0) & (machine < len(world.trucks.ids))
    spans = Spans(machine[works], begin_s[works], end_s[works])
    return columns.table(TABLES["status_event"].schema, rows), spans


def _reasons(rng: np.random.Generator, code: Seconds) -> pa.Array:
    names, firsts, sizes = ["production"], [0], [1]
    for reasons in STOPS.values():
        firsts.append(len(names))
        sizes.append(len(reasons))
        names.extend(reasons)
    chosen = np.floor(rng.random(len(code)) * np.array(sizes)[code]).astype(np.int64)
    return columns.picked(names, np.array(firsts)[code] + chosen)


def _blasts(world: World) -> pa.Table:
    rng = world.rng("blast")
    day = np.repeat(np.arange(world.start_s // DAY, world.end_s // DAY), 2)
    pit = np.tile([0, 1], len(day) // 2)
    kept = rng.random(len(day)) < 0.6
    day, pit = day[kept], pit[kept]
    rows = blast_columns(rng, day, pit)
    return columns.table(TABLES["blast"].schema, rows)


def blast_columns(rng: np.random.Generator, day: Seconds, pit: Seconds) -> dict[str, object]:
    """The blasts of days and pits; at most one a day in each pit, in the afternoon."""
    holes = rng.integers(80, 260, len(day))
    per_hole_kg = rng.uniform(380, 620, len(day))
    fired = day * DAY + 18 * HOUR + rng.integers(0, 1800, len(day))
    return {
        "blast_id": day * 10 + pit,
        "pit": columns.picked(PITS, pit),
        "bench": [f"{2720 + 16 * int(d % 10)}" for d in day],
        "pattern": columns.picked(("8x9", "7x8", "6x7"), rng.integers(0, 3, len(day))),
        "fired_at": fired,
        "holes": holes,
        "explosive_kg": holes * per_hole_kg,
        "max_charge_per_delay_kg": per_hole_kg * rng.integers(1, 4, len(day)),
        "updated_at": fired + 60,
    }


def _assays(world: World) -> pa.Table:
    rng = world.rng("assay")
    count = world.days * 2 * len(world.trucks.ids)
    sampled = np.sort(rng.integers(world.start_s, world.end_s, count))
    received = sampled + rng.integers(8 * HOUR, 30 * HOUR, count)
    waits = received > world.end_s
    grade = np.where(waits, np.nan, np.clip(rng.gamma(2.2, 0.38, count), 0, 5))
    number = np.arange(count)
    rows = {
        "sample_id": _FIRST_SAMPLE + number,
        "block_id": columns.picked(world.blocks, rng.integers(0, len(world.blocks), count)),
        "lab": columns.picked(("ALS", "SGS"), number % 2),
        "qc_type": columns.picked(QC_TYPES, rng.choice(4, count, p=QC_SHARES)),
        "method": columns.picked(("AAS", "ICP-OES"), rng.integers(0, 2, count)),
        "cu_pct": grade,
        "au_g_t": grade * rng.uniform(0.1, 0.5, count),
        "moisture_pct": np.where(waits, np.nan, rng.uniform(1, 9, count)),
        "sampled_at": sampled,
        "received_at": np.where(waits, NEVER, received),
        "updated_at": np.where(waits, sampled, received),
    }
    return columns.table(TABLES["assay"].schema, rows)


def _ore_movements(world: World) -> pa.Table:
    number = np.repeat(np.arange(world.start_s // SHIFT, world.end_s // SHIFT), len(ROUTES))
    route = np.tile(np.arange(len(ROUTES)), len(number) // len(ROUTES))
    rows = movement_columns(world, world.rng("movement"), number, route)
    rows["movement_id"] = np.arange(_FIRST_MOVEMENT, _FIRST_MOVEMENT + len(number))
    return columns.table(TABLES["ore_movement"].schema, rows)


def movement_columns(
    world: World, rng: np.random.Generator, shift: Seconds, route: Seconds
) -> dict[str, object]:
    """What went along each route in each shift; ``movement_id`` is the caller's to give."""
    count = len(shift)
    kind = np.array([material for _, material in ROUTES])[route]
    moved = (shift + 1) * SHIFT - 1
    to = [tuple(DUMPS.values())[k][i % 2] for i, k in enumerate(kind)]
    return {
        "shift_id": shift,
        "from_id": columns.picked([name for name, _ in ROUTES], route),
        "to_id": to,
        "material": columns.picked(MATERIALS, kind),
        "tonnes_wet_t": world.trucks.rated_t.sum() * rng.uniform(2.5, 3.5, count),
        "moisture_pct": rng.uniform(2, 6, count),
        "cu_pct": np.array(list(TYPICAL_CU_PCT.values()))[kind] * rng.uniform(0.85, 1.15, count),
        "moved_at": moved,
        "updated_at": moved,
    }


def crusher_hours(rng: np.random.Generator, cycles: pa.Table, begin_s: int, end_s: int) -> pa.Table:
    """What the trucks tipped at each crusher in each hour, as its weightometer counted it."""
    hours = np.arange(begin_s, end_s, HOUR)
    tipped_t = np.zeros((len(hours), len(CRUSHERS)))
    ended = cycles["ended_at"].cast(pa.int64()).to_numpy() // 1_000_000
    hour = np.clip((ended - 1 - begin_s) // HOUR, 0, len(hours) - 1)
    payload_t, dump = cycles["payload_t"].cast(pa.float64()).to_numpy(), cycles["dump_id"]
    for nth, crusher in enumerate(CRUSHERS):
        here = pc.equal(dump, crusher).to_numpy()
        tipped_t[:, nth] = np.bincount(hour[here], payload_t[here], len(hours))
    tph = tipped_t.ravel() * rng.uniform(0.99, 1.01, tipped_t.size)
    rows = {
        "crusher_id": columns.picked(CRUSHERS, np.tile(np.arange(len(CRUSHERS)), len(hours))),
        "hour_at": np.repeat(hours, len(CRUSHERS)),
        "tph": tph,
        "weightometer_t": tph * rng.uniform(0.985, 1.015, len(tph)),
        "updated_at": np.repeat(hours, len(CRUSHERS)) + HOUR,
    }
    return columns.table(TABLES["crusher_hour"].schema, rows)
