# SPDX-License-Identifier: Apache-2.0
"""What all tests share: one real Triton a session, and the rule that no asyncio task is left behind."""

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from testkit.local_triton import CACHE_DIR, QUICK_START, TEST_MODELS

# Imported where they are used: tests of packages that stand alone run where matting_triton is not to be had.
if TYPE_CHECKING:
    from matting_triton.local import LocalTriton
    from matting_triton.runtime import Runtime

# For tasks that were cancelled and have not had their turn yet.
_LAST_TURNS_S = 1.0


def pytest_configure() -> None:
    """Have no property fail for the time that an example took, and programs hear Ctrl-C.

    Other tests run beside; and a shell that starts tests in the background has it ignored by all that they start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a thread for each core spins as each of many programs starts
    settings.register_profile("whatever it takes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("whatever it takes")


@pytest.fixture(scope="session", autouse=True)
def _one_imaging_worker() -> Iterator[None]:
    """Have gateways start one worker, unless told otherwise: each takes half a second of processor time to start.

    Benches, which this is not for, have as many as the program takes by itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATTING_IMAGING_WORKERS", "1")
        yield


@pytest.fixture(scope="session")
def triton_runtime() -> "Runtime":
    """Return the installed Triton; the first session on a machine downloads it."""
    from matting_triton.install import ensure_runtime  # noqa: PLC0415 - see above

    return ensure_runtime(CACHE_DIR)


@pytest.fixture(scope="session")
def triton_server(triton_runtime: "Runtime") -> Iterator["LocalTriton"]:
    """Yield a ready Triton that serves the models of testkit/models, shared by the whole session."""
    from matting_triton.local import LocalTriton  # noqa: PLC0415 - see above

    with LocalTriton(triton_runtime, TEST_MODELS, grace_s=0, extra_arguments=QUICK_START) as triton:
        yield triton


@pytest_asyncio.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail the test if a task it started is still there at its end."""
    before = asyncio.all_tasks()
    yield
    current = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() - before if task is not current}
    if left:
        _done, left = await asyncio.wait(left, timeout=_LAST_TURNS_S)
    if left:
        pytest.fail(f"tasks left behind: {', '.join(sorted(str(task.get_coro()) for task in left))}")


@pytest.fixture(autouse=True)
def _async_tests_leave_no_task(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_task_left")
