"""Changes that a SQL Server stand-in has lost, each by its own cause: told, and made up for."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platform_tests.faults.cases import Case
from platform_tests.faults.cdc_sqlserver import INSTANCE, equal, installed, trucks
from platform_tests.faults.processes import told
from platform_tests.faults.verdict import Verdict
from platform_tests.sources.sqlserver_standin import TRUCK, Trucks, move, put, remove

from acme.simulator.sqlserver import SqlServer
from malacate.errors import SourceGap

Cause = Callable[[Trucks], SqlServer]


def cleaned_up(one: Trucks) -> SqlServer:
    """The cleanup job passes what was not read."""
    one.server.run(put(2, "lost"))
    one.server.tick()
    one.server.cleanup(INSTANCE)
    return one.server


def instance_dropped(one: Trucks) -> SqlServer:
    """With what only it had, and another one takes its name."""
    one.server.disable(INSTANCE)
    one.server.run(put(2, "lost"))
    one.server.enable(TRUCK, INSTANCE)
    one.server.tick()
    return one.server


def restored_behind(one: Trucks) -> SqlServer:
    """A server that knows nothing of what was read last."""
    return installed()


def accepted(error: SourceGap, settings: dict[str, Any], one: Trucks) -> None:
    """The line that the error gives for defs.yaml."""
    found = re.search(r"accept_gap_at: '(\d+)'", error.advice)
    assert found, error.advice
    settings["accept_gap_at"] = found[1]


def under_a_new_name(error: SourceGap, settings: dict[str, Any], one: Trucks) -> None:
    """As the error says; a platform of its own stands for the new source."""
    assert "new source name" in error.advice, error.advice
    one.home.root.joinpath("anew").mkdir()


def gap(
    cause: str, provoke: Cause, reason: str, plan: Callable[..., None], mutant: str = ""
) -> Case:
    """One cause."""

    def history(root: Path) -> Verdict:
        this, one = Verdict(injected=1), trucks(root, installed())
        one.load()
        one.server.run(put(20, "read"), remove(3), put(4, "read"))
        one.catch_up()
        one.server.run(remove(5), put(6, "lost"), move(7, 70))
        one.server.tick()
        now = provoke(one)
        settings: dict[str, Any] = {}
        before = one.position, one.state(), len(one.log())
        again = trucks(root, now)
        try:
            again.load()
        except SourceGap as error:
            _is_told_well(error, reason, this)
            if (again.position, again.state(), len(again.log())) != before:
                this.problems.append("something was published over the gap")
            plan(error, settings, one)
        else:
            this.problems.append("changes were lost, and nobody was told")
            return this
        home = root / "anew" if (root / "anew").exists() else root
        last = trucks(home, now, **settings)
        last.load()
        now.run(put(8, "after"), remove(9))
        last.catch_up()
        equal(last, this)
        return this

    return Case(f"gap, {cause}", lambda root: told(root, lambda: history(root), mutant), cause)


def _is_told_well(error: SourceGap, reason: str, this: Verdict) -> None:
    facts = {"table": error.source == "raw_erp.truck", "instance": INSTANCE in error.actual,
             "position": error.position.startswith("0x"), "plan": bool(error.advice)}  # fmt: skip
    if lacking := [name for name, is_there in facts.items() if not is_there]:
        this.problems.append(f"the error does not name {', '.join(lacking)}: {error}")
    if error.reason != reason:
        this.problems.append(f"told as {error.reason}, expected {reason}: {error}")


def gap_cases(mutant: str = "") -> list[Case]:
    """Each by its own cause."""
    return [
        gap("SQL Server cleaned up", cleaned_up, "gap", accepted, mutant),
        gap("SQL Server's instance dropped", instance_dropped, "gap", accepted, mutant),
        gap("SQL Server restored behind", restored_behind, "log_behind_position",
            under_a_new_name, mutant),
    ]  # fmt: skip
