"""When assets are made by the clock. What they are made of may lie outside, where no event tells
that it changed: a condition that waits for such an event would wait for ever.
"""

from typing import Any

import dagster as dg


def by_cron(cron: str) -> dg.AutomationCondition[Any]:
    """At each tick of ``cron`` (UTC), whatever became of what the asset is made of.

    Raises ``Exception`` of Dagster's for what is no cron expression.
    """
    passed = dg.AutomationCondition.cron_tick_passed(cron).since_last_handled()
    return (dg.AutomationCondition.in_latest_time_window() & passed).with_label(f"by_cron({cron})")
