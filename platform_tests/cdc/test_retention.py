"""(6, 7) Changes that a cleanup took before they were read are told, of each table by itself."""

import random
from collections.abc import Iterator

from hypothesis import strategies as st
from platform_tests.cdc.histories import seeds, tried
from platform_tests.cdc.model import Step
from platform_tests.cdc.sqlserver_in_memory import (
    SHIFT,
    TRUCK,
    Reader,
    Server,
    catch_up,
    steps_of,
)

from malacate.errors import SourceGap


class History:
    """Two tables of a server, and whose changes were lost."""

    def __init__(self, seed: int, length: int) -> None:
        self.choose = random.Random(seed)
        self.server, most = Server(), self.choose.choice([1, 2, 100])
        self.readers = [Reader(self.server, one, most) for one in (TRUCK, SHIFT)]
        self.lost: set[str] = set()
        self.steps: dict[str, Iterator[Step]] = {}
        for reader in self.readers:
            name = str(reader.table.physical_name)
            self.steps[name] = steps_of(self.choose, length)
            self.server.enable(name)
            reader.load()

    def write(self, name: str) -> None:
        some = [next(self.steps[name], None) for _ in range(self.choose.randrange(1, 3))]
        if steps := [step for step in some if step is not None]:
            self.server.commit(name, steps)

    def any_cleanup(self) -> None:
        """Of one instance alone, up to anywhere."""
        one = self.choose.choice(self.server.instances)
        before = {str(r.table.physical_name): r.unread for r in self.readers}
        self.server.cleanup(one, self.choose.randint(one.begins, self.server.newest))
        for reader in self.readers:
            name = str(reader.table.physical_name)
            if reader.unread < before[name]:
                self.lost.add(name)

    def second_instance(self) -> None:
        name = self.choose.choice([*self.steps])
        if len(self.server.of(name)) < 2:
            self.server.enable(name)

    def load(self, reader: Reader) -> None:
        name, is_whole = str(reader.table.physical_name), reader.reach <= int(reader.position or 0)
        try:
            reader.load()
            assert name not in self.lost, f"changes of {name} were lost, and nobody was told"
        except SourceGap as gap:
            if is_whole or gap.reason != "gap" or gap.object != name:
                raise AssertionError(f"nothing of {name} is lost") from gap
            reader.gaps += 1
            reader.accepted, self.lost = str(reader.position), self.lost - {name}
            reader.load()

    def end(self) -> None:
        for reader in self.readers:
            self.load(reader)
            catch_up(reader)
            assert reader.state() == self.server.rows.get(str(reader.table.physical_name), {})


def a_cleanup_of_one_instance(seed: int, length: int) -> None:
    history = History(seed, length)
    for _ in range(2 * length):
        what = history.choose.random()
        if what < 0.4:
            history.write(history.choose.choice([*history.steps]))
        elif what < 0.6:
            history.any_cleanup()
        elif what < 0.65:
            history.second_instance()
        elif what < 0.7:
            history.server.tick()
        else:
            history.load(history.choose.choice(history.readers))
    history.end()


def a_quiet_table(seed: int, length: int) -> None:
    """Only the first table is written to; cleanup takes what both were polled for, and no more."""
    history = History(seed, length)
    busy, quiet = history.readers
    for _ in range(length):
        if history.choose.random() < 0.7:
            history.write(str(busy.table.physical_name))
        else:
            history.server.tick()
        edge = history.server.newest
        for reader in history.readers:
            polled(reader)
        for one in history.server.instances:
            if history.choose.random() < 0.6:
                history.server.cleanup(one, edge)
    assert quiet.state() == {}
    history.end()
    assert (busy.gaps, quiet.gaps) == (0, 0)


def polled(reader: Reader) -> None:
    try:
        catch_up(reader)
    except SourceGap as gap:
        raise AssertionError(f"nothing of {reader.table.name} is lost") from gap


DRAWN = {"seed": seeds, "length": st.integers(1, 14)}
test_what_a_cleanup_of_one_instance_lost_is_told_of_its_table_alone = tried(
    a_cleanup_of_one_instance, **DRAWN
)
test_a_quiet_table_that_is_cleaned_up_behind_what_was_polled_has_no_gap = tried(
    a_quiet_table, **DRAWN
)
