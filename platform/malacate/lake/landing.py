"""A landing: one batch as immutable Parquet, complete once its manifest exists."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from malacate.ledger.work import Found, Kind


@dataclass(frozen=True)
class Part:
    """A Parquet file of the lake: its path there, its rows, its bytes."""

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Landing:
    """All of one batch. ``rows_read = rows + rows_quarantined``, always.

    The fields up to ``hi`` are those of the batch as it was found, so that ledger and warehouse
    can be rebuilt from manifests alone. ``source_rows`` is the source's own count.
    """

    batch_id: str
    schema: str
    table: str
    source: str
    kind: Kind
    object: str
    version: str
    ordinal: int
    size: int | None
    lo: str | None
    hi: str | None
    mode: str
    rows_read: int
    rows: int
    rows_quarantined: int
    parts: tuple[Part, ...]
    quarantine: Part | None = None
    keys: Part | None = None
    source_rows: int | None = None
    sha256: str = ""
    evolutions: tuple[dict[str, str], ...] = ()
    contract_version: str = ""
    modified_ns: int | None = None
    promise: str | None = None

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """Its rows, and what was kept beside them."""
        return (*self.parts, *(part for part in (self.quarantine, self.keys) if part))

    @property
    def found(self) -> Found:
        """The batch as it was found."""
        return Found(**{name: getattr(self, name) for name in Found.__dataclass_fields__})

    def to_json(self) -> bytes:
        """The manifest."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Landing":
        """Read a manifest back."""
        data: dict[str, Any] = json.loads(text)
        for name in ("quarantine", "keys"):
            data[name] = Part(**data[name]) if data[name] else None
        data["parts"] = tuple(Part(**part) for part in data["parts"])
        data["evolutions"] = tuple(data["evolutions"])
        return cls(**data)
