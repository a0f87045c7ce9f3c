# SPDX-License-Identifier: Apache-2.0
"""Waiting for work that cannot be interrupted, and work that asks by itself whether it is still wanted."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

_T = TypeVar("_T")

# Set while nobody waits any more for what this thread does.
_abandoned: ContextVar[threading.Event | None] = ContextVar("abandoned", default=None)


class AbandonedError(Exception):
    """Nobody waits any more for what is being done."""


def watched(work: Callable[[], _T], abandoned: threading.Event) -> Callable[[], _T]:
    """Return the same work, in which `check_wanted` raises once the event is set."""

    def run() -> _T:
        token = _abandoned.set(abandoned)
        try:
            return work()
        finally:
            _abandoned.reset(token)

    return run


def check_wanted() -> None:
    """Do nothing as long as somebody waits for what this thread does.

    Raises:
        AbandonedError: Nobody does.
    """
    abandoned = _abandoned.get()
    if abandoned is not None and abandoned.is_set():
        raise AbandonedError


async def outlast_cancellation(future: asyncio.Future[_T], abandoned: threading.Event | None = None) -> _T:
    """Await a future that cannot be interrupted; a cancellation that came meanwhile is raised afterwards.

    The event, where there is one, is set as soon as it comes, for the work to end early.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            if future.cancelled():
                raise
            cancelled = error
            if abandoned is not None:
                abandoned.set()
        except Exception:  # noqa: BLE001 - whatever the work raised is raised below, by result()
            break
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()
