"""The pipeline of hours on Beam's own DirectRunner: the hours of the warehouse, row for row."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pyarrow as pa
import pytest
from platform_tests.company import TARGETS
from platform_tests.hours import due
from platform_tests.hours.beam_part import BEAM
from platform_tests.hours.due import Slope
from platform_tests.warehouse.hours import HOURS, READING, STATS, reading

from malacate.errors import ConfigError, PipelineFailed
from malacate.hours.beam_options import OPTIONS, REFUSED, RUNNERS, require_known
from malacate.hours.job import Job
from malacate.orchestration.hours_asset import hours_asset
from malacate.orchestration.hours_beam import PROGRAM, Beam
from malacate.orchestration.resources import Platform
from malacate.sources.hours import measured

ASK = """
import argparse, json
from apache_beam.options import pipeline_options as beam
def names(of):
    parser = argparse.ArgumentParser(add_help=False)
    getattr(beam, of)._add_argparse_args(parser)
    return sorted({action.dest for action in parser._actions})
print(json.dumps({of: names(of) for of in OPTIONS}))
"""
TRAVEL = """
import sys
from datetime import UTC, datetime
from apache_beam.internal import pickler
from apache_beam.internal.cloudpickle import cloudpickle
from malacate.hours import apart, beam_pipeline, grid, job as jobs, measured, powers
from malacate.hours.job import Job
import pyarrow as pa
job = Job.from_json(JOB)
row = {name: 1 for name in job.what.values} | {"sensor_id": "g", "seq": 1}
row |= {"measured_at": datetime(1970, 1, 1, tzinfo=UTC), "sector_id": "s"}
part = pa.RecordBatch.from_pylist([row], job.rows).drop_columns(["sensor_id"])
part = part.serialize().to_pybytes()
# The last is __main__, which is sent whole.
for module in (apart, grid, jobs, measured, powers, beam_pipeline):
    cloudpickle.register_pickle_by_value(module)
sent = pickler.dumps((beam_pipeline.read, beam_pipeline.computed, job.what))
for name in [name for name in sys.modules if name.startswith("malacate")]:
    sys.modules[name] = None
