"""What is said of a table whose rows no key tells apart: a failed check, on every run."""

import dagster as dg

NAME = "rows_have_a_key"
DESCRIPTION = "the contract promises a primary key"


def verdict(key: dg.AssetKey) -> dg.AssetCheckResult:
    """The state ``key`` has one row for all rows that are equal."""
    return dg.AssetCheckResult(
        passed=False,
        asset_key=key,
        check_name=NAME,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "expected": "a primary key",
            "actual": "none: rows are told apart by the hash of their content",
            "what_to_do": "Equal rows stand once. Ask for a key at the source, then declare it.",
        },
    )


def check(key: dg.AssetKey) -> dg.AssetChecksDefinition:
    """The same as a check by itself."""

    @dg.asset_check(asset=key, name=NAME, description=DESCRIPTION)
    def rows_have_a_key() -> dg.AssetCheckResult:
        return verdict(key)

    return rows_have_a_key
