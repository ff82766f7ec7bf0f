"""Limits of peak particle velocity by frequency, as a table of bands that somebody can check.

They are limits of standards that protect buildings. None of them says whether a slope stands.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt

from malacate.errors import ConfigError

Floats = npt.NDArray[np.float64]

COLUMNS = ("standard", "protects", "from_hz", "to_hz", "from_mm_s", "to_mm_s", "source")
"""Of a file of limits. Between the ends of a band the limit is a straight line; a band without
``to_hz`` has no upper end. A frequency in no band has no limit.
"""


@dataclass(frozen=True)
class Band:
    """From ``from_hz`` on, up to but without ``to_hz``."""

    from_hz: float
    to_hz: float
    from_mm_s: float
    to_mm_s: float


@dataclass(frozen=True)
class Limits:
    """One standard's limits for one kind of building."""

    standard: str
    protects: str
    bands: tuple[Band, ...]

    def at(self, hz: Floats) -> Floats:
        """The limit in mm/s at each frequency; NaN where the standard has none."""
        found = np.full(len(hz), np.nan)
        for band in self.bands:
            here = (hz >= band.from_hz) & (hz < band.to_hz)
            found[here] = band.from_mm_s + (hz[here] - band.from_hz) * _slope(band)
        return found


def _slope(band: Band) -> float:
    return (band.to_mm_s - band.from_mm_s) / (band.to_hz - band.from_hz)


def read_limits(path: Path) -> dict[str, Limits]:
    """The standards of a file of limits, by name; raise ``ConfigError`` for one that is unsound."""
    rows = csv.DictReader(StringIO(_text(path), newline=""))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise _unsound(path, 1, ",".join(COLUMNS), ",".join(rows.fieldnames or ()))
    bands, protects = defaultdict[str, list[Band]](list), dict[str, str]()
    for row in rows:
        bands[row["standard"]].append(_band(path, rows.line_num, row))
        protects[row["standard"]] = row["protects"]
    for name, some in bands.items():
        _require_apart(path, name, some)
    return {name: Limits(name, protects[name], tuple(some)) for name, some in bands.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a table of limits cannot be read",
            "Correct `limits`, or write the file there: a path is relative to the declaration.",
            object=str(path),
            expected="a CSV file in UTF-8",
            actual=type(error).__name__,
            reason="unsound_limits",
        ) from error


def _band(path: Path, line: int, row: dict[str, str]) -> Band:
    numbers = []
    for name in COLUMNS[2:6]:
        text = row[name] or ("inf" if name == "to_hz" else "")
        try:
            numbers.append(float(text))
        except ValueError:
            raise _unsound(path, line, f"a number in {name}", repr(text)) from None
    band = Band(*numbers)
    is_open = band.to_hz == inf and band.from_mm_s == band.to_mm_s
    sound = 0 <= band.from_hz < band.to_hz and all(
        0 < limit < inf for limit in (band.from_mm_s, band.to_mm_s)
    )
    if not sound or not (isfinite(band.to_hz) or is_open):
        raise _unsound(path, line, "a band that rises, with finite limits above 0", str(row))
    if not row["source"]:
        raise _unsound(path, line, "the source of a limit", "none")
    return band


def _require_apart(path: Path, name: str, bands: Sequence[Band]) -> None:
    for lower, upper in pairwise(sorted(bands, key=lambda band: band.from_hz)):
        if lower.to_hz > upper.from_hz:
            raise _unsound(path, 0, f"bands of {name} that do not overlap", f"{lower}, {upper}")


def _unsound(path: Path, line: int, expected: str, actual: str) -> ConfigError:
    return ConfigError(
        "a table of limits is unsound",
        "Correct it: a limit nobody can check is worse than none.",
        object=f"{path}:{line}" if line else str(path),
        expected=expected,
        actual=actual,
        reason="unsound_limits",
    )
