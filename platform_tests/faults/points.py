"""The crash points that the code has, read from the code."""

import ast
from functools import cache
from pathlib import Path

CODE = Path(__file__).resolve().parents[2] / "platform" / "malacate"

HAVE_CASES = {
    "seen", "claim_before_commit", "claimed", "input_torn", "input_before_rename",
    "input_after_rename", "staged", "parsed", "part_torn", "landing_before_manifest", "landed",
    "tx_checked", "tx_rows", "tx_marker", "committed", "closed", "loaded", "cleaned",
    "file_quarantined",
}  # fmt: skip
"""Points that the small world passes at least three times."""

OF_FILES = {
    "input_torn", "input_before_rename", "input_after_rename", "file_quarantined",
}  # fmt: skip
"""Points that only drops pass."""

LOCKED = {
    "seen", "claim_before_commit", "tx_checked", "tx_rows", "tx_marker", "committed",
    "tx_marker/publish", "committed/publish",
}  # fmt: skip
"""Points inside a transaction: others cannot overtake there, they wait."""

OF_STAGING = {"input_torn", "input_before_rename", "input_after_rename"}
"""Points on the way of a drop's bytes into the lake."""

OF_TRANSFERS = {"transfer_staged", "transfer_put", "transferred"}
"""Points that only transfers pass: bar B8 kills there."""

OF_SLOTS = {"slot_created", "peeked", "slot_before_advance", "slot_advanced"}
"""Points that only a replication slot passes: bar B17 kills there."""

OF_STREAMS = {"collected_before_file", "collected_file", "collected_acknowledged"}
"""Points that only a stream's collector passes: ``platform_tests/streams`` kills there."""

OF_ALARMS = {"alarm_noted", "alarm_taken", "alarm_sent"}
"""Points on the way of an alarm: ``platform_tests/alarms`` kills there."""

READS_PASS_TOO = ("tx_marker", "committed")
"""Their first passings are those of questions, not of publications."""


def in_code() -> frozenset[str]:
    """Every point that batches of rows pass."""
    return everywhere() - OF_TRANSFERS - OF_SLOTS - OF_STREAMS - OF_ALARMS


@cache
def everywhere() -> frozenset[str]:
    """Every name in a ``crash.point("name")`` below ``platform/malacate``."""
    found: set[str] = set()
    for file in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("crash.point"):
                found.add(ast.literal_eval(node.args[0]))
    return frozenset(found)


def with_publish() -> list[str]:
    """The points, and those inside a publication as points of their own."""
    return sorted(in_code()) + [f"{name}/publish" for name in READS_PASS_TOO]
