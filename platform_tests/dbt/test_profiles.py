"""The target of the platform is the target of dbt."""

from typing import Any

import pytest
import yaml
from dbt.config.profile import Profile
from dbt.config.renderer import ProfileRenderer
from dbt_common.context import set_invocation_context
from platform_tests.dbt.raw_rows import ROOT


def profile(**environment: str) -> tuple[str, dict[str, Any]]:
    """The name of the output and its settings, without those that are not set."""
    set_invocation_context(environment)
    written = yaml.safe_load((ROOT / "dbt/profiles.yml").read_text())["malacate"]
    name, settings = Profile.render_profile(written, "malacate", None, ProfileRenderer({}))
    return name, {key: value for key, value in settings.items() if value is not None}


def test_local_is_the_default_and_needs_nothing_of_the_cloud() -> None:
    name, settings = profile(MALACATE_WAREHOUSE="w.duckdb")
    assert (name, settings["type"], settings["path"]) == ("local", "duckdb", "w.duckdb")


def test_gcp_goes_by_the_credentials_of_the_machine() -> None:
    name, settings = profile(MALACATE_TARGET="gcp", MALACATE_WAREHOUSE="mine-1")
    assert name == "gcp"
    assert settings == {
        "type": "bigquery", "method": "oauth", "project": "mine-1", "dataset": "silver",
        "priority": "interactive", "threads": 4,
    }  # fmt: skip


def test_limits_and_place_of_gcp_are_taken_from_the_environment() -> None:
    _, settings = profile(
        MALACATE_TARGET="gcp",
        MALACATE_WAREHOUSE="mine-1",
        MALACATE_LOCATION="southamerica-west1",
        MALACATE_BIGQUERY_PRIORITY="batch",
        MALACATE_BIGQUERY_MAXIMUM_BYTES="10000000000",
    )
    assert settings["location"] == "southamerica-west1"
    assert settings["priority"] == "batch"
    assert settings["maximum_bytes_billed"] == 10_000_000_000


def test_an_emulator_is_asked_without_credentials() -> None:
    _, settings = profile(
        MALACATE_TARGET="gcp-emulated",
        MALACATE_WAREHOUSE="acme",
        BIGQUERY_EMULATOR_HOST="http://h:1",
    )
    assert settings["method"] == "oauth-secrets"
    assert settings["api_endpoint"] == "http://h:1"


def test_no_project_is_made_up() -> None:
    with pytest.raises(Exception, match="MALACATE_WAREHOUSE"):
        profile(MALACATE_TARGET="gcp")
