"""How long a service that does not answer is asked again: the only retries that stores have."""

import random
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
)

from malacate.stores.answers import Busy

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 30.0
_DEADLINE_SECONDS = 120.0

_T = TypeVar("_T")


def patiently(call: Callable[..., _T], *asked: object) -> _T:
    """``call(*asked)``, again while it is ``Busy``; at last raises that."""
    retrying = Retrying(
        retry=retry_if_exception_type(Busy),
        stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(_DEADLINE_SECONDS),
        wait=_wait,
        reraise=True,
    )
    return retrying(call, *asked)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_seconds if isinstance(error, Busy) else 0.0
    own: float = FIRST_WAIT_SECONDS * 2 ** (state.attempt_number - 1) * random.uniform(0.5, 1)  # noqa: S311
    return min(max(asked, own), _LONGEST_WAIT_SECONDS)
