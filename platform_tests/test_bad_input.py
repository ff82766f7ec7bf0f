"""The table of bad input in the docs: every row is there, and every test that it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs/bad-input.md").read_text()
WANTED = [*range(1, 42), *range(68, 76), *range(81, 85)]


def rows() -> dict[int, list[str]]:
    lines = (line.split(" | ") for line in TABLE.splitlines() if re.match(r"\| \d+ \|", line))
    return {int(cells[0].strip("| ")): re.findall(r"`([^`]+\.py::[^`]+)`", cells[-1])
            for cells in lines}  # fmt: skip


@pytest.fixture(scope="module")
def collected() -> str:
    """Every test of the files that the table names."""
    files = sorted({test.partition("::")[0] for tests in rows().values() for test in tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    given = [f"platform_tests/{file}" for file in files]
    told = subprocess.run([*command, *given], capture_output=True, cwd=ROOT, text=True, check=True)
    return f"\n{told.stdout}"


def test_every_row_is_there_and_held_by_a_test() -> None:
    assert list(rows()) == WANTED
    assert [number for number, tests in rows().items() if not tests] == []


def test_every_test_that_is_named_exists(collected: str) -> None:
    named = {test for tests in rows().values() for test in tests}
    missing = [test for test in sorted(named) if not re.search(
        rf"\nplatform_tests/{re.escape(test)}(?![a-z_0-9])" if "[" not in test
        else rf"\nplatform_tests/{re.escape(test)}", collected)]  # fmt: skip
    assert missing == []
