"""What the UI shows of a table of hours: counts, lateness, sensors by state, and pictures."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from malacate.contracts.table import Table
from malacate.errors import OutOfBudget
from malacate.ingest import Report
from malacate.orchestration.control import markdown
from malacate.orchestration.hours_plots import plot, plot_spectra
from malacate.orchestration.metadata import of_report
from malacate.warehouse.hour_states import (
    KNOWN_FOR,
    HourStands,
    SpectrumStands,
    clock_skewed,
    hours_standing,
    newest_hour,
    put_aside,
    sensors_by_state,
    spectra_standing,
)
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.protocol import Warehouse

SHOWN = 48
"""Hours in a plot, the newest, and names of sensors of one state."""
_HOUR = timedelta(hours=1)


def of_load(
    stats: HourlyStats, readings: Table, warehouse: Warehouse, report: Report
) -> dict[str, Any]:
    """What is told of hours when a run has published some: of those within ``KNOWN_FOR`` of the
    newest. A run that published nothing asks nothing; one without a budget left tells why.
    """
    if not report.of("loaded"):
        return {}
    try:
        return _of_load(stats, readings, warehouse, report)
    except OutOfBudget as error:
        return {"hours_untold": str(error)}


def _of_load(
    stats: HourlyStats, readings: Table, warehouse: Warehouse, report: Report
) -> dict[str, Any]:
    loaded = report.of("loaded")
    newest, number = newest_hour(warehouse, stats, datetime.now(UTC))
    batch_ids = [str(batch["batch_id"]) for batch in loaded]
    since = newest - KNOWN_FOR if newest else None
    standing = hours_standing(warehouse, stats, since, batch_ids)
    return {
        "hours": number,
        **_lateness(_begun(standing), report),
        **of_hours(warehouse, stats, readings, standing),
    }


def of_hours(
    warehouse: Warehouse, stats: HourlyStats, readings: Table, standing: Sequence[HourStands]
) -> dict[str, Any]:
    """What hours that stand, the newest last, say as a whole; and what is put aside of readings.

    Hours ahead of the clock, of a sensor whose own is wrong, are counted and no more.
    """
    ahead = sum(_is_ahead(one) for one in standing)
    standing = _begun(standing)
    newest = standing[-1].hour_at if standing else None
    aside = {"too_late": 0, **put_aside(warehouse, readings)}
    skewed = clock_skewed(warehouse, stats.sensor, readings) if "clock_skew" in aside else []
    states = {**sensors_by_state(warehouse, stats, newest), "clock_skewed": skewed}
    return {
        **_counts(standing),
        "hours_ahead": ahead,
        **{f"rows_{why}": number for why, number in aside.items()},
        **{f"sensors_{state}": len(names) for state, names in states.items()},
        "sensors_by_state": dg.MetadataValue.md(_states(states)),
        "by_hour": dg.MetadataValue.md(_picture(standing[-SHOWN:])),
        **_spectra(warehouse, stats, standing[-SHOWN:]),
    }


def _begun(standing: Sequence[HourStands]) -> Sequence[HourStands]:
    """Those that are not ahead, or all if none is not."""
    return [one for one in standing if not _is_ahead(one)] or standing


def _is_ahead(one: HourStands) -> bool:
    return one.hour_at.replace(tzinfo=UTC) > datetime.now(UTC)


def _counts(standing: Sequence[HourStands]) -> dict[str, Any]:
    expected = sum(one.expected_readings for one in standing)
    readings = sum(one.readings for one in standing)
    return {
        "hours_told": len(standing),
        "readings": readings,
        "revision": max((one.revision for one in standing), default=0),
        "hours_revised": sum(one.revision > 1 for one in standing),
        "completeness": readings / expected if expected else 0.0,
    }


def _lateness(standing: Sequence[HourStands], report: Report) -> dict[str, Any]:
    """How long before the run loaded readings the oldest hour ended that it renewed."""
    renewed = [one for one in standing if one.is_renewed]
    lag = of_report(report).get("longest_lag_seconds")
    told = {"hours_renewed": len(renewed)} | ({} if lag is None else {"longest_lag_seconds": lag})
    if not renewed:
        return told
    came = max(float(str(batch["ended"])) for batch in report.of("loaded"))
    ended = renewed[0].hour_at.replace(tzinfo=UTC) + _HOUR
    late = max(0, round(came - ended.timestamp()))
    return {**told, "oldest_hour_renewed": _told(renewed[0].hour_at), "lateness_seconds": late}


def _states(states: Mapping[str, Sequence[str]]) -> str:
    rows = [
        {"state": state, "sensors": len(names), "names": ", ".join(names[:SHOWN])}
        for state, names in states.items()
    ]
    return markdown(rows)


def _picture(hours: Sequence[HourStands]) -> str:
    if not hours:
        return "There is no hour yet."
    highest = max(one.ppv_mm_s or 0.0 for one in hours)
    told = f"Completeness (bars, full is 1) and PPV (line, highest is {highest:.3f} mm/s)"
    return f"{told}, {_between(hours)}\n\n{_image('by hour', plot(hours))}"


def _spectra(
    warehouse: Warehouse, stats: HourlyStats, hours: Sequence[HourStands]
) -> dict[str, Any]:
    if stats.spectrum is None or not hours:
        return {}
    found = spectra_standing(warehouse, stats, hours[0].hour_at, hours[-1].hour_at)
    if not found:
        return {}
    told = (
        f"How the energy divides among the bands (bars) and the dominant frequency (line, 0 to "
        f"{stats.spectrum.hz / 2:g} Hz, of the sensor with the most energy), {_between(found)}"
    )
    drawn = _image("spectrum by hour", plot_spectra(found, stats.spectrum.hz / 2))
    return {"spectrum_by_hour": dg.MetadataValue.md(f"{told}\n\n{drawn}")}


def _between(hours: Sequence[HourStands | SpectrumStands]) -> str:
    return f"{_told(hours[0].hour_at)} to {_told(hours[-1].hour_at)}, hours without rows left out"


def _told(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d %H:%M}Z"


def _image(title: str, svg: str) -> str:
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
