"""Objects of one bucket, or folder, copied to another."""

import dagster as dg
from pydantic import Field

from malacate.components.file_drops import LookOf
from malacate.orchestration.stores import store
from malacate.orchestration.transfers import transferred
from malacate.sources.discovery import Discovery
from malacate.sources.selection import Selection
from malacate.transfer import SOURCE
from malacate.transfer import Transfer as Copies


class Transfer(dg.Component, dg.Model, dg.Resolvable):
    """Copies the objects of ``origin`` that match ``files`` to ``target``, each version once.

    Both are folders or ``s3://``, ``gs://``, ``az://`` URLs. A manifest at the target says what
    arrived, with checksums; every copy was read back for it.
    """

    name: str
    origin: str
    target: str
    files: list[str] = Field(min_length=1)
    settle_seconds: float = Field(0.0, ge=0)
    look: LookOf = LookOf()
    interval_seconds: int = 60

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset and its sensor."""
        chosen = Selection(store(self.origin), tuple(self.files), self.settle_seconds)
        every = 3600 * self.look.reconcile_hours
        found = Discovery(chosen, SOURCE, self.name, self.look.plan(), every)
        return transferred(self.name, Copies(found, store(self.target)), self.interval_seconds)
