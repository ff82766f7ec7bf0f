"""dbt with its BigQuery adapter, in a venv of its own.

It wants an older tenacity and an older client of Google Cloud Storage than the platform is tested
with. ``make lock`` pins it, as ``requirements-gcp.lock`` does.
"""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from platform_tests.emulators.parts import Part

PINS = Path(__file__).with_name("dbt-bigquery.txt")
DBT = Part(
    "dbt-bigquery",
    f"1.11.3-{sha256(PINS.read_bytes()).hexdigest()[:8]}",
    "bin/dbt",
    sys.executable,
)


def install(part: Part) -> None:
    """Into an empty folder."""
    subprocess.run([part.needs, "-m", "venv", str(part.folder)], check=True)
    pip = [str(part.path.with_name("python")), "-m", "pip", "install", "--quiet"]
    pinned = ["--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(PINS)]
    subprocess.run([*pip, *pinned], check=True)
