"""Dagster resources: the platform that assets, sensors and IO managers work on."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from malacate.ingest import Ingest
from malacate.orchestration.cost import Spender
from malacate.orchestration.target import Target, chosen


class Platform(dg.ConfigurableResource[None]):
    """Lake, warehouse and ledger of the chosen target; ``targets`` is the file that names them."""

    targets: str

    @property
    def target(self) -> Target:
        """What ``MALACATE_TARGET`` chooses."""
        return chosen(Path(self.targets))

    def ingest(
        self,
        progress: Callable[[str, int], None] | None = None,
        spender: Spender | None = None,
    ) -> Ingest:
        """The one path, opened; ``spender`` pays for what its warehouse is asked."""
        return self.target.open(progress, spender)
