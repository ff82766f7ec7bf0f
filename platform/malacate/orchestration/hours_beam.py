"""Hours that a Beam pipeline computes: how it is started, and what it says."""

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from malacate.errors import ConfigError, PipelineFailed
from malacate.hours.beam_options import require_known
from malacate.hours.job import Job
from malacate.lake.lake import Lake
from malacate.orchestration.environment import resolve
from malacate.sources.hours import Launch
from malacate.warehouse.hourly import HourlyStats

PROGRAM = "malacate.hours.beam_pipeline"
_SHIPPED = (
    "__init__", "hours/__init__", "hours/powers", "hours/grid", "hours/measured", "hours/apart",
    "hours/job", "hours/beam_pipeline",
)  # fmt: skip
"""Modules that the pipeline is made of: all that its environment has of the platform."""
_SHOWN = 2000
"""Characters of what a pipeline said last that an error shows."""
TICK_SECONDS = 20.0
"""How often a claim may be renewed while a pipeline is at work."""


@dataclass(frozen=True)
class Beam:
    """Beam's runner, its options by name, and the Python that has Beam; values may refer to
    variables, which are read when a pipeline is started.
    """

    runner: str = "DirectRunner"
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = "${MALACATE_BEAM_PYTHON}"

    kind = "beam"

    def require_sound(self, stats: HourlyStats) -> None:
        """Raise ``ConfigError`` for options that Beam does not know."""
        require_known(self.runner, self.options, str(stats.table.name))

    def launch(
        self, context: dg.AssetExecutionContext, lake: Lake, told: list[dict[str, Any]]
    ) -> Launch:
        """See ``Engine``: starts pipelines that tell Dagster what they do."""

        def launched(job: Job) -> Iterator[None]:
            with dg.open_pipes_session(
                context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
            ) as session:
                yield from self.start(job, session.get_bootstrap_env_vars())
            told.extend(session.get_custom_messages())

        return launched

    def interpreter(self) -> str:
        """The Python to start; raises ``ConfigError`` if it is not there."""
        python = resolve(self.python)
        if shutil.which(python) is None:
            raise ConfigError(
                "the Python that has Beam is not there",
                "Make a venv of its own, install requirements-beam.lock into it, and say in "
                "MALACATE_BEAM_PYTHON where its bin/python is.",
                expected=self.python,
                actual=python,
                reason="no_beam",
            )
        return python

    def resolved(self) -> dict[str, Any]:
        """The options, with their references filled in."""
        return {name: _resolved(value) for name, value in self.options.items()}

    def start(self, job: Job, variables: Mapping[str, str]) -> Iterator[None]:
        """Do a job, as ``Launch`` says; raises ``PipelineFailed`` if that was not done."""
        options = self.resolved()
        if self.runner == "DataflowRunner" and not job.output.startswith("gs://"):
            raise ConfigError(
                "Dataflow cannot read this lake",
                "Use a target whose lake is a bucket of Google's, or another runner.",
                expected="gs://...",
                actual=job.output,
                reason="no_shared_lake",
            )
        with TemporaryDirectory(prefix="malacate-beam-") as code:
            _ship(Path(code))
            process = subprocess.Popen(  # noqa: S603
                [self.interpreter(), "-m", PROGRAM], cwd=code,
                env=_environment({**variables, "TMPDIR": code}),
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                said = yield from _until_done(process, job.on(self.runner, options).to_json())
            finally:
                process.kill()
                process.wait()
        if process.returncode:
            raise self._failed(job, process.returncode, _without(said, self.options, options))

    def _failed(self, job: Job, code: int, said: str) -> PipelineFailed:
        return PipelineFailed(
            f"the pipeline of hours ended with {code}; nothing of it was published",
            "Read what it said; when that is put right, run the asset again.",
            object=job.output,
            expected=f"an end without an error on {self.runner}",
            actual=said.strip()[-_SHOWN:],
            reason="pipeline_failed",
        )


def _until_done(process: "subprocess.Popen[str]", job: str) -> Generator[None, None, str]:
    """What it said on its error output, as the generator's result."""
    given: str | None = job
    while True:
        try:
            _, said = process.communicate(given, timeout=TICK_SECONDS)
        except subprocess.TimeoutExpired:
            given = None
            yield
        else:
            return said


def _ship(code: Path) -> None:
    """The pipeline's modules alone: of the platform's other packages it may see none."""
    home = Path(__file__).parents[1]
    for name in _SHIPPED:
        target = code / "malacate" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / f"{name}.py", target)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    ours = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    return {k: v for k, v in {**os.environ, **variables}.items() if k not in ours}


def _resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    return resolve(value) if isinstance(value, str) else value


def _without(said: str, written: Mapping[str, Any], resolved: Mapping[str, Any]) -> str:
    """A text in which no value stands that was only referred to."""
    for name, value in resolved.items():
        if value != written[name]:
            for secret in value if isinstance(value, list) else [value]:
                said = said.replace(secret, f"<{name}>") if secret else said
    return said
