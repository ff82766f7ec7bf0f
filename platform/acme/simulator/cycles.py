"""Haul cycles: what a truck does in the time it works. Used for history and for every tick."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from acme.simulator import columns
from acme.simulator.tables import TABLES
from acme.simulator.world import BENCHES, DUMPS, HOUR, MATERIALS, SHIFT, Seconds, World

_MEAN_S = {
    "queue_load_s": 150, "spot_s": 45, "load_s": 170, "haul_s": 620,
    "queue_dump_s": 60, "dump_s": 75, "return_s": 480,
}  # fmt: skip
_SHORTEST_S = 720
_LOADED_M_S, _OVERLOADS = 6.4, 0.003
_ORE_SHARES = (0.45, 0.2, 0.35)


@dataclass(frozen=True)
class Spans:
    """Stretches of time in which a truck works: its index, and seconds since 1970."""

    truck: npt.NDArray[np.int64]
    begin: Seconds
    end: Seconds


def haul_cycles(world: World, rng: np.random.Generator, spans: Spans, first_id: int) -> pa.Table:
    """Whole cycles of 12 to 58 minutes that fill ``spans``, numbered in the order they end."""
    truck, begin, length = _fill(rng, spans)
    order = np.lexsort((truck, begin + length))
    truck, begin, length = truck[order], begin[order], length[order]
    count = len(truck)
    material = rng.choice(len(MATERIALS), count, p=_ORE_SHARES)
    parts = _parts(rng, length)
    loaded_m = parts["haul_s"] * rng.uniform(0.9, 1.1, count) * _LOADED_M_S
    rows = {
        "cycle_id": np.arange(first_id, first_id + count),
        "truck_id": columns.picked(world.trucks.ids, truck),
        **_people_and_places(world, rng, truck, begin, material),
        "material": columns.picked(MATERIALS, material),
        "started_at": begin,
        "ended_at": begin + length,
        **parts,
        "payload_t": _payload_t(world, rng, truck),
        "dist_loaded_m": loaded_m,
        "dist_empty_m": loaded_m * rng.uniform(0.97, 1.05, count),
        "fuel_l": length * world.trucks.rated_t[truck] * rng.uniform(1.5e-4, 2.1e-4, count),
        "updated_at": np.minimum(begin + length + rng.integers(5, 90, count), _until(spans)),
    }
    return columns.table(TABLES["haul_cycle"].schema, rows)


def _fill(
    rng: np.random.Generator, spans: Spans
) -> tuple[npt.NDArray[np.int64], Seconds, npt.NDArray[np.int64]]:
    span_s = spans.end - spans.begin
    count = np.ceil(span_s / rng.uniform(1800, 3500, span_s.size)).astype(np.int64)
    count[span_s < count * _SHORTEST_S] = 0
    length = np.repeat(span_s // np.maximum(count, 1), count)
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(spans.truck, count), np.repeat(spans.begin, count) + nth * length, length


def _parts(rng: np.random.Generator, length: npt.NDArray[np.int64]) -> dict[str, Seconds]:
    means = np.array(list(_MEAN_S.values()), float)
    weights = means * rng.uniform(0.7, 1.3, (len(length), len(means)))
    seconds = np.floor(weights / weights.sum(axis=1, keepdims=True) * length[:, None])
    seconds[:, -1] += length - seconds.sum(axis=1)
    return dict(zip(_MEAN_S, seconds.astype(np.int64).T, strict=True))


def _people_and_places(
    world: World,
    rng: np.random.Generator,
    truck: npt.NDArray[np.int64],
    begin: Seconds,
    material: npt.NDArray[np.int64],
) -> dict[str, object]:
    count, shift = len(truck), begin // SHIFT
    operators = [f"OP-{1000 + i}" for i in range(4 * len(world.trucks.ids))]
    dumps = [dump for of_material in DUMPS.values() for dump in of_material]
    # One bench is mined for a week, then the next.
    bench = begin // (7 * 24 * HOUR) % len(BENCHES)
    pit = truck % 2
    block = (pit * len(BENCHES) + bench) * 24 + rng.integers(0, 24, count)
    return {
        "operator_id": columns.picked(operators, truck * 4 + shift % 4),
        "loader_id": columns.picked(world.loaders, rng.integers(0, len(world.loaders), count)),
        "shift_id": shift,
        "source_block": columns.picked(world.blocks, block),
        "dump_id": columns.picked(dumps, material * 2 + rng.integers(0, 2, count)),
    }


def _payload_t(
    world: World, rng: np.random.Generator, truck: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    share = np.clip(rng.normal(1.015, 0.03, len(truck)), 0.88, 1.14)
    overload = rng.random(len(truck)) < _OVERLOADS
    share[overload] = rng.uniform(1.2, 1.35, overload.sum())
    return world.trucks.rated_t[truck] * share


def _until(spans: Spans) -> int:
    return int(spans.end.max()) if spans.end.size else 0
