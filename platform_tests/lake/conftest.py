from pathlib import Path

import pytest
from platform_tests.lake.yards import KINDS, Yard, lake_yard
from platform_tests.stores.conftest import Servers
from platform_tests.stores.conftest import servers as servers

from malacate.lake.lake import Lake


@pytest.fixture(params=KINDS)
def yard(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Yard:
    """An empty lake in each kind of place."""
    return lake_yard(request.param, servers.of(request.param), tmp_path / "lake")


@pytest.fixture
def lake(yard: Yard) -> Lake:
    return yard.lake
