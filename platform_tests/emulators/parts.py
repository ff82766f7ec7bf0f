"""Stand-ins for cloud services: which version, where it is installed, how one is started.

Those from outside of PyPI stand in ``~/.cache/malacate/parts`` (``XDG_CACHE_HOME`` is honoured).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

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

    def require(self) -> None:
        """Skip the test that needs it, or fail it where all parts must be there."""
        if self.path.exists():
            return
        reason = (
            f"{self.name} {self.version} is not installed: "
            "python -m platform_tests.emulators.install"
        )
        if os.environ.get("MALACATE_ALL_PARTS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    def install(self) -> None:
        """Install it, unless it stands there already."""
        if self.path.exists():
            return
        if shutil.which(self.needs) is None:
            raise SystemExit(f"{self.needs} is needed to install {self.name}.")
        self.folder.mkdir(parents=True, exist_ok=True)
        command, variables = self._command()
        subprocess.run(command, check=True, env={**os.environ, **variables})

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if self.needs == "go":
            module = f"github.com/fsouza/{self.name}@v{self.version}"
            return ["go", "install", module], {"GOBIN": str(self.folder), "GOFLAGS": ""}
        package = f"{self.name}@{self.version}"
        where = ["--prefix", str(self.folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        return ["npm", "install", *where, package], {}


GCS = Part("fake-gcs-server", "1.56.1", "fake-gcs-server", "go")
AZURE = Part("azurite", "3.37.0", "node_modules/.bin/azurite-blob", "npm")
PARTS = (GCS, AZURE)

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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(program: Sequence[str], health: str) -> Iterator[str]:
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
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
