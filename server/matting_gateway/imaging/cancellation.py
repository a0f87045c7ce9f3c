# SPDX-License-Identifier: Apache-2.0
"""Waiting for work that cannot be interrupted."""

import asyncio
from typing import TypeVar

_T = TypeVar("_T")


async def outlast_cancellation(future: asyncio.Future[_T]) -> _T:
    """Await a future that cannot be interrupted; a cancellation that came meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            if future.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001 - whatever the work raised is raised below, by result()
            break
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()
