"""What statements cost: estimated before they are run, held against a budget, noted afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from malacate.errors import OutOfBudget

TIB = 1024**4
LIST_PRICE = 6.25
"""USD per TiB that a statement has billed, on demand."""


@dataclass(frozen=True)
class Estimate:
    """What a dry run told: ``bytes`` is ``None`` if nothing, ``accuracy`` is BigQuery's own word.

    That of a script may be a bound only: see ``Jobs.estimate``.
    """

    bytes: int | None = None
    accuracy: str = "UNKNOWN"


@dataclass(frozen=True)
class Terms:
    """The bytes that a run of an asset may have billed (``None``: any number), and their price."""

    budget: int | None = None
    usd_per_tib: float = LIST_PRICE

    def usd(self, size: int) -> float:
        """The price of ``size`` bytes."""
        return size / TIB * self.usd_per_tib


@dataclass(frozen=True)
class Spent:
    """One statement; ``bytes_billed`` is ``None`` until it is known what was billed for it."""

    job_id: str
    kind: str
    url: str = ""
    bytes_estimated: int | None = None
    accuracy: str = "UNKNOWN"
    bytes_billed: int | None = None
    slot_ms: int | None = None
    usd: float | None = None

    @property
    def counted(self) -> int:
        """What it takes from the budget: what was billed, or else what was estimated."""
        return (self.bytes_estimated or 0) if self.bytes_billed is None else self.bytes_billed


@dataclass
class Meter:
    """Holds the statements of one run of ``asset`` against its budget.

    ``note`` keeps each one, before it is run and when it has ended: a statement that a worker died
    on is counted by its estimate. ``before`` tells what earlier attempts of the run have spent.
    """

    asset: str
    terms: Terms = Terms()
    note: Callable[[Spent], None] = lambda spent: None
    before: Callable[[], int] = lambda: 0
    _spent: dict[str, Spent] = field(default_factory=dict)

    def begin(self, spent: Spent) -> None:
        """A statement is about to be run. Raises ``OutOfBudget`` if it would cost too much."""
        if self.left is not None and (spent.bytes_estimated or 0) > self.left:
            raise self.over(spent)
        self._keep(spent)

    def end(self, spent: Spent) -> None:
        """A statement has ended; its bytes are known."""
        usd = self.terms.usd(spent.bytes_billed) if spent.bytes_billed is not None else None
        self._keep(replace(spent, usd=usd))

    @property
    def left(self) -> int | None:
        """What may still be billed; ``None`` without a budget."""
        if self.terms.budget is None:
            return None
        return max(0, self.terms.budget - self._total)

    def over(self, spent: Spent, said: str = "") -> OutOfBudget:
        """What is told of a statement that passes the budget."""
        told = f"{size(spent.bytes_estimated)} ({spent.accuracy.lower()}) for a {spent.kind}"
        price = f"USD {self.terms.usd(spent.bytes_estimated or 0):.4f}"
        return OutOfBudget(
            "a statement would cost more than its asset may spend in a run; it was not run",
            "Prune it by the table's partitions, or raise the asset's budget in targets.yaml.",
            source=self.asset,
            object=spent.job_id,
            expected=f"at most {size(self.terms.budget)} a run, {size(self._total)} are spent",
            actual=f"{told}, {price} at {self.terms.usd_per_tib} a TiB{said and f': {said}'}",
            reason="over_budget",
        )

    @cached_property
    def _earlier(self) -> int:
        return self.before()

    @property
    def _total(self) -> int:
        return self._earlier + sum(spent.counted for spent in self._spent.values())

    def _keep(self, spent: Spent) -> None:
        _ = self._earlier  # asked before the first note, which it would hold
        self._spent[spent.job_id] = spent
        self.note(spent)


def size(number: int | None) -> str:
    """Bytes as people read them, in powers of 1000."""
    if number is None:
        return "an unknown number of bytes"
    power = min(5, (len(str(number)) - 1) // 3)
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
