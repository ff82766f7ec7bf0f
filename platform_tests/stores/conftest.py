from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path

import pytest
from platform_tests.emulators import gcs, parts
from platform_tests.stores.yards import KINDS, Yard, yard

SERVERS = {"s3": parts.moto, "gcs": gcs.serving, "gcs_lax": parts.fake_gcs, "azure": parts.azurite}


class Servers:
    """Each kind's emulator, started by the first test that needs it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._of = cache(self._start)

    def of(self, kind: str) -> str:
        return self._of(kind) if kind in SERVERS else ""

    def _start(self, kind: str) -> str:
        server: AbstractContextManager[str] = SERVERS[kind]()
        return self._stack.enter_context(server)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Yard:
    """An empty place of each kind."""
    folder = tmp_path / "drops"
    folder.mkdir()
    return yard(request.param, servers.of(request.param), folder)
