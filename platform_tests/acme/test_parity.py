"""The mine on this machine and on Google's stand-ins: the same graph, and every row the same."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from platform_tests.dbt.adapter import DBT
from platform_tests.emulators import parts

from acme.simulator.commands import started
from acme.simulator.mine import Mine

ROOT = Path(__file__).parents[2]
KILLS = ("part_torn:2", "landed:1", "tx_checked:3", "tx_rows:2", "tx_marker:4", "committed:5")
HISTORY = {"revision"}
"""Counts how often an hour was renewed, and so how batches came together after each kill."""
READING = {"_position_hi", "_position_lo", "_source_at", "_read_at", "_event_id", "_file"}
"""Where and when a snapshot was taken: each target has a slot of its own, and its own time."""


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, Path]]:
    """What each target holds after the same mine was loaded under kills."""
    for part in (parts.BIGQUERY, DBT):
        part.require()
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        home = Path(folder)
        started(scale=0.05, home=home)
        try:
            yield {
                "local": lived(home, "local", []),
                "gcp-emulated": lived(home, "gcp", ["-m", "platform_tests.emulators.run"]),
            }
        finally:
            Mine(home / "mine").stop()


def lived(home: Path, name: str, emulated: list[str]) -> Path:
    out = home / "out" / name
    before = [sys.executable, *emulated] if emulated else []
    command = [*before, sys.executable, "-m", "platform_tests.acme.lived", str(out), *KILLS]
    dagster = home / f"dagster-{name}"
    dagster.mkdir()
    told = {"MALACATE_HOME": str(home), "DAGSTER_HOME": str(dagster), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return out


def graph(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "graph.json").read_text())
    return told


def test_the_graph_is_the_same_key_for_key(both: dict[str, Path]) -> None:
    local, gcp = (graph(out) for out in both.values())
    assert min(local["killed"], gcp["killed"]) >= 4
    assert local["parents"].keys() > {"raw/production/haul_cycle", "gold/payload_compliance"}
    assert local["parents"] == gcp["parents"]
    assert local["checks"] == gcp["checks"]


def test_every_table_is_the_same_row_for_row(
    both: dict[str, Path], record_property: Callable[[str, object], None]
) -> None:
    names = [sorted(path.name for path in out.glob("*.parquet")) for out in both.values()]
    assert names[0] == names[1]
    tables = rows = 0
    for name in names[0]:
        left_out = HISTORY | (
            READING if name.startswith(("raw_production", "raw_plant")) else set()
        )
        local, gcp = (ordered(out / name, left_out) for out in both.values())
        assert len(local) == len(gcp), name
        for here, there in zip(local, gcp, strict=True):
            assert here.keys() == there.keys(), name
            differing = [c for c in here.keys() - left_out if not same(here[c], there[c])]
            assert not differing, (name, differing, here, there)
        tables, rows = tables + 1, rows + len(local)
    record_property("parity", f"{tables} tables, {rows} rows, differences 0")
    assert tables >= 42
    assert rows > 3_000


def ordered(path: Path, left_out: set[str]) -> list[dict[str, Any]]:
    """By all columns but floats, which differ in their last bits with the order of a sum."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    exact = [
        {k: v for k, v in row.items() if k not in left_out and not isinstance(v, float)}
        for row in rows
    ]
    return [row for _, row in sorted(zip(map(repr, exact), rows, strict=True), key=lambda x: x[0])]


def same(here: Any, there: Any) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, rel_tol=1e-12, abs_tol=1e-9)
    return bool(here == there)
