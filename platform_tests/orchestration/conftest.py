from collections.abc import Iterator

import pytest
from platform_tests.alarms.hook import Hook, listening
from platform_tests.company import instance, shop

__all__ = ["instance", "shop"]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening() as made:
        yield made
