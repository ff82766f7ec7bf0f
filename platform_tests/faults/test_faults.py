"""The short form of the crash driver. ``make faults`` is the long one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BARS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B11", "B17", "B13")

LISTED = ("HAVE_CASES", "OF_TRANSFERS", "OF_SLOTS", "OF_STREAMS", "OF_ALARMS")


def test_every_crash_point_in_the_code_has_a_case() -> None:
    listed = set[str]()
    for node in ast.parse((HERE / "points.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in LISTED:
            listed |= ast.literal_eval(node.value)
    calls = (
        node
        for file in (HERE.parents[1] / "platform" / "malacate").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "crash.point"
    )
    assert {ast.literal_eval(call.args[0]) for call in calls} == listed


@pytest.mark.parametrize("bar", BARS)
def test_bar_is_met(bar: str) -> None:
    command = [sys.executable, str(HERE / "run.py"), "--bar", bar]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
