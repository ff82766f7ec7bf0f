"""Sending kept bytes through the one path again, under today's contract and parser.

A whole file that was put aside never landed: it is released and read as what it is. A loaded file
with rejected rows is read again as a batch of its own, whose identity is the version's and the
reading's (contract, format). Its landing and marker are its own too, so nothing immutable is
written twice; in one transaction its rows replace those of the first reading, and its rejected
rows those that were kept. The same reading twice is the same batch, and changes nothing.
"""

import hashlib
import importlib.metadata
from contextlib import suppress
from typing import Any

from malacate.batch import Found, WriteMode
from malacate.errors import MalacateError, SchemaDrift, Superseded, UnreadableFile
from malacate.ingest import Ingest, Route
from malacate.ledger.ledger import FREED
from malacate.ledger.notes import found_of
from malacate.ledger.tables import BATCH
from malacate.ledger.work import AGAIN


def replay(platform: Ingest, route: Route, batch: dict[str, Any]) -> str:
    """Make a batch wait to be sent through again; return the id of the batch that will be read.

    An empty id says that its rejected rows were already read by this contract and parser, or that
    there is nothing to send. Raises ``MalacateError`` if its bytes are nowhere any more.
    """
    if batch["state"] in FREED:
        platform.ledger.release([batch["batch_id"]])
        return str(batch["batch_id"])
    if batch["state"] != "loaded" or not batch["rows_quarantined"]:
        return ""
    found = found_of(batch)
    family = _family(platform, route, found)
    newest = max(family, key=lambda one: one.turn)
    read_by = reading_of(route)
    if newest.version.endswith(f"-{read_by}"):
        return ""
    _require_possible(platform, route, found)
    first = min(family, key=lambda one: one.turn)
    again = first.again(newest.turn + 1, read_by)
    _lend(platform, route, first, again)
    platform.ledger.note([again])
    return again.batch_id


def reading_of(route: Route) -> str:
    """Names what decides how bytes become rows: contract, format, and this library."""
    table = route.table
    facts = (table.columns, table.key, table.extra_columns, table.version)
    form = getattr(route.source, "form", None)
    text = repr((facts, form, importlib.metadata.version("malacate")))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _family(platform: Ingest, route: Route, found: Found) -> list[Found]:
    """The version as it was found, and every later reading of it."""
    same = platform.ledger.waiting(*route.batches, BATCH.c.object == found.object)
    version = found.version.partition(AGAIN)[0]
    return [one for one in same if one.version.partition(AGAIN)[0] == version]


def _require_possible(platform: Ingest, route: Route, found: Found) -> None:
    """What is read again takes the place of the object's rows: it must be all of them."""
    loaded = (BATCH.c.object == found.object, BATCH.c.state == "loaded")
    versions = platform.ledger.waiting(*route.batches, *loaded)
    one = {version.version.partition(AGAIN)[0] for version in versions}
    is_whole = route.overwrite != "append" or len(one) == 1
    if found.kind == "object" and route.mode is WriteMode.APPEND and is_whole:
        return
    raise MalacateError(
        "these rows cannot be sent through again by themselves",
        "Rows of a table are read again by its next run; of an object with several loaded "
        "versions, drop the corrected rows as a new file.",
        source=f"{found.source}/{found.table}", object=found.object, reason="not_replayable",
    )  # fmt: skip


def _lend(platform: Ingest, route: Route, first: Found, again: Found) -> None:
    """Stage the bytes for the new reading: those that were kept, else the drop's own."""
    lake = platform.lake
    if lake.lend(first.batch_id, again.batch_id):
        return
    with suppress(FileNotFoundError, Superseded, UnreadableFile, SchemaDrift):
        route.source.read(first, lake)
    if lake.lend(first.batch_id, again.batch_id):
        lake.discard_input(first.batch_id)
        return
    raise MalacateError(
        "the bytes of the file are kept nowhere, and its drop is gone or was written again",
        "Ask for the file again and drop it.",
        source=f"{first.source}/{first.table}", object=first.object, reason="bytes_gone",
    )  # fmt: skip
