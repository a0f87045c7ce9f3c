# SPDX-License-Identifier: Apache-2.0
"""Workers are asked on the event loop of the gateway; in long runs also on that of everybody's tests."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from testkit.long_runs import short_or_long


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    plain: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name != "test_workers.py":
        return plain
    gateways: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    return short_or_long(gateways, plain | gateways)
