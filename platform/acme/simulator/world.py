"""The mine itself: its calendar, its size, its places, its machines. No rows and no files."""

import math
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.int64]
HOUR, SHIFT, DAY = 3600, 43_200, 86_400

PITS = ("north", "south")
BENCHES = tuple(range(2720, 2880, 16))
SECTORS = tuple(f"{side}{number}" for side in "NESW" for number in (1, 2, 3))
MATERIALS = ("ore", "low_grade", "waste")
DUMPS = {"ore": ("CR-01", "CR-02"), "low_grade": ("SP-01", "SP-02"), "waste": ("WD-01", "WD-02")}
CRUSHERS = DUMPS["ore"]
CREWS = ("A", "B", "C", "D")
RATED_PAYLOAD_T = {"785C": 136.0, "789": 177.0, "793F": 220.0}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A mine of a seed and a scale. Every other module derives what it makes from this alone."""

    seed: int = 7
    scale: float = 1.0

    @property
    def end(self) -> datetime:
        """The instant at which history ends and the first tick begins."""
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=self.seed % 7)

    @property
    def start(self) -> datetime:
        """The instant at which history begins."""
        return self.end - timedelta(days=self.days)

    @property
    def days(self) -> int:
        """A larger mine is both older and bigger, so that each truck keeps a plausible day."""
        return max(2, round(30 * (self.scale if self.scale < 1 else math.sqrt(self.scale))))

    @property
    def start_s(self) -> int:
        """``start`` in seconds since 1970."""
        return int(self.start.timestamp())

    @property
    def end_s(self) -> int:
        """``end`` in seconds since 1970."""
        return int(self.end.timestamp())

    def after(self, ticks: int) -> datetime:
        """The simulated instant once ``ticks`` hours were lived."""
        return self.end + timedelta(hours=ticks)

    def rng(self, *story: str | int) -> np.random.Generator:
        """Chance for one story; what another story draws never changes it."""
        name = "/".join(map(str, story)).encode()
        return np.random.default_rng([self.seed, zlib.crc32(name)])

    @cached_property
    def trucks(self) -> "Trucks":
        """The haul fleet, three classes in turn."""
        count = round(20 * max(1.0, math.sqrt(self.scale)))
        models = [tuple(RATED_PAYLOAD_T)[i % 3] for i in range(count)]
        return Trucks(
            ids=tuple(f"HT-{i + 1:03d}" for i in range(count)),
            models=tuple(models),
            rated_t=np.array([RATED_PAYLOAD_T[model] for model in models]),
        )

    @cached_property
    def loaders(self) -> tuple[str, ...]:
        """Shovels: about one for five trucks."""
        return tuple(f"SH-{i + 1:02d}" for i in range(max(4, len(self.trucks.ids) // 5)))

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Blocks of ore and waste, named pit, bench, number."""
        return tuple(
            f"{p[0].upper()}-{b}-{n:03d}" for p in PITS for b in BENCHES for n in range(24)
        )


@dataclass(frozen=True)
class Trucks:
    """The haul trucks as columns; a truck is its index."""

    ids: tuple[str, ...]
    models: tuple[str, ...]
    rated_t: npt.NDArray[np.float64]


def instant(seconds: float) -> datetime:
    """Seconds since 1970 as an instant."""
    return _EPOCH + timedelta(seconds=float(seconds))
