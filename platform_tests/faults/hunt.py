"""B13: planted bugs, and the cases of the bars that have to see them."""

from collections.abc import Callable
from pathlib import Path

from platform_tests.faults import (
    bigquery_yard,
    cases,
    mutants_of_bigquery,
    mutants_of_cdc,
    mutants_of_streams,
    streams,
)
from platform_tests.faults.bars import Run
from platform_tests.faults.bigquery_unknown import bigquery_cases
from platform_tests.faults.cases import Case, Size
from platform_tests.faults.events import event_cases
from platform_tests.faults.mutants import MUTANTS
from platform_tests.faults.policies import policy_cases
from platform_tests.faults.pool import run_all
from platform_tests.faults.transfers import transfer_cases
from platform_tests.faults.unknown import unknown_cases
from platform_tests.faults.verdict import Verdict

SEED = 7


def to_plant() -> list[str]:
    """All mutants; those of BigQuery and of streams where the other side is installed."""
    left_out = set[str]()
    if not bigquery_yard.is_installed():
        left_out |= mutants_of_bigquery.MUTANTS.keys()
    if not streams.is_installed():
        left_out |= mutants_of_streams.MUTANTS.keys()
    return [name for name in MUTANTS if name not in left_out]


def planted_bugs(run: Run, found: Callable[[str, str], None]) -> list[str]:
    """B13: the mutants that no case found."""
    from platform_tests.faults import cdc_mine

    missed = []
    with bigquery_yard.standing(), cdc_mine.standing():
        for case, verdict in run_all([_hunt(name) for name in to_plant()], run.keep):
            found(case.name, verdict.found or " ".join(["NOT FOUND", *verdict.problems]))
            missed += [] if verdict.found else [case.name]
    return missed


def _hunt(mutant: str) -> Case:
    """Cases of the bars, the most telling ones first, until one of them sees the bug."""

    def search(root: Path) -> Verdict:
        for number, case in enumerate(_suspects(mutant)):
            world = root / str(number)
            world.mkdir()
            verdict = case.run(world)
            if verdict.problems and verdict.problems[0].startswith("the history ended"):
                return verdict
            if not verdict.is_good:
                return Verdict(found=f"{case.name}: {verdict.problems[0]}")
            if case.name.startswith("zombie") and verdict.injected and not verdict.fenced:
                return Verdict(found=f"{case.name}: nobody was fenced")
        return Verdict(problems=["every case was survived"])

    return Case(mutant, search)


def _suspects(mutant: str) -> list[Case]:
    size = Size(is_long=False)
    named = {case.name: case for case in _of_files(mutant)}
    if mutant in SEEN_BY:
        return [case for name, case in named.items() if name.startswith(SEEN_BY[mutant])]
    telling = {
        "marker_after_the_rows": [cases.kill("committed/publish:1", size.orders(mutant=mutant))],
        "never_healed": cases.amnesias(size, mutant)[5:],
        "position_before_the_rows": cases.amnesias(size, mutant)[2:5],
        "nobody_fenced": [c for c in cases.zombies(size, mutant) if " staged" in c.name],
        "input_deleted_before_proof": cases.sources_gone(size, mutant)[2:],
    }
    matrix = sorted(cases.kill_matrix(size, mutant), key=lambda case: _rank(mutant, case.name))
    return telling.get(mutant, matrix)


FIRST_LOOK = {
    "loaded_before_the_commit": "tx_checked",
    "autocommit": "tx_rows",
    "copied_in_place": "input_torn",
    "manifest_before_parts": " landed",
    "inserted_by_place": "turn 1",
    "rejects_dropped": "turn 0",
}


def _rank(mutant: str, name: str) -> int:
    return 0 if FIRST_LOOK.get(mutant, "") in name else 1


SEEN_BY: dict[str, str | tuple[str, ...]] = {
    "found_by_name_only": "remove killed",
    "version_not_checked": "unknown outcomes, overwritten unread",
    "event_believed": "events forged",
    "cursor_before_the_note": "looks killed at seen",
    "page_skipped": "events dropped",
    "walk_never_ends": "events dropped",
    "walk_ends_with_its_budget": "events dropped",
    "last_listed_is_safe": "unknown outcomes, stale listing",
    "create_overwrites": "unknown outcomes, transfer",
    "cleaned_after_unknown": "unknown outcomes, lost commits",
    "removed_after_unknown": "unknown outcomes, transfer",
    "drop_removed_once_landed": "unknown outcomes, drops",
    "removed_once_noted": "unknown outcomes, drops",
    "twins_by_name": "skip killed",
    "nothing_held": "skip killed",
    "copy_not_read_back": "unknown outcomes, transfer",
    "promise_ignored": "manifest killed",
    "skipped_bytes_dropped": "skip killed",
    **mutants_of_bigquery.SEEN_BY,
    **mutants_of_cdc.SEEN_BY,
    **mutants_of_streams.SEEN_BY,
}
"""The histories that are tried first, and alone: who knows where a bug shows saves the search."""


def _of_files(mutant: str) -> list[Case]:
    size = Size(is_long=False)
    if mutant in mutants_of_cdc.MUTANTS:
        return _of_cdc(size, mutant)
    if mutant in mutants_of_streams.MUTANTS:
        return streams.stream_cases(SEED, mutant)
    return [
        *event_cases(SEED, mutant), *unknown_cases(2, SEED, mutant),
        *policy_cases(size, SEED, mutant), *transfer_cases(size, mutant),
        *bigquery_cases(1, SEED, mutant),
    ]  # fmt: skip


def _of_cdc(size: Size, mutant: str) -> list[Case]:
    from platform_tests.faults import cdc_gaps, cdc_kills, cdc_sqlserver, cdc_sqlserver_gaps

    return [
        *cdc_kills.hunt_cases(SEED, mutant), *cdc_gaps.gap_cases(SEED, mutant),
        *cdc_sqlserver_gaps.gap_cases(mutant), *cdc_sqlserver.kill_cases(size, SEED, mutant),
    ]  # fmt: skip
