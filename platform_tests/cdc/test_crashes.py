"""(5) Killed at any step between peek, land, commit and advance: each change once, none lost.

The product's slot on a server and a platform in memory; ``make faults`` kills real processes.
"""

from collections import Counter

from hypothesis import strategies as st
from platform_tests.cdc.histories import FEWER, seeds, tried
from platform_tests.cdc.slots_in_memory import (
    ids,
    lived,
    state_of_log,
    whole_tables,
)


def killed_anywhere(seed: int, length: int) -> None:
    with whole_tables():
        server, platform = lived(seed, length)
    for name, log in platform.logs.items():
        assert state_of_log(log) == server.rows[name], name
        twice = [one for one, times in Counter(ids(log)).items() if times > 1]
        assert twice == [], name


DRAWN = {"seed": seeds, "length": st.integers(1, 14)}
test_a_worker_killed_at_any_step_loses_and_doubles_no_change = tried(
    killed_anywhere, fewer=FEWER, **DRAWN
)