read, computed, what = pickler.loads(sent)
print(read.__name__, computed((("g", 0), [part, part]), what, job.rows)["readings"])
"""
Metadata = dict[str, Any]


@pytest.fixture
def slope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slope:
    monkeypatch.setenv("MALACATE_HOME", str(tmp_path))
    return Slope(tmp_path)


@pytest.fixture
def beam() -> Beam:
    BEAM.require()
    return Beam(python=str(BEAM.path))


def materialized(slope: Slope, beam: Beam) -> Metadata:
    """What the asset of the hours tells of its run."""
    targets = TARGETS.replace("${MALACATE_HOME}", str(slope.computed.root))
    (slope.root / "targets.yaml").write_text(targets)
    asset = hours_asset(READING, STATS, beam)
    platform = Platform(targets=str(slope.root / "targets.yaml"))
    ran = dg.materialize([asset], resources={"platform": platform})
    assert all(one.passed for one in ran.get_asset_check_evaluations())
    (made,) = ran.asset_materializations_for_node(asset.op.name)
    return {name: value.value for name, value in made.metadata.items()}


def test_the_asset_has_the_hours_of_the_warehouse_late_and_twin_readings_among_them(
    slope: Slope, beam: Beam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    rows = [reading(n, 1 + n / 7, 3 - n / 9, f"g{n % 3}") for n in range(40)]
    slope.deliver("a", rows[:25])
    slope.deliver("b", [*rows[20:], {**rows[3], "ppv_vert_mm_s": 9.0}])
    slope.load()
    told = materialized(slope, beam)
    slope.assert_same()
    hours = len(slope.hours(slope.computed))
    counted = {"launches": 1, "files": 2, "hours_computed": hours, "readings_read": 46}
    assert {name: told[name] for name in counted} == counted
    assert told["readings_counted"] == 40
    assert told["cpu_seconds"] > 0
    assert told["runner"] == "DirectRunner"
    assert not list(scratch.iterdir())

    assert materialized(slope, beam)["launches"] == 0
    slope.assert_same()

    slope.deliver("late", [reading(2, peak=7.0, sensor="g9"), reading(30, peak=-3.0, sensor="g1")])
    slope.deliver("a", rows[:23])
    slope.load()
    assert materialized(slope, beam)["files"] == 3
    slope.assert_same()
    assert max(row["revision"] for row in slope.hours(slope.computed)) == 2
    assert slope.leavings() == ["readings.json"] * 2


def pipeline_of(worker: "subprocess.Popen[bytes]") -> psutil.Process:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(worker.pid).children(recursive=True):
            if PROGRAM in child.cmdline():
                return child
        time.sleep(0.05)
    raise AssertionError("no pipeline was started")


@pytest.mark.parametrize("is_run", [True, False], ids=["run", "pipeline"])
def test_a_kill_in_the_middle_of_the_pipeline_costs_nothing(
    slope: Slope, beam: Beam, is_run: bool
) -> None:
    slope.deliver("a", [reading(n, sensor=f"g{n % 2}") for n in range(8)])
    slope.load()
    worker = subprocess.Popen(
        [sys.executable, due.__file__, str(slope.root), beam.python],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TMPDIR": str(slope.root)},
        stderr=subprocess.DEVNULL,
    )
    pipeline = pipeline_of(worker)
    while not list(slope.computed.root.rglob("beam-temp-*")):
        assert pipeline.is_running()
        time.sleep(0.01)
    (worker if is_run else pipeline).send_signal(signal.SIGKILL)
    assert worker.wait(60)
    psutil.wait_procs([pipeline], timeout=60)
    assert not pipeline.is_running()
    assert slope.hours(slope.computed) == []
    if is_run:
        slope.compute(lambda job: beam.start(job, {}))
    else:
        slope.compute()
    slope.assert_same()


def answer(beam: Beam, program: str) -> str:
    platform = Path(due.__file__).parents[2] / "platform"
    asked = subprocess.run(
        [beam.python, "-c", program], env={**os.environ, "PYTHONPATH": str(platform)},
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return asked.stdout


def test_the_options_are_those_of_the_installed_beam(beam: Beam) -> None:
    told = json.loads(answer(beam, f"OPTIONS = {sorted(OPTIONS)}\n{ASK}"))
    assert {of: sorted({*names.split()}) for of, names in OPTIONS.items()} == {
        of: [name for name in names if name not in REFUSED] for of, names in told.items()
    }


def test_a_worker_elsewhere_needs_no_module_of_ours(beam: Beam) -> None:
    assert answer(beam, f"JOB = {a_job().to_json()!r}\n{TRAVEL}").split() == ["read", "1"]


def test_a_runner_or_an_option_that_beam_does_not_know_is_refused() -> None:
    for runner in RUNNERS:
        require_known(runner, [], "lab.hour")
    require_known("DataflowRunner", ["project", "region", "max_num_workers"], "lab.hour")
    for runner, options, advice in (
        ("DataFlowRunner", [], "'DataflowRunner'"),
        ("DataflowRunner", ["regoin"], "'region'"),
        ("DirectRunner", ["project"], "Use one of those"),
        ("FlinkRunner", ["save_main_session"], "Use one of those"),
    ):
        with pytest.raises(ConfigError, match=advice):
            require_known(runner, options, "lab.hour")


def a_job(output: str = "nowhere/made") -> Job:
    what = measured(STATS, READING)
    rows = pa.schema([READING.schema.field(name) for name in what.read])
    return Job(what, [], None, rows, HOURS.schema, output)


def told_by(beam: Beam, job: Job) -> Exception:
    with pytest.raises((ConfigError, PipelineFailed)) as caught:
        list(beam.start(job, {}))
    return caught.value


def test_a_python_without_beam_is_told_with_what_it_said_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "apache_beam")
    beam = Beam(options={"job_name": "${SECRET}"}, python=sys.executable)
    told = str(told_by(beam, a_job()))
    assert "ModuleNotFoundError" in told
    assert "'<job_name>'" in told
    assert "apache_beam" not in told


def test_a_python_that_is_not_there_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MALACATE_BEAM_PYTHON", raising=False)
    assert "MALACATE_BEAM_PYTHON is not set" in str(told_by(Beam(), a_job()))
    monkeypatch.setenv("MALACATE_BEAM_PYTHON", "/nowhere/python")
    assert "requirements-beam.lock" in str(told_by(Beam(), a_job()))


def test_dataflow_is_not_sent_to_a_folder_of_this_machine() -> None:
    beam = Beam("DataflowRunner", python=sys.executable)
    assert "bucket of Google" in str(told_by(beam, a_job("/lake/final/made")))


def test_a_claim_is_renewed_while_a_pipeline_is_at_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 1\n")
    slow.chmod(0o755)
    monkeypatch.setattr("malacate.orchestration.hours_beam.TICK_SECONDS", 0.2)
    ticks: Iterator[None] = Beam(python=str(slow)).start(a_job(), {})
    assert len(list(ticks)) >= 2
