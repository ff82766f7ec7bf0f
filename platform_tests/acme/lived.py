"""``python -m platform_tests.acme.lived OUT [POINT:N ...]``: the mine on the chosen target.

Raw tables are loaded by a worker that is killed at each point in turn, then the whole graph is
materialized; every table ends as a Parquet file in OUT, the graph as ``graph.json``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from acme.definitions import defs
from malacate.commands.project import opened, routes
from malacate.names import TableName

KILLED = -9


def load_raw() -> None:
    platform = opened()
    for raw in routes():
        platform.run(raw.route)


def materialize() -> dg.Definitions:
    location = defs()
    with dg.DagsterInstance.ephemeral() as instance:
        job = location.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance).success
    return location


def main(out: Path, points: list[str]) -> None:
    out.mkdir(parents=True)
    killed = 0
    for point in points:
        command = [sys.executable, "-m", "platform_tests.acme.lived"]
        worker = subprocess.run(command, env={**os.environ, "MALACATE_CRASH": point}, check=False)
        assert worker.returncode in (0, KILLED), (point, worker.returncode)
        killed += worker.returncode == KILLED
    graph = materialize().resolve_asset_graph()
    warehouse = opened().warehouse
    for key in graph.materializable_asset_keys:
        if key.path[0] in ("raw", "silver", "gold"):
            name = TableName.of(key.path)
            pq.write_table(warehouse.read(name), out / f"{name}.parquet")
    parents = {
        key.to_user_string(): sorted(one.to_user_string() for one in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    checks = sorted(
        f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys
    )
    told = {"killed": killed, "parents": parents, "checks": checks}
    (out / "graph.json").write_text(json.dumps(told, indent=1, sort_keys=True))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]), sys.argv[2:])
    else:
        load_raw()
