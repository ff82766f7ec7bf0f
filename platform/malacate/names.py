"""Identifiers: asset key <-> table, quoting, which names are legal. No SQL statements here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from malacate.errors import ConfigError

LEGAL = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""What a source, a table or a column may be called in YAML and in the warehouse."""

LAYER = re.compile(r"[a-z][a-z0-9]{0,30}")
"""The first part of an asset key; without underscores, so that the mapping stays one to one."""


def legal(name: str, what: str) -> str:
    """``name`` itself, or a ``ConfigError`` that proposes a legal one."""
    if LEGAL.fullmatch(name):
        return name
    proposal = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "name"
    proposal = proposal[:63] if proposal[0].isalpha() else f"n{proposal}"[:63]
    raise ConfigError(
        f"{what} {name!r} is not a legal name",
        f"Use lower-case letters, digits and underscores, for example {proposal!r}.",
        expected=LEGAL.pattern,
        reason="illegal_name",
    )


@dataclass(frozen=True, order=True)
class TableName:
    """A table of the warehouse: ``raw/crm/account`` is ``raw_crm.account``."""

    schema: str
    table: str

    @classmethod
    def of(cls, key: Sequence[str]) -> "TableName":
        """The table of an asset key of two or three parts; no two keys share one.

        Raises ``ConfigError`` for a key that is longer, or has an illegal part.
        """
        if not 2 <= len(key) <= 3 or not LAYER.fullmatch(key[0]):
            raise ConfigError(
                f"asset key {'/'.join(key)!r} has no table",
                "Name it layer/table or layer/source/table, the layer without underscores.",
                reason="illegal_key",
            )
        for part in key[1:]:
            legal(part, "part of an asset key")
        return cls("_".join(key[:-1]), key[-1])

    @property
    def key(self) -> tuple[str, ...]:
        """The asset key that ``of`` was given."""
        return (*self.schema.split("_", 1), self.table)

    def sql(self, dialect: str) -> str:
        """Quoted for ``dialect``."""
        return exp.table_(self.table, db=self.schema, quoted=True).sql(dialect=dialect)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


def quote(identifier: str, dialect: str) -> str:
    """One identifier, quoted for ``dialect`` whatever characters it has."""
    return exp.to_identifier(identifier, quoted=True).sql(dialect=dialect)
