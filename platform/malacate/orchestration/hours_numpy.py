"""Hours that the run itself computes: statistics and spectra of samples, in this process."""

from typing import Any

import dagster as dg

from malacate.hours.in_process import in_this_process
from malacate.lake.lake import Lake
from malacate.sources.hours import Launch
from malacate.warehouse.hourly import HourlyStats


class Numpy:
    """See ``Engine``."""

    kind = "numpy"

    def require_sound(self, stats: HourlyStats) -> None:
        """It takes whatever ``HourlyStats`` is."""

    def launch(
        self, context: dg.AssetExecutionContext, lake: Lake, told: list[dict[str, Any]]
    ) -> Launch:
        """See ``Engine``."""
        return in_this_process(lake, told)
