"""``python -m platform_tests.emulators.install``: what ``make test-all`` needs beside its venv.

A part is whole or not there: its mark is written last, and without it all is made again.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from platform_tests.dbt.adapter import DBT
from platform_tests.dbt.adapter import install as _with_adapter
from platform_tests.emulators.parts import (
    AZURE,
    BIGQUERY,
    BIGQUERY_PINS,
    GCS,
    GOOGLESQL,
    GOOGLESQL_SOURCE,
    KAFKA,
    KAFKA_PINS,
    KAFKA_SOURCE,
    MOSQUITTO,
    MOSQUITTO_PINS,
    POLARS,
    POLARS_PINS,
    PUBSUB,
    PUBSUB_SOURCE,
    Part,
)
from platform_tests.hours.beam_part import BEAM
from platform_tests.hours.beam_part import install as _with_beam

_IMPORT = "from duckdb_extensions import import_extension as i; i('spatial'); i('avro')"


def install(part: Part) -> None:
    """Install it, unless it stands there already."""
    if part.mark.exists():
        return
    if shutil.which(part.needs) is None:
        raise SystemExit(f"{part.needs} is needed to install {part.name}.")
    shutil.rmtree(part.folder, ignore_errors=True)
    part.folder.mkdir(parents=True)
    PARTS[part](part)
    part.mark.touch()


def _from_go(part: Part) -> None:
    module = f"github.com/fsouza/{part.name}@v{part.version}"
    _run(["go", "install", module], {"GOBIN": str(part.folder), "GOFLAGS": ""})


def _from_npm(part: Part) -> None:
    where = ["--prefix", str(part.folder), "--no-audit", "--no-fund", "--ignore-scripts"]
    _run(["npm", "install", *where, f"{part.name}@{part.version}"])


def _from_pypi(part: Part) -> None:
    """A venv of its own, and DuckDB's extensions in a home of its own."""
    _run([part.needs, "-m", "venv", str(part.folder)])
    python = str(part.path.parent / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--require-hashes", "-r", str(BIGQUERY_PINS)])
    part.home.mkdir()
    _run([python, "-c", _IMPORT], {"HOME": str(part.home)})


def _to_import(part: Part) -> None:
    """A folder of what the benchmarks' lock pins."""
    pins = part.folder / "pins.txt"
    pins.write_text("".join(POLARS_PINS))
    pip = [part.needs, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--require-hashes", "-r", str(pins), "--target", str(part.folder)])


def _from_our_go(part: Part) -> None:
    """Some minutes the first time for GoogleSQL: the analyzer is 108 MB of source."""
    build = ["go", "build", "-mod=readonly", "-o", str(part.path), "."]
    _run(build, {"GOFLAGS": "-buildvcs=false"}, GO_SOURCES[part])


def _from_debian(part: Part) -> None:
    """The packages that our sums name, unpacked; nothing of them is run or set up.

    The index is fetched into a folder of ours: the machine's may be old, or not there.
    """
    packages = [line.split()[1] for line in MOSQUITTO_PINS.read_text().splitlines()]
    pins = ["=".join(package.split("_")[:2]) for package in packages]
    index = part.folder / "index"
    (index / "partial").mkdir(parents=True, exist_ok=True)
    options = {"APT::Sandbox::User": "root", "Dir::State::lists": index, "Dir::Cache": index}
    apt = ["apt-get", "-qq", *(f"--option={name}={value}" for name, value in options.items())]
    _run([*apt, "update"], folder=part.folder)
    _run([*apt, "download", *pins], folder=part.folder)
    shutil.rmtree(index)
    _is_as_pinned(part.folder, MOSQUITTO_PINS)
    for package in packages:
        _run(["dpkg", "--extract", package, "."], folder=part.folder)


def _from_maven(part: Part) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={part.path}"]
    _run(["mvn", "--quiet", "--batch-mode", *goal], folder=KAFKA_SOURCE)
    _is_as_pinned(part.path, KAFKA_PINS)


def _is_as_pinned(folder: Path, pins: Path) -> None:
    _run(["sha256sum", "--check", "--strict", "--quiet", str(pins)], folder=folder)


def _run(
    command: list[str], variables: Mapping[str, str] | None = None, folder: Path | None = None
) -> None:
    subprocess.run(command, check=True, env={**os.environ, **(variables or {})}, cwd=folder)


GO_SOURCES = {GOOGLESQL: GOOGLESQL_SOURCE, PUBSUB: PUBSUB_SOURCE}
PARTS: dict[Part, Callable[[Part], None]] = {
    GCS: _from_go,
    AZURE: _from_npm,
    BIGQUERY: _from_pypi,
    GOOGLESQL: _from_our_go,
    POLARS: _to_import,
    MOSQUITTO: _from_debian,
    KAFKA: _from_maven,
    PUBSUB: _from_our_go,
    DBT: _with_adapter,
    BEAM: _with_beam,
}

if __name__ == "__main__":
    names = sys.argv[1:] or [part.name for part in PARTS]
    for wanted in PARTS:
        if wanted.name in names:
            install(wanted)
            print(f"{wanted.name} {wanted.version}: {wanted.path}")
