"""The asset ``control/files``: what state every file is in, and checks that tell of bad ends.

All counting is done by the ledger's database; names that others chose are escaped.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from malacate.ledger import control
from malacate.ledger.control import Answer
from malacate.ledger.ledger import Ledger
from malacate.orchestration.resources import Platform
from malacate.orchestration.schedule import by_cron

KEY = dg.AssetKey(["control", "files"])
_CHECKS = {
    "no_file_stuck": "nothing waits, or is being worked on, for longer than the limit",
    "every_file_ended_well": "no file is in quarantine or rejected without a newer one loaded",
    "no_duplicate_content": "no file brought bytes that another one had brought before",
}
_SHOWN = ("source", "table_name", "object", "state", "reason", "attempts", "error", "same_as")


def control_files(
    after: Sequence[str], stuck_after_hours: float = 6.0, cron: str = "7 * * * *"
) -> dg.Definitions:
    """The asset and its checks, due by ``cron`` (UTC) where conditions are evaluated.

    ``after`` are the tables of files: a run that makes them too makes them first.
    """
    specs = [dg.AssetCheckSpec(name, asset=KEY, description=text) for name, text in _CHECKS.items()]

    @dg.asset(
        key=KEY,
        group_name="ops",
        kinds={"sql"},
        description="The state of every file that any source delivered, from the ledger.",
        check_specs=specs,
        deps=[dg.AssetKey(key.split("/")) for key in after],
        automation_condition=by_cron(cron),
    )
    def files(platform: Platform) -> Iterator[dg.MaterializeResult[None]]:
        ledger = platform.target.open_ledger()
        answers = {
            "no_file_stuck": control.stuck(ledger, stuck_after_hours * 3600),
            "every_file_ended_well": control.ended_badly(ledger),
            "no_duplicate_content": control.repeated(ledger),
        }
        results = [_result(name, answer) for name, answer in answers.items()]
        yield dg.MaterializeResult(metadata=_told(ledger, answers), check_results=results)

    return dg.Definitions(assets=[files])


def _told(ledger: Ledger, answers: dict[str, Answer]) -> dict[str, Any]:
    rows, now = control.states(ledger), time.time()
    waits = [row["oldest"] for row in rows if row["state"] in ("seen", "processing")]
    counts = dict.fromkeys(("loaded", "seen", "processing", "quarantined", "rejected"), 0)
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + row["batches"]
    states = [{**row, "oldest": _instant(row["oldest"])} for row in rows]
    return {
        "files": sum(counts.values()),
        **{f"files_{state}": number for state, number in counts.items()},
        "oldest_waiting_seconds": round(now - min(waits)) if waits else 0,
        "states": dg.MetadataValue.md(markdown(states)),
        "stuck": dg.MetadataValue.md(markdown(_columns(answers["no_file_stuck"][1]))),
    }


_ADVICE = {
    "no_file_stuck": "`malacate files explain <file>` says what it waits for; is its sensor on?",
    "every_file_ended_well": "`malacate quarantine show <file>`, then `files release` or replay.",
    "no_duplicate_content": "Ask the sender; `duplicates: skip` leaves the second one out.",
}


def _result(name: str, answer: Answer) -> dg.AssetCheckResult:
    number, rows = answer
    told: dict[str, Any] = {"expected": 0, "actual": number}
    if number:
        told["what_to_do"] = _ADVICE[name]
        told["files"] = dg.MetadataValue.md(markdown(_columns(rows)))
    severity = dg.AssetCheckSeverity.WARN
    if name == "no_file_stuck":
        severity = dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        passed=not number, asset_key=KEY, check_name=name, severity=severity, metadata=told
    )


def _columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in _SHOWN if name in row} for row in rows]


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table; whatever the cells say, it is shown as text."""
    if not rows:
        return "none"
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or value == "---":
        return value or ""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value)[:300])
    return "".join(f"\\{c}" if c in "\\`*_[]|!#~" else _HTML.get(c, c) for c in text)


_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _instant(value: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
