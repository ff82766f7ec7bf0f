"""What is checked on every raw table, by the step that made it. Each check says what to do."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from malacate.contracts.drift import same
from malacate.contracts.table import Table
from malacate.ingest import Ingest, Report
from malacate.names import quote
from malacate.warehouse.protocol import BATCH_COLUMN

SAMPLE = 5
LEARNED, LEARNED_LEAST = 50, 5
PERSONAL = ("pii", "secret")

BLOCKING = ("schema_follows_contract", "required_is_present", "rows_reconcile")
"""Checks whose failure stops what is downstream; ``key_is_unique`` joins them unless deliveries
are at least once."""


def usual_least(rows: Sequence[int]) -> float:
    """How many rows a file has at least, after its like: mean less four standard deviations, each
    taken as 5 % of the mean if it is smaller. None of fewer than ``LEARNED_LEAST`` files."""
    if len(rows) < LEARNED_LEAST:
        return 0.0
    mean = statistics.fmean(rows)
    return max(0.0, mean - 4 * max(statistics.pstdev(rows), 0.05 * mean))


@dataclass(frozen=True)
class Promises:
    """What is checked of one raw table. ``repeats`` allows a key to come more than once.

    A derived table has no batches of its own, so nothing of it is reconciled or quarantined. Only
    of tables ``of_files`` can a batch be shorter than it was sent.
    """

    table: Table
    repeats: bool = False
    is_derived: bool = False
    of_files: bool = False

    def specs(self, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
        """The checks, as declared on the asset."""
        blocking = BLOCKING if self.repeats else (*BLOCKING, "key_is_unique")
        described = {
            "schema_follows_contract": "columns and types are those of the contract",
            "required_is_present": "no required column is null",
        }
        if not self.is_derived:
            most = f"at most {self.table.quarantine_limit:.1%} quarantined, and no whole file"
            described["rows_reconcile"] = "rows at the source = rows loaded + rows quarantined"
            described["quarantine_is_small"] = most
        if self.of_files:
            described["files_are_of_usual_length"] = "no file has far fewer rows than those before"
        if self.table.key:
            described["key_is_unique"] = f"({', '.join(self.table.key)}) stands once"
        return [
            dg.AssetCheckSpec(name, asset=key, description=text, blocking=name in blocking)
            for name, text in described.items()
        ]

    def results(self, ingest: Ingest, report: Report) -> list[dg.AssetCheckResult]:
        """Evaluate them on what is published."""
        results = [self._schema(ingest), self._required(ingest)]
        if not self.is_derived:
            results += [self._reconcile(ingest, report), self._quarantine(report)]
        if self.of_files:
            results.append(self._length(ingest, report))
        return [*results, self._key(ingest)] if self.table.key else results

    def _schema(self, ingest: Ingest) -> dg.AssetCheckResult:
        standing = ingest.warehouse.columns(self.table.name)
        wrong = [
            f"{c.name}: expected {c.sql_type}, got {standing.get(c.name, 'nothing')}"
            for c in self.table.columns
            if c.name not in standing or not same(standing[c.name], c.type)
        ]
        advice = f"Compare the source with {self.table.origin}; `malacate contract draft` shows it."
        return self._told("schema_follows_contract", not wrong, len(self.table.columns),
                       len(self.table.columns) - len(wrong), advice, differences=wrong)  # fmt: skip

    def _required(self, ingest: Ingest) -> dg.AssetCheckResult:
        required = [c.name for c in self.table.columns if c.required]
        counts = ", ".join(
            f"count(*) - count({quote(name, 'duckdb')}) as {quote(name, 'duckdb')}"
            for name in required
        )
        query = f"select {counts or '0 as none'} from {self._name}"
        nulls = {n: v for n, v in ingest.warehouse.query(query).to_pylist()[0].items() if v}
        advice = "A required value is null in the warehouse: run `malacate rebuild` for the table."
        total = sum(nulls.values())
        return self._told("required_is_present", not nulls, 0, total, advice, nulls=nulls)

    def _key(self, ingest: Ingest) -> dg.AssetCheckResult:
        key = ", ".join(quote(name, "duckdb") for name in self.table.key)
        twice = f"select {key}, count(*) as times from {self._name} "
        twice += f"group by {key} having count(*) > 1"
        counted = ingest.warehouse.query(f"select count(*) as n from ({twice})")
        number = counted.to_pylist()[0]["n"]
        shown: list[Any] = []
        if number and not self._is_personal():
            shown = ingest.warehouse.query(f"{twice} order by {key} limit {SAMPLE}").to_pylist()
        advice = "The source delivers a key twice: correct it there, or correct the contract's key."
        severity = dg.AssetCheckSeverity.WARN if self.repeats else dg.AssetCheckSeverity.ERROR
        return self._told("key_is_unique", not number, 0, number, advice, severity,
                       sample=[str(row) for row in shown])  # fmt: skip

    def _is_personal(self) -> bool:
        classes = (self.table.by_name[name].classification for name in self.table.key)
        return any(text.startswith(PERSONAL) for text in classes)

    def _reconcile(self, ingest: Ingest, report: Report) -> dg.AssetCheckResult:
        """The ledger's counts, the manifests' and the table's own rows, against each other."""
        loaded = report.of("loaded")
        name = self.table.name
        markers = ingest.warehouse.markers(name, [str(b["batch_id"]) for b in loaded])
        expected = actual = 0
        wrong: list[str] = []
        for batch in loaded:
            landing = ingest.lake.landed(name.schema, name.table, str(batch["batch_id"]))
            marker = markers.get(str(batch["batch_id"]))
            read = landing.rows_read if landing else 0
            source = read if landing is None or landing.source_rows is None else landing.source_rows
            kept = marker.rows + marker.rows_quarantined if marker else 0
            expected, actual = expected + source, actual + kept
            if not source == read == kept:
                wrong.append(f"{batch['object']}: source {source}, read {read}, kept {kept}")
        wrong += self._rows_missing(ingest, [m.batch_id for m in markers.values() if m.is_current])
        advice = "Run `malacate reconcile`, then `malacate ledger explain` for the named batch."
        return self._told("rows_reconcile", not wrong, expected, actual, advice, differences=wrong)

    def _rows_missing(self, ingest: Ingest, batch_ids: list[str]) -> list[str]:
        """Batches whose marker promises other rows than the table has; windows may overlap."""
        counted = ingest.warehouse.query(
            "select l.object, l.rows, count(t.batch_id) as present from malacate.loads l left join "
            f"(select {BATCH_COLUMN} as batch_id from {self._name}) t using (batch_id) "
            "where list_contains($ids, l.batch_id) and l.mode <> 'upsert' "
            "group by all having count(t.batch_id) <> l.rows",
            {"ids": batch_ids},
        )
        return [
            f"{r['object']}: marker {r['rows']}, table {r['present']}" for r in counted.to_pylist()
        ]

    def _quarantine(self, report: Report) -> dg.AssetCheckResult:
        read, kept = report.total("rows_read"), report.total("rows_quarantined")
        whole = [*report.of("quarantined"), *report.of("rejected")]
        files = [f"{b['object']}: {b['reason']}" for b in whole]
        rate, limit = kept / read if read else 0.0, self.table.quarantine_limit
        advice = "`malacate ledger explain <file>` shows the rows; correct the source or contract."
        return self._told("quarantine_is_small", rate <= limit and not files, f"<= {limit:.4f}",
                       f"{rate:.4f}", advice, dg.AssetCheckSeverity.WARN, rows_read=read,
                       rows_quarantined=kept, whole_files=files)  # fmt: skip

    def _length(self, ingest: Ingest, report: Report) -> dg.AssetCheckResult:
        """A file cut between two records is a sound file: only its like tell that it is short."""
        new = {str(b["batch_id"]): b for b in report.of("loaded")}
        found = ingest.warehouse.query(
            "select rows + rows_quarantined as n from malacate.loads where schema_name = $schema "
            "and table_name = $table and not list_contains($new, batch_id) "
            f"order by published_at desc limit {LEARNED}",
            {"schema": self.table.name.schema, "table": self.table.name.table, "new": [*new]},
        )
        earlier = found.column("n").to_pylist()
        least = usual_least(earlier)
        short = [f"{b['object']}: {b['rows_read']}" for b in new.values() if _read(b) < least]
        advice = "Ask the sender how many rows each file has; if one was cut, have it sent again."
        return self._told("files_are_of_usual_length", not short, f">= {least:.0f} rows a file",
                       f"{len(short)} shorter", advice, dg.AssetCheckSeverity.WARN,
                       files=short[:SAMPLE], learned_from=len(earlier))  # fmt: skip

    @property
    def _name(self) -> str:
        return self.table.name.sql("duckdb")

    def _told(
        self,
        name: str,
        passed: bool,
        expected: Any,
        actual: Any,
        advice: str,
        severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
        **facts: Any,
    ) -> dg.AssetCheckResult:
        told = {"expected": expected, "actual": actual, **{k: v for k, v in facts.items() if v}}
        if not passed:
            told["what_to_do"] = advice
        return dg.AssetCheckResult(
            passed=bool(passed),
            asset_key=dg.AssetKey(list(self.table.name.key)),
            check_name=name,
            severity=severity,
            metadata=told,
        )


def _read(batch: Mapping[str, Any]) -> int:
    return int(batch["rows_read"] or 0)
