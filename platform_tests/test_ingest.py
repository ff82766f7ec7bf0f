"""The one path, with a source that does as it is told."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.conftest import PlatformHome

from malacate.batch import Chunk, Found, Reading, Reject, WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import (
    MalacateError,
    SchemaDrift,
    SourceUnreachable,
    Superseded,
    UnreadableFile,
)
from malacate.ingest import Ingest, Report, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.names import TableName
from malacate.sources.protocol import Known

TABLE = Table(
    TableName("raw_lab", "rock"),
    (Column("id", pa.int64(), True), Column("rqd", pa.float64(), minimum=0, maximum=100)),
    ("id",),
)
LOOSE = pa.schema([("id", pa.int64()), ("rqd", pa.float64())])


@dataclass
class Files:
    """Drops in memory: rows as (id, rqd), or the error that reading one raises."""

    content: dict[str, list[tuple[int | None, float]] | BaseException]
    versions: dict[str, int] = field(default_factory=dict)
    supersedes: bool = True
    chunk_rows: int = 2
    reads: list[str] = field(default_factory=list)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)

    def discover(self, known: Known) -> list[Found]:
        return [self.found(name) for name in self.content]

    def found(self, name: str) -> Found:
        version = self.versions.get(name, 1)
        return Found("lab", "rock", "object", name, str(version), version, 1)

    def read(self, found: Found, lake: Lake) -> Reading:
        self.reads.append(found.object)
        (lake.root / "input" / found.batch_id).write_bytes(b"the bytes")
        content = self.content[found.object]
        if isinstance(content, BaseException):
            raise content
        return Reading(self._chunks(content, self.rejects.get(found.object, [])))

    def _chunks(self, rows: list[Any], rejects: list[Reject]) -> Iterator[Chunk]:
        for start in range(0, len(rows), self.chunk_rows):
            some = rows[start : start + self.chunk_rows]
            cells = [[row[i] for row in some] for i in range(2)]
            arrays = [pa.array(c, f.type) for c, f in zip(cells, LOOSE, strict=True)]
            yield Chunk(pa.RecordBatch.from_arrays(arrays, schema=LOOSE))
        if rejects:
            yield Chunk(pa.RecordBatch.from_pylist([], LOOSE), rejects)


def route(files: Files, **changes: Any) -> Route:
    return replace(Route(TABLE, files, WriteMode.APPEND), **changes)


def ids(home: PlatformHome) -> list[int]:
    return sorted(home.warehouse.read(TABLE.name).column("id").to_pylist())


def counts(report: Report) -> tuple[int, ...]:
    """Rows read, loaded, quarantined."""
    return tuple(report.total(f"rows_{what}") for what in ("read", "loaded", "quarantined"))


def states(home: PlatformHome) -> dict[str, str]:
    return {row["object"]: row["state"] for row in home.ledger.batches()}


def quarantine(home: PlatformHome) -> list[dict[str, Any]]:
    sql = "select position, reason, detail, raw from malacate.quarantine order by all"
    return list(home.warehouse.query(sql).to_pylist())


def test_rows_read_are_loaded_or_quarantined(platform_home: PlatformHome) -> None:
    files = Files({"a": [(1, 50.0), (2, 140.0), (None, 3.0)], "b": [(4, -1.0), (5, 0.0)], "c": []})
    report = platform_home.ingest.run(route(files))
    assert counts(report) == (5, 2, 3)
    assert ids(platform_home) == [1, 5]
    assert [(q["position"], q["reason"]) for q in quarantine(platform_home)] == [
        (0, "below_minimum"),
        (1, "above_maximum"),
        (2, "required_missing"),
    ]
    assert b"140" in quarantine(platform_home)[1]["raw"]


def test_what_the_reader_rejects_is_kept_too(platform_home: PlatformHome) -> None:
    files = Files({"a": [(1, 1.0)]}, rejects={"a": [Reject(1, "torn", "no number", b"\xff,x")]})
    assert counts(platform_home.ingest.run(route(files))) == (2, 1, 1)
    (kept,) = quarantine(platform_home)
    assert (kept["reason"], kept["raw"]) == ("torn", b"\xff,x")


CELLS = st.tuples(st.integers(0, 99) | st.none(), st.sampled_from([-1.0, 0.0, 50.0, 101.0]))
CONTENT = st.dictionaries(st.text(min_size=1, max_size=3), st.lists(CELLS, max_size=6), max_size=4)


@settings(max_examples=10)
@given(content=CONTENT, chunk_rows=st.integers(1, 4))
def test_every_row_is_counted_somewhere(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], chunk_rows: int
) -> None:
    home = PlatformHome.at(tmp_path_factory.mktemp("home"))
    report = home.ingest.run(route(Files(content, chunk_rows=chunk_rows)))
    rows = [row for rows in content.values() for row in rows]
    good = [number for number, rqd in rows if number is not None and 0 <= rqd <= 100]
    assert counts(report) == (len(rows), len(good), len(rows) - len(good))
    assert ids(home) == sorted(good)
    assert len(quarantine(home)) == len(rows) - len(good) if content else True


BAD_FILES = [
    UnreadableFile("cut short", "Ask for it again.", reason="torn"),
    SchemaDrift("other columns", "Declare them.", reason="schema_drift"),
]


@pytest.mark.parametrize("error", BAD_FILES)
def test_a_bad_file_goes_to_quarantine_whole_and_the_rest_is_in(
    platform_home: PlatformHome, error: MalacateError
) -> None:
    files = Files({"a": [(1, 1.0)], "bad": error, "c": [(3, 3.0)]})
    report = platform_home.ingest.run(route(files))
    (bad,) = report.of("quarantined")
    assert (bad["object"], bad["reason"]) == ("bad", error.reason)
    assert "lab/rock, bad" in str(bad["error"])
    assert (platform_home.lake.root / str(bad["landing"])).read_bytes() == b"the bytes"
    assert ids(platform_home) == [1, 3]
    platform_home.ingest.run(route(files))
    assert files.reads.count("bad") == 1


def test_a_file_that_turns_out_bad_in_its_middle_loads_nothing(
    platform_home: PlatformHome,
) -> None:
    class Torn(Files):
        def _chunks(self, rows: list[Any], rejects: list[Reject]) -> Iterator[Chunk]:
            yield from super()._chunks(rows, rejects)
            raise UnreadableFile("cut in block 7", "Ask for it again.", reason="torn")

    platform_home.ingest.run(route(Torn({"a": [(i, 1.0) for i in range(9)]})))
    assert (ids(platform_home), states(platform_home)) == ([], {"a": "quarantined"})
    assert list(platform_home.lake.root.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (FileNotFoundError("a"), "vanished"),
        (Superseded("newer", "Nothing.", reason="superseded"), "superseded"),
    ],
)
def test_what_is_gone_or_outdated_ends_without_a_failure(
    platform_home: PlatformHome, error: BaseException, state: str
) -> None:
    report = platform_home.ingest.run(route(Files({"a": error, "b": [(2, 2.0)]})))
    assert states(platform_home) == {"a": state, "b": "loaded"}
    assert [batch["object"] for batch in report.of(state)] == ["a"]


def test_a_passing_failure_is_raised_once_the_others_are_in(platform_home: PlatformHome) -> None:
    down = SourceUnreachable("no answer", "Try later.", reason="unreachable")
    files = Files({"a": down, "b": [(2, 2.0)], "c": [(3, 3.0)]})
    with pytest.raises(SourceUnreachable):
        platform_home.ingest.run(route(files))
    assert ids(platform_home) == [2, 3]
    assert states(platform_home)["a"] == "seen"
    assert files.reads.count("a") == 1
    files.content["a"] = [(1, 1.0)]
    platform_home.ingest.run(route(files))
    assert ids(platform_home) == [1, 2, 3]


def test_an_unknown_error_gives_the_claims_back_and_leaves_nothing(
    platform_home: PlatformHome,
) -> None:
    files = Files({"a": [(1, 1.0)], "b": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        platform_home.ingest.run(route(files))
    assert states(platform_home) == {"a": "seen", "b": "seen"}
    assert [row["crashes"] for row in platform_home.ledger.batches()] == [0, 0]
    files.content["b"] = [(2, 2.0)]
    platform_home.ingest.run(route(files))
    assert ids(platform_home) == [1, 2]
    assert files.reads.count("a") == 1


def test_a_listing_that_fails_is_an_error_but_what_was_noted_stays(
    platform_home: PlatformHome,
) -> None:
    class Gone(Files):
        def discover(self, known: Known) -> list[Found]:
            raise SourceUnreachable("not mounted", "Mount it.")

    with pytest.raises(SourceUnreachable):
        platform_home.ingest.run(route(Gone({})))


def test_a_run_tells_a_batch_until_it_is_marked_reported(platform_home: PlatformHome) -> None:
    files = Files({"a": [(1, 1.0)]})
    first = platform_home.ingest.run(route(files))
    again = platform_home.ingest.run(route(files))
    assert [b["batch_id"] for b in again.batches] == [b["batch_id"] for b in first.batches]
    assert (len(first.batches), counts(again)) == (1, (1, 1, 0))
    platform_home.ledger.mark_reported([str(b["batch_id"]) for b in again.batches])
    assert platform_home.ingest.run(route(files)).batches == []


def test_what_others_work_on_is_told(platform_home: PlatformHome) -> None:
    files = Files({"a": [(1, 1.0)], "b": [(2, 2.0)]})
    platform_home.ledger.note(files.discover(Known()))
    platform_home.ledger.claim("lab", "rock", 1)
    report = platform_home.ingest.run(route(files))
    assert (report.elsewhere, ids(platform_home)) == (1, [2])


def test_a_released_file_is_read_and_told_again(platform_home: PlatformHome) -> None:
    files = Files({"a": UnreadableFile("torn", "Again.", reason="torn")})
    (bad,) = platform_home.ingest.run(route(files)).batches
    platform_home.ledger.mark_reported([str(bad["batch_id"])])
    files.content["a"] = [(1, 1.0)]
    platform_home.ledger.release([str(bad["batch_id"])])
    report = platform_home.ingest.run(route(files))
    assert [b["state"] for b in report.batches] == ["loaded"]


def test_only_the_newest_version_is_read(platform_home: PlatformHome) -> None:
    files = Files({"a": [(1, 1.0)]})
    platform_home.ledger.note(files.discover(Known()))
    files.versions["a"] = 2
    platform_home.ingest.run(route(files))
    assert files.reads == ["a"]
    files.content["a"], files.versions["a"] = [(2, 2.0)], 3
    platform_home.ingest.run(route(files))
    assert ids(platform_home) == [2]


def test_more_files_than_a_group_are_all_loaded(platform_home: PlatformHome) -> None:
    files = Files({f"{i:03}": [(i, 1.0)] for i in range(150)})
    assert counts(platform_home.ingest.run(route(files))) == (150, 150, 0)
    assert ids(platform_home) == list(range(150))


def loaded(home: PlatformHome) -> Files:
    files = Files({"a": [(1, 1.0), (2, 999.0)], "b": [(3, 3.0)]})
    report = home.ingest.run(route(files))
    home.ledger.mark_reported([str(b["batch_id"]) for b in report.batches])
    return files


def facts(home: PlatformHome) -> tuple[Any, ...]:
    markers = home.warehouse.markers(TABLE.name).values()
    return ids(home), quarantine(home), sorted((m.object, m.rows, m.version) for m in markers)


def test_a_lost_warehouse_is_published_again_from_the_lake(platform_home: PlatformHome) -> None:
    files = loaded(platform_home)
    before = facts(platform_home)
    platform_home.warehouse.path.unlink()
    platform_home.ingest.run(route(files))
    assert facts(platform_home) == before
    assert sorted(files.reads) == ["a", "b"]


def test_a_lost_warehouse_and_a_lost_landing_are_read_again(platform_home: PlatformHome) -> None:
    files = loaded(platform_home)
    before = facts(platform_home)
    platform_home.warehouse.path.unlink()
    for manifest in (platform_home.lake.root / "final").rglob("manifest.json"):
        manifest.unlink()
    report = platform_home.ingest.run(route(files))
    assert facts(platform_home) == before
    assert counts(report) == (3, 2, 1)


def test_a_lost_landing_of_a_file_that_is_gone_is_told_as_vanished(
    platform_home: PlatformHome,
) -> None:
    files = loaded(platform_home)
    platform_home.warehouse.path.unlink()
    for manifest in (platform_home.lake.root / "final").rglob("manifest.json"):
        manifest.unlink()
    files.content["a"] = FileNotFoundError("a")
    report = platform_home.ingest.run(route(files))
    assert [batch["object"] for batch in report.of("vanished")] == ["a"]
    assert ids(platform_home) == [3]


def test_a_lost_ledger_loads_nothing_twice(platform_home: PlatformHome, tmp_path: Path) -> None:
    files = loaded(platform_home)
    before = facts(platform_home)
    ledger = Ledger(f"sqlite:///{tmp_path}/new.sqlite")
    ingest = Ingest(ledger, platform_home.lake, platform_home.warehouse)
    report = ingest.run(route(files))
    assert facts(platform_home) == before
    assert sorted(files.reads) == ["a", "b"]
    assert counts(report) == (3, 2, 1)
    assert {row["state"] for row in ledger.batches()} == {"loaded"}


def test_ledger_and_warehouse_are_rebuilt_from_the_lake_alone(
    platform_home: PlatformHome, tmp_path: Path
) -> None:
    files = loaded(platform_home)
    files.content["a"], files.versions["a"] = [(7, 7.0)], 2
    platform_home.ingest.run(route(files))
    current = facts(platform_home)[:2]
    platform_home.warehouse.path.unlink()
    ledger = Ledger(f"sqlite:///{tmp_path}/new.sqlite")
    ingest = Ingest(ledger, platform_home.lake, platform_home.warehouse)
    assert ingest.rebuild(route(files)) == 3
    assert facts(platform_home)[:2] == current
    ended = {(row["object"], row["version"]): row["state"] for row in ledger.batches()}
    assert set(ended.values()) <= {"loaded", "superseded"}
    assert ended["a", "2"] == ended["b", "1"] == "loaded"
    ingest.run(route(files))
    assert facts(platform_home)[:2] == current


def test_masking_comes_before_anything_durable(platform_home: PlatformHome) -> None:
    def mask(table: Table, chunk: Chunk) -> Chunk:
        hidden = pa.array([0.0] * chunk.rows.num_rows)
        rows = pa.RecordBatch.from_arrays([chunk.rows.column("id"), hidden], schema=LOOSE)
        return replace(chunk, rows=rows)

    platform_home.ingest.mask = mask
    platform_home.ingest.run(route(Files({"a": [(1, 77.0), (None, 77.0)]})))
    rows = platform_home.warehouse.read(TABLE.name).to_pylist()
    assert rows == [{"id": 1, "rqd": 0.0}]
    assert b"77" not in quarantine(platform_home)[0]["raw"]


def test_a_worker_that_is_overtaken_while_it_reads_stops(platform_home: PlatformHome) -> None:
    class Slow(Files):
        def _chunks(self, rows: list[Any], rejects: list[Reject]) -> Iterator[Chunk]:
            yield from super()._chunks(rows, rejects)
            platform_home.ledger.give_up([self.found("a").batch_id], "the position moved")

    with pytest.raises(MalacateError, match="another worker"):
        platform_home.ingest.run(route(Slow({"a": [(1, 1.0)]})))
    assert ids(platform_home) == []
    assert platform_home.ledger.batches(BATCH.c.state == "superseded")
