"""Hours as small pictures: SVG that the UI shows within markdown, of 20 kB at most."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate

from malacate.warehouse.hour_states import HourStands, SpectrumStands

WIDE = 12
"""Of an hour, in pixels."""
MARKS = 1000
"""Bars in a picture of spectra, at most."""
_COLORS = ("#4f6bed", "#b9c4f5", "#8fd3c1", "#f2c879", "#d9a5d3", "#9aa0a6")
_LINE = "#c0392b"


def plot(hours: Sequence[HourStands]) -> str:
    """A bar for the completeness of each hour, and a line of its PPV."""
    tall, most = 120, max((one.ppv_mm_s or 0.0 for one in hours), default=0.0) or 1.0
    bars, line = [], []
    for place, one in enumerate(hours):
        x, share = WIDE * place, min(1.0, one.readings / max(1, one.expected_readings))
        bars.append(
            f'<rect x="{x}" y="{tall * (1 - share):.1f}" width="{WIDE - 2}" '
            f'height="{tall * share:.1f}" fill="#b9c4f5"/>'
        )
        line.append(f"{x + WIDE / 2 - 1:.1f},{tall * (1 - (one.ppv_mm_s or 0.0) / most):.1f}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE * len(hours)}" height="{tall}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(bars)}'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="{_LINE}" stroke-width="2"/></svg>'
    )


def plot_spectra(hours: Sequence[SpectrumStands], highest_hz: float) -> str:
    """Of each axis a bar for each hour, divided as its energy is among the bands, and a line of the
    dominant frequency; of many bands fewer hours, the newest.
    """
    energy = hours[-1].energy
    bands = list(dict.fromkeys(band for of in energy.values() for band in of))
    shown = hours[-max(1, MARKS // max(1, len(energy) * len(bands))) :]
    tall = 60
    panels = [
        f'<g transform="translate(0 {place * (tall + 20) + 14})">'
        f'<text y="-3">{escape(axis)}</text>{_bars(shown, axis, bands, tall)}'
        f"{_line([one.dominant_hz[axis] for one in shown], highest_hz, tall)}</g>"
        for place, axis in enumerate(energy)
    ]
    wide, high = max(WIDE * len(shown), 240), (tall + 20) * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high + 20}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'{"".join(panels)}<text y="{high + 14}">{_legend(bands)}</text></svg>'
    )


def _bars(hours: Sequence[SpectrumStands], axis: str, bands: Sequence[str], tall: int) -> str:
    tops = [_tops(one.energy[axis], bands, tall) for one in hours]
    return "".join(
        f'<path stroke="{_color(place)}" stroke-width="{WIDE - 2}" d="{_strokes(tops, place)}"/>'
        for place in range(len(bands))
    )


def _tops(energy: Mapping[str, float | None], bands: Sequence[str], tall: int) -> list[int]:
    """Where each band begins and ends, from the bottom; nothing of an hour without energy."""
    parts = [energy.get(band) or 0.0 for band in bands]
    whole = sum(parts)
    return (
        [round(tall * (1 - part / whole)) for part in accumulate(parts, initial=0.0)]
        if whole > 0
        else []
    )


def _strokes(tops: Sequence[Sequence[int]], place: int) -> str:
    return "".join(
        f"M{WIDE * hour + WIDE // 2 - 1} {of[place]}V{of[place + 1]}"
        for hour, of in enumerate(tops)
        if of
    )


def _line(values: Sequence[float | None], most: float, tall: int) -> str:
    """Broken where an hour has no value; an hour alone is a dot."""
    steps, is_on = [], False
    for hour, value in enumerate(values):
        if value is not None:
            at = f"{WIDE * hour + WIDE // 2 - 1} {tall * (1 - min(1.0, value / most)):.0f}"
            steps.append(f"L{at}" if is_on else f"M{at}h1")
        is_on = value is not None
    return f'<path d="{"".join(steps)}" fill="none" stroke="{_LINE}" stroke-width="2"/>'


def _legend(bands: Sequence[str]) -> str:
    return "".join(
        f'<tspan fill="{_color(place)}">\u25a0 </tspan>{escape(band)} \u00a0'
        for place, band in enumerate(bands)
    )


def _color(place: int) -> str:
    return _COLORS[place % len(_COLORS)]
