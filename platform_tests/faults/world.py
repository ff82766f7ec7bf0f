"""The small world: drops, a database and a change log on disk, and the model of what they hold."""

import base64
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ACTS = 3
"""A world changes between acts: overwrites, updates, deletes, late and repeated changes."""

ODD_NAME = "ñ o%2F;'\n.csv"

Rows = list[list[Any]]


class World:
    """A folder with everything in it; ``model.json`` says what was put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for kind in ("weighing", "truck", "part"):
            (root / "drops" / kind).mkdir(parents=True, exist_ok=True)
        file = root / "model.json"
        empty: dict[str, Any] = {"act": 0, "files": {}, "lsn": 0, "purchase": [], "stock": []}
        self.model = json.loads(file.read_text()) if file.exists() else empty

    @property
    def act(self) -> int:
        return int(self.model["act"])

    def perform(self, act: int) -> None:
        """Let ``act`` happen, once."""
        if act > self.act:
            (_first, _second, _third)[act - 1](self)
            self.model["act"] = act
            self.save()

    def save(self) -> None:
        """The database at the source and the model are one file, so they cannot disagree."""
        _replace(self.root / "model.json", json.dumps(self.model).encode())

    def drop(self, path: str, rows: Rows | None, raw: bytes | None = None) -> None:
        """Put a file into a drop folder, over an older one if there is one."""
        kind = path.partition("/")[0]
        header = HEADERS[kind] if kind != "truck" or self.act == 0 else HEADERS["truck_2"]
        content = raw if raw is not None else as_csv(header, rows or [])
        _replace(self.root / "drops" / path, content)
        kept = base64.b64encode(content).decode()
        self.model["files"][path] = {"rows": rows, "raw": kept}

    def remove(self, path: str) -> None:
        """The producer takes a file away; what it held is still expected."""
        (self.root / "drops" / path).unlink(missing_ok=True)

    def change(self, purchase: Rows, stock: Rows) -> None:
        """A commit at the source database."""
        self.model["lsn"] += 1
        self.model["purchase"], self.model["stock"] = purchase, stock


HEADERS = {
    "weighing": ["id", "truck", "tonnes"],
    "truck": ["id", "name"],
    "truck_2": ["id", "color", "name"],
    "part": ["id", "name", "_op", "_is_key_change", "_position_hi", "_position_lo", "_seq",
             "_is_snapshot", "_source_at", "_read_at", "_event_id", "_file", "_file_row",
             "_missing"],
}  # fmt: skip


def as_csv(header: Iterable[str], rows: Rows) -> bytes:
    lines = [",".join(header), *(",".join(map(_cell, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, as a well-behaved producer does it."""
    aside = path.parent / f".{secrets.token_hex(4)}.tmp"
    aside.write_bytes(content)
    os.replace(aside, path)  # noqa: PTH105


def event(key: int, name: str | None, op: str, position: int, snapshot: bool = False) -> list[Any]:
    """A row of the change log."""
    at = f"2026-01-01T00:00:{position % 60:02d}Z"
    where = [position, 0, 0, snapshot, at, at, f"e{position}-{key}"]
    return [key, name, op, False, *where, "log", position, None]


def _first(world: World) -> None:
    world.drop("weighing/a.csv", [[1, "t1", 10.5], [2, "t2", 20.25], [3, "t1", 30.0]])
    world.drop(f"weighing/{ODD_NAME}", [[4, "t3", 1.5], [5, "t3", 2.5]])
    world.drop(
        "weighing/bad_rows.csv",
        [[6, "t1", 3.5], [7, "t1", 999.0], [8, "t2", -1.0], [9, "t2", 4.5]],
    )
    world.drop("weighing/broken.csv", None, b"id,truck,tonnes\n10,\xff\xfe,1.0\n")
    world.drop("weighing/empty.csv", None, b"")
    world.drop("weighing/header only.csv", [])
    world.drop("weighing/again.csv", [[11, "t1", 5.0], [12, "t1", 6.0], [13, "t1", 7.0]])
    world.drop("truck/t1.csv", [[1, "Ana"], [2, "Bo"]])
    log = [event(1, "bolt", "R", 0, True), event(2, "nut", "I", 5), event(3, "gear", "I", 6)]
    world.drop("part/p1.csv", log)
    rows = [[1, 10, "a"], [2, 11, "b"], [3, 12, "c"], [4, 13, "d"]]
    world.change(rows, [[1, 100], [2, 200], [3, 300]])


def _second(world: World) -> None:
    world.drop("weighing/again.csv", [[11, "t1", 5.5], [12, "t1", 6.0]])
    world.drop("weighing/late.csv", [[14, "t4", 8.0], [15, "t4", 9.0]])
    world.drop("weighing/broken.csv", None, b"id,truck,tonnes\n10,\xff,1.0\n")
    world.drop("weighing/broken too.csv", None, b"id,truck,tonnes\n10,\xfe,1.0\n")
    world.drop("truck/t2.csv", [[3, "red", "Cy"], [4, None, "Di"]])
    log = [event(2, "nut M8", "U", 9), event(3, None, "D", 10), event(2, "nut", "I", 5)]
    world.drop("part/p2.csv", log)
    rows = [[1, 10, "a"], [2, 20, "b2"], [4, 13, "d"], [5, 21, "e"]]
    world.change(rows, [[1, 101], [2, 200]])


def _third(world: World) -> None:
    world.drop("weighing/bad_rows.csv", [[6, "t1", 3.5], [7, "t1", 99.0], [8, "t2", -1.0]])
    world.drop("part/p3.csv", [event(2, "nut M6", "U", 7), event(1, "bolt M4", "U", 4)])
    world.drop("part/p4.csv", [event(4, "axle", "I", 12), event(3, "gear 2", "I", 11)])
    rows = [[2, 20, "b2"], [4, 30, "d3"], [5, 21, "e"], [6, 31, "f"]]
    world.change(rows, [[2, 201], [4, 400]])
