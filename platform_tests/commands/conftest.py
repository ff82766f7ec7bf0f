"""A shop of its own for every test that asks for one."""

from collections.abc import Iterator

import dagster as dg
import pytest

from platform_tests.company import Company, opened_shop


@pytest.fixture
def shop() -> Iterator[Company]:
    with opened_shop() as company:
        yield company


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made
