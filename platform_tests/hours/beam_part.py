"""Apache Beam in a venv of its own: it holds pyarrow at a version that the platform is not of."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from platform_tests.emulators.parts import Part

PINS = Path(__file__).parents[2] / "requirements-beam.lock"
BEAM = Part(
    "beam", f"2.77.0-{sha256(PINS.read_bytes()).hexdigest()[:8]}", "bin/python", sys.executable
)


def install(part: Part) -> None:
    """Into an empty folder; some minutes and 826 MB."""
    subprocess.run([part.needs, "-m", "venv", str(part.folder)], check=True)
    pip = [str(part.path), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(PINS)], check=True)
