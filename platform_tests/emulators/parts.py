"""Stand-ins for cloud services: which version, where it is installed, how one is started.

Those not in the venv stand in ``~/.cache/malacate/parts`` (``XDG_CACHE_HOME`` is honoured), put
there by ``emulators.install``.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from platform_tests.emulators import brokers
from platform_tests.emulators.brokers import Broker

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malacate" / "parts"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Part:
    """A program that is installed by pinned version into ``folder``."""

    name: str
    version: str
    program: str
    needs: str

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"

    @property
    def path(self) -> Path:
        return self.folder / self.program

    @property
    def home(self) -> Path:
        """What it takes for the user's home."""
        return self.folder / "home"

    @property
    def mark(self) -> Path:
        """Is there when it is installed, whole."""
        return self.folder / ".installed"

    def require(self) -> None:
        """Skip the test that needs it, or fail it where all parts must be there."""
        if self.mark.exists():
            return
        reason = (
            f"{self.name} {self.version} is not installed: "
            f"python -m platform_tests.emulators.install {self.name}"
        )
        if os.environ.get("MALACATE_ALL_PARTS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _digest(*files: Path) -> str:
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


_HERE = Path(__file__).parent
BIGQUERY_PINS = _HERE / "bqemulator.txt"
GOOGLESQL_SOURCE = _HERE / "googlesql"
MOSQUITTO_PINS = _HERE / "mosquitto.sha256"
KAFKA_SOURCE = _HERE / "kafka"
KAFKA_PINS = KAFKA_SOURCE / "jars.sha256"
PUBSUB_SOURCE = _HERE / "pubsub"

GCS = Part("fake-gcs-server", "1.56.1", "fake-gcs-server", "go")
AZURE = Part("azurite", "3.37.0", "node_modules/.bin/azurite-blob", "npm")
BIGQUERY = Part("bqemulator", f"1.4.0-{_digest(BIGQUERY_PINS)}", "bin/bqemulator", sys.executable)
GOOGLESQL = Part(
    "googlesql",
    f"0.3.0-{_digest(GOOGLESQL_SOURCE / 'main.go', GOOGLESQL_SOURCE / 'go.sum')}",
    "googlesql",
    "go",
)
MOSQUITTO = Part("mosquitto", f"2.0.11-{_digest(MOSQUITTO_PINS)}", "usr/sbin/mosquitto", "apt-get")
KAFKA = Part("kafka", f"4.3.1-{_digest(KAFKA_SOURCE / 'pom.xml', KAFKA_PINS)}", "jars", "mvn")
PUBSUB = Part(
    "pubsub",
    f"2.6.2-{_digest(PUBSUB_SOURCE / 'main.go', PUBSUB_SOURCE / 'go.sum')}",
    "pubsub",
    "go",
)

POLARS_PINS = re.findall(
    r"^polars[^ ]*==.*\n(?:    .*\n)*",
    (_HERE.parents[1] / "requirements-bench.lock").read_text(),
    re.M,
)
POLARS = Part("polars", POLARS_PINS[0].split()[0].partition("==")[2], "polars", sys.executable)
"""What assets may return where somebody installed it: a folder to import it from."""

AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""The one that azurite publishes for its account ``devstoreaccount1``."""


@contextmanager
def moto() -> Iterator[str]:
    """S3 on a free port of loopback; its URL."""
    port = _free_port()
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(program, f"http://127.0.0.1:{port}/moto-api/") as url:
        yield url


@contextmanager
def fake_gcs() -> Iterator[str]:
    """Google Cloud Storage by somebody else, laxer than our own: see ``emulators.gcs``."""
    GCS.require()
    port = _free_port()
    options = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-log-level", "error", "-external-url", f"http://127.0.0.1:{port}"]
    health = f"http://127.0.0.1:{port}/_internal/healthcheck"
    with _running([str(GCS.path), *options], health) as url:
        yield url


@contextmanager
def azurite() -> Iterator[str]:
    """Azure Blob Storage; its URL, without the account."""
    AZURE.require()
    port = _free_port()
    with TemporaryDirectory() as folder:
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
        options += ["--skipApiVersionCheck", "--location", folder, "--disableTelemetry"]
        with _running([str(AZURE.path), *options], f"http://127.0.0.1:{port}/") as url:
            yield url


@dataclass(frozen=True)
class BigQuery:
    """REST at ``url``, gRPC at ``grpc``; ``gs://b/x`` is the file ``bucket_root/b/x``."""

    url: str
    grpc: str
    bucket_root: Path


@contextmanager
def bigquery(bucket_root: Path | None = None) -> Iterator[BigQuery]:
    """BigQuery on DuckDB, laxer than the service: see ``bigquery_proxy``."""
    BIGQUERY.require()
    with TemporaryDirectory() as folder:
        root = bucket_root or Path(folder) / "buckets"
        root.mkdir(parents=True, exist_ok=True)
        port, grpc = _free_port(), _free_port()
        options = ["start", "--rest-port", str(port), "--grpc-port", str(grpc), "--ephemeral"]
        variables = {
            "HOME": str(BIGQUERY.home),
            "BQEMU_GCS_LOCAL_ROOT": str(root),
            "BQEMU_UPLOAD_STAGING_DIR": folder,
        }
        program = [str(BIGQUERY.path), *options, "--log-level", "error"]
        with _running(program, f"http://127.0.0.1:{port}/readyz", variables) as url:
            yield BigQuery(url, f"127.0.0.1:{grpc}", root)


@dataclass(frozen=True)
class Statement:
    """One of a script, and why GoogleSQL refuses it; ``error`` is empty if it does not."""

    sql: str
    error: str


@dataclass(frozen=True)
class GoogleSQL:
    """The analyzer that BigQuery is built on: syntax, names, types. It knows no values.

    More is allowed than in BigQuery: all released features, and names in any case. Less are blocks
    of scripts (``declare``, ``if``, ``begin``), ``@@`` variables, paths in one pair of backticks.
    """

    ask: IO[str]
    answer: IO[str]

    def check(
        self,
        sql: str,
        tables: Mapping[str, Mapping[str, str]] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> list[Statement]:
        """Each statement of ``sql``, where ``tables`` are there (columns and their types) as well
        as those that statements before it create. After one that cannot be parsed no more is read.
        """
        there = {name: list(columns.items()) for name, columns in (tables or {}).items()}
        asked = {"sql": sql, "tables": there, "parameters": dict(parameters or {})}
        self.ask.write(json.dumps(asked) + "\n")
        self.ask.flush()
        answer = self.answer.readline()
        assert answer, "googlesql ended, see its error above"
        return [Statement(**one) for one in json.loads(answer)]


@contextmanager
def googlesql() -> Iterator[GoogleSQL]:
    """GoogleSQL's analyzer."""
    GOOGLESQL.require()
    program = subprocess.Popen(
        [str(GOOGLESQL.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        yield GoogleSQL(program.stdin, program.stdout)
    finally:
        program.kill()
        program.communicate()


def mosquitto(folder: Path, **settings: object) -> AbstractContextManager[Broker]:
    """MQTT 3.1.1 and 5 for anybody, with no bound on what waits; what it keeps is in ``folder``.

    It answers a publisher before it writes: killed, it forgets what came in the last two seconds,
    or one message with ``autosave_on_changes="true"``, which takes 30 times as long.
    """
    MOSQUITTO.require()
    libraries = MOSQUITTO.folder / "usr/lib/x86_64-linux-gnu"
    return brokers.mosquitto(MOSQUITTO.path, libraries, folder, settings)


def kafka(folder: Path) -> AbstractContextManager[Broker]:
    """Kafka, with its log in ``folder``; its ``url`` is what clients call a bootstrap server."""
    KAFKA.require()
    return brokers.kafka(KAFKA.path, folder)


def pubsub(folder: Path) -> AbstractContextManager[Broker]:
    """Google's own in-memory Pub/Sub, at what ``PUBSUB_EMULATOR_HOST`` is to be; no seeking."""
    PUBSUB.require()
    return brokers.pubsub(PUBSUB.path, folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(
    program: Sequence[str], health: str, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        process = subprocess.Popen(
            program, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder,
            env={**os.environ, **(variables or {})},
        )  # fmt: skip
        try:
            if not _healthy(process, health):
                log.seek(0)
                pytest.fail(f"{program[0]} did not start: {log.read()[-2000:]!r}", pytrace=False)
            yield health[: health.index("/", len("http://"))]
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _healthy(process: "subprocess.Popen[bytes]", health: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(health, timeout=2).close()
        except HTTPError:
            return True  # it answers, if only to say no
        except (URLError, OSError):
            time.sleep(0.1)
        else:
            return True
    return False
