# SPDX-License-Identifier: Apache-2.0
"""Workers are asked on both event loops: the one of the gateway, and the one of everybody's tests."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    plain: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return plain | ({"uvloop": uvloop.new_event_loop} if item.path.name == "test_workers.py" else {})
