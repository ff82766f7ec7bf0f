"""What is told at once: one alarm, or those of a storm.

A blast, or a truck, is one root cause for as many sensors as feel it. What they open of one rule,
at one site, within a short time, is one message: how many they are, the worst, and each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from malacate.alarms.rules import SECOND, instant

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """Alarms with their incidents, the worst first. What is told again has the same ``key``."""

    key: str
    alarms: tuple[Row, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Message":
        """The message of rows that were taken together."""
        worst_first = sorted(rows, key=lambda row: (-_excess(row), row["opened_us"], row["key"]))
        return cls(rows[0]["message"], tuple(worst_first))

    @property
    def text(self) -> str:
        """In words."""
        worst, *others = self.alarms
        if not others:
            return str(worst["told"])
        opened = sorted(row["opened_us"] for row in self.alarms)
        subjects = sorted({row["subject"] for row in self.alarms})
        also = ", ".join(name for name in subjects if name != worst["subject"])
        return (
            f"{worst['rule']}: {len(subjects)} sensors within "
            f"{(opened[-1] - opened[0]) / SECOND:.0f} s from {instant(opened[0])}; the worst is "
            f"{worst['told']} Also: {also}."
        )

    @property
    def payload(self) -> dict[str, Any]:
        """What a webhook is sent: of the worst, and below ``incidents`` of each."""
        worst = self.alarms[0]
        return {
            **_told(worst),
            "key": self.key,
            "table": f"raw/{worst['watch']}",
            "rule": worst["rule"],
            "text": self.text,
            "incidents": [_told(row) for row in self.alarms],
        }


def _told(row: Row) -> dict[str, Any]:
    told = {key: row[key] for key in ("key", "subject")}
    told["opened_at"] = instant(row["opened_us"])
    if row["unit"]:
        told |= {"value": row["value"], "limit": row["bound"], "unit": row["unit"]}
    return told


def _excess(row: Row) -> float:
    """How far beyond its limit, as a share of it."""
    return abs(row["value"] - row["bound"]) / row["bound"] if row["bound"] else 0.0
