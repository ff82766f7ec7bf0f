"""43.2M readings to hourly statistics: 120 sensors, 100 Hz, 3 axes, an hour in files of minutes.

Of the readings 0.5 % come minutes late and 0.1 % twice. Each candidate is a process of its own, in
turn; a ratio is of CPU, taken within each round, and its median is told. ``python bench/hours.py``
runs it by itself.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table as Grid

console = Console(width=120)
SENSORS, HZ = 120, 100
WIDE = ("decode", "power_sums", "derived", "engine", "pandas")
SLOW = {"beam": "MALACATE_BEAM_PYTHON" in os.environ, "pyspark": find_spec("pyspark") is not None}
"""Who takes too long for all readings, and whether they are installed."""

_MINUTE = """
create or replace table minute as select
  'GEO-' || lpad((sensor + 1)::varchar, 3, '0') as sensor_id,
  timestamptz '2026-03-01' + to_microseconds(({minute} * 60 + second) * 1000000::bigint
    + slot * (1000000 // {hz})) as measured_at,
  {values},
  hash(sensor, second, slot, {minute}) / 18446744073709551616.0 as luck
from range(60) a(second), range({sensors}) b(sensor), range({hz}) c(slot)
"""
_NOISE = "(random() + random() + random() - 1.5) * 0.6"
_WAVE = "round(0.8 * sin(2 * pi() * {tone} * (second + slot / {hz})) + {noise}, 4)::double"


def write(folder: Path, minutes: int) -> int:
    """Files of ``minutes`` and one of what was late at the end; returns how many readings."""
    values = ", ".join(
        f"{_WAVE.format(tone=tone, hz=float(HZ), noise=_NOISE)} as {axis}"
        for axis, tone in (("x", 63.0), ("y", 12.5), ("z", 6.25))
    )
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; select setseed(0.5)")
        for minute in range(minutes + 1):
            sql = _MINUTE.format(minute=minute, hz=HZ, sensors=SENSORS, values=values)
            connection.execute(sql if minute < minutes else f"{sql} limit 0")
            late = "from late" if minute else "from minute limit 0"
            connection.execute(
                f"copy (select * exclude (luck) from (from minute where luck > 0.005 union all "
                f"from minute where luck > 0.999 union all ({late})) order by "
                f"floor(epoch(measured_at)), sensor_id, measured_at) "
                f"to '{folder}/{minute:03d}.parquet' (compression zstd)"
            )
            connection.execute("create or replace table late as from minute where luck <= 0.005")
        ((count,),) = connection.sql(f"select count(*) from '{folder}/*.parquet'").fetchall()
    return count


@dataclass(frozen=True)
class Run:
    """Seconds."""

    wall: float
    cpu: float


def measured(name: str, folder: Path, hours: int) -> Run:
    """Run one candidate; raise if it made another number of hours."""
    command = [sys.executable, str(Path(__file__).with_name("hour_candidates.py")), name]
    ran = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{name}: {ran.stderr[-2000:]}")
    wall, cpu, made = ran.stdout.split()[-3:]
    if name != "decode" and int(made) != hours:
        raise SystemExit(f"{name}: {made} hours of {hours}")
    return Run(float(wall), float(cpu))


def compared(names: tuple[str, ...], minutes: int, rounds: int) -> dict[str, float]:
    """Print medians; return the median ratio limit/candidate of each."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        place = Path(folder)
        readings, hours = write(place, minutes), SENSORS * -(-minutes // 60)
        runs: dict[str, list[Run]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                runs[name].append(measured(name, place, hours))
    grid = Grid("candidate", "wall s", "cpu s", "M readings/cpu s", "of limit",
                title=f"{readings:,} readings to {hours} hours")  # fmt: skip
    ratios = {}
    for name, found in runs.items():
        pairs = zip(runs["decode"], found, strict=True)
        ratios[name] = statistics.median(limit.cpu / run.cpu for limit, run in pairs)
        cpu = statistics.median(run.cpu for run in found)
        grid.add_row(name, f"{statistics.median(run.wall for run in found):.2f}", f"{cpu:.2f}",
                     f"{readings / cpu / 1e6:.1f}", f"{ratios[name]:.3f}")  # fmt: skip
    console.print(grid)
    return ratios


def late_file(rounds: int) -> float:
    """How many times a late file's cost a whole day is."""
    ratios = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            day = measured("day", Path(folder), 24 * SENSORS)
            late = measured("late", Path(folder), SENSORS)
        console.print(f"hours of a day of 10.4M readings: {day.cpu:.2f} s of CPU; "
                      f"of a minute that comes late: {late.cpu:.3f} s")  # fmt: skip
        ratios.append(day.cpu / late.cpu)
    return statistics.median(ratios)


def main(rounds: int, minutes: int = 60) -> list[tuple[str, float, float]]:
    """What was measured: words, value, target."""
    found = compared(WIDE, minutes, rounds)
    if slow := [name for name, is_there in SLOW.items() if is_there]:
        compared(("decode", "engine", *slow), 2, 1)
    return [
        ("hourly statistics, of column decode", found["power_sums"], 0.5),
        ("each reading once, and spectra, of column decode", found["engine"], 0.12),
        ("times pandas", found["power_sums"] / found["pandas"], 7.0),
        ("a day's hours, times those of a late file", late_file(rounds), 10.0),
    ]


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--minutes", type=int, default=60)
    given = options.parse_args()
    for what, value, target in main(given.rounds, given.minutes):
        console.print(f"{what}: {value:.2f} (target {target})")
