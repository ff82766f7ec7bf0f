"""Streams of messages, each a raw table: a collector's files, or those of a native subscription."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from malacate.alarms.watch import Watch
from malacate.batch import WriteMode
from malacate.components.alarm_rules import AlarmsOf
from malacate.components.declared import engine_of, promised
from malacate.components.file_drops import LookOf
from malacate.components.hours import HoursOf
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.formats import FileFormat
from malacate.orchestration.environment import by_reference
from malacate.orchestration.hours_shown import of_load
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.orchestration.target import target_name
from malacate.route import AfterLoad, Duplicates, Route
from malacate.sources.discovery import Discovery, Windows
from malacate.sources.files import FileDrops
from malacate.sources.punctual import Horizon
from malacate.sources.selection import Selection
from malacate.sources.streams.collector import HOURS
from malacate.sources.streams.transport import KINDS, Bounds
from malacate.stores.protocol import Store

_URL = r"^(|(mqtts?|pubsub|kafkas?)://.+/.+)$"


class StreamOf(dg.Model, dg.Resolvable):
    """One stream: where it is received, and the files of its messages.

    Without a ``url`` somebody else writes them, as Pub/Sub's Cloud Storage subscription does. With
    one, ``malacate collect`` does: below a folder of the table's name, by the hour.
    ``duplicates: skip`` is for brokers that number their messages: Pub/Sub, Kafka. Its ``alarms``
    are as late as a file is: ``most_seconds``. ``hourly`` makes a table of its readings' hours,
    where a reading counts once however often its message came.
    """

    name: str
    url: str = Field("", pattern=_URL)
    files: list[str] | None = None
    duplicates: Duplicates = "warn"
    after_load: AfterLoad = "keep"
    max_message_bytes: int = Field(16 << 20, gt=0)
    caps: dict[str, int | float] | None = None
    look: LookOf | None = None
    alarms: AlarmsOf | None = None
    hourly: HoursOf | None = None

    @property
    def form(self) -> FileFormat:
        """What its files are."""
        caps: dict[str, Any] = {} if self.caps is None else {"caps": self.caps}
        return FileFormat("messages", max_field_bytes=self.max_message_bytes, **caps)

    @property
    def prefix(self) -> str:
        """What the names of the collector's files begin with."""
        return f"{self.name}/"

    def discovery(self, source: str, folder: str) -> Discovery:
        """How its files are found; a collector's by their hour, unless it is said otherwise."""
        chosen = Selection(store(folder), tuple(self.files or [f"{self.prefix}*"]))
        look = self.look or LookOf()
        plan = look.plan()
        if self.look is None and self.url:
            plan = Windows(self.prefix + HOURS)
        return Discovery(chosen, source, self.name, plan, 3600 * look.reconcile_hours)


@dataclass(frozen=True)
class Collected:
    """What a collector has to know of a declared stream; references in ``url`` are not resolved."""

    key: str
    url: str
    name: str
    store: Store
    prefix: str
    bounds: Bounds
    form: FileFormat
    horizon: Horizon | None


class EventStream(dg.Component, dg.Model, dg.Resolvable):
    """Messages of MQTT, Pub/Sub or Kafka as rows: the ``data`` of each is one JSON object.

    A contract has what is around it under the physical names ``$topic``, ``$message_id``,
    ``$published_at``, ``$data`` and ``$attributes``. A collector writes a file at so many messages
    or bytes, or so long after the first; messages may come twice. ``folder`` and ``notices`` are as
    for ``FileDrops``.
    """

    source: str
    folder: str
    tables: list[StreamOf]
    most_messages: int = Field(10_000, gt=0)
    most_bytes: int = Field(16 << 20, gt=0)
    most_seconds: float = Field(60.0, gt=0)
    interval_seconds: int = 30
    notices: str = Field("", pattern=r"^(|sqs:.+|pubsub:.+|\$\{.+)$")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per stream, its checks, its sensor, and its hours as files."""
        raw = self.raw_assets(context.path)
        made = with_doorbells(raw, engine_of(context), self.interval_seconds, self.notices)
        files = [
            asset
            for stream, one in zip(self.tables, raw, strict=True)
            if stream.hourly is not None
            for asset in stream.hourly.for_ml(one.route.tables[-1], one.route.table)
        ]
        return dg.Definitions.merge(made, dg.Definitions(assets=files))

    @property
    def names_for_ml(self) -> Sequence[str]:
        """See ``ForMl``."""
        return [name for one in self.tables if one.hourly for name in one.hourly.names_for_ml]

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        hours = [stream.hourly.hours for stream in self.tables if stream.hourly]
        names = [stream.name for stream in self.tables]
        tables = promised(folder, self.source, names + hours)
        list(self.watches(folder))
        return [self._raw(tables, stream) for stream in self.tables]

    def collected(self) -> Iterator[Collected]:
        """Its streams that a collector has to write; under a name of their own for each target,
        since what one has acknowledged another has not.
        """
        bounds = Bounds(self.most_messages, self.most_bytes, self.most_seconds)
        for stream in self.tables:
            if stream.url:
                self._require_no_name(stream)
                name = f"malacate-{target_name()}-{self.source}-{stream.name}"
                key = f"{self.source}/{stream.name}"
                place = store(self.folder)
                yield Collected(
                    key, by_reference(stream.url), name, place, stream.prefix, bounds,
                    stream.form, stream.hourly.held_to if stream.hourly else None,
                )  # fmt: skip

    def watches(self, folder: Path) -> Iterator[Watch]:
        """See ``Watched``."""
        for stream in self.tables:
            if stream.alarms is not None:
                table = promised(folder, self.source, [stream.name])[stream.name]
                yield from stream.alarms.of_readings(table, folder)
                if stream.alarms.trend is not None:
                    yield from stream.alarms.of_hours(self._hours(folder, stream), stream.name)

    def _hours(self, folder: Path, stream: StreamOf) -> Table:
        if stream.hourly is None:
            raise ConfigError(
                "a trend is declared of a stream that has no hours",
                "Declare `hourly` of it, or remove `trend`.",
                source=f"{self.source}/{stream.name}",
                reason="no_hours",
            )
        return promised(folder, self.source, [stream.hourly.hours])[stream.hourly.hours]

    def _require_no_name(self, stream: StreamOf) -> None:
        horizon = stream.hourly.horizon if stream.hourly else None
        if stream.url and horizon and horizon.named:
            raise ConfigError(
                "a horizon asks for the names of files that a collector writes: these tell no time",
                "Declare came_at: a column, or the broker's $published_at.",
                source=f"{self.source}/{stream.name}",
                object="horizon.named",
                actual=horizon.named,
                reason="bad_horizon",
            )

    def _raw(self, tables: dict[str, Table], stream: StreamOf) -> RawAsset:
        by_reference(stream.url)
        table, found = tables[stream.name], stream.discovery(self.source, self.folder)
        drops, hours = FileDrops(table, found, stream.form), None
        if stream.hourly is not None:
            drops = stream.hourly.drops(table, found, stream.form)
            hours = stream.hourly.derived(tables[stream.hourly.hours])
            hours.require_sound(table)
            self._require_no_name(stream)
        route = Route(
            table, drops, WriteMode.APPEND, duplicates=stream.duplicates,
            after_load=stream.after_load, derives=hours,
        )  # fmt: skip
        kind = KINDS.get(stream.url.partition("://")[0], "messages")
        raw = RawAsset(route, frozenset({kind}), repeats=True, of_files=True)
        return replace(raw, of_derived=partial(of_load, hours, table)) if hours else raw
