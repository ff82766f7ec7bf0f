"""When assets are made by the clock. What they are made of may lie outside, where no event tells
that it changed: a condition that waits for such an event would wait for ever.
"""

from typing import Any

import dagster as dg


def by_cron(cron: str) -> dg.AutomationCondition[Any]:
    """At each tick of ``cron`` (UTC), whatever became of what the asset is made of.

    Raises ``Exception`` of Dagster's for what is no cron expression.
    """
    passed: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed(cron)
    latest: dg.AutomationCondition[Any] = dg.AutomationCondition.in_latest_time_window()
    return (latest & passed.since_last_handled()).with_label(f"by_cron({cron})")
