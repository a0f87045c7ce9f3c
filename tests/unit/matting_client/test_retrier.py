# SPDX-License-Identifier: Apache-2.0
"""How long `matting cutout` waits for what, in time that is moved by hand."""

import grpc
import pytest
from matting_client.errors import (
    BackendUnavailableError,
    ErrorDetails,
    ImageUnreadableError,
    MattingError,
    OverloadedError,
    ServerUnreachableError,
)
from matting_client.program.retrier import GONE_S, Retrier

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
LOADING = BackendUnavailableError("loading", code=UNAVAILABLE, details=ErrorDetails(retry_after_s=1.0))
BUSY = OverloadedError("busy", code=grpc.StatusCode.RESOURCE_EXHAUSTED, details=ErrorDetails(retry_after_s=0.5))
GONE = ServerUnreachableError("gone", code=UNAVAILABLE)
BAD = ImageUnreadableError("bad", code=grpc.StatusCode.INVALID_ARGUMENT)


class Story:
    """A gateway that fails as told and answers then, in time of its own."""

    def __init__(self, *failures: MattingError, timeout_s: float = 60.0) -> None:
        self.failures = list(failures)
        self.now_s = 0.0
        self.told: list[MattingError] = []
        self.left_s: list[float] = []
        self.patience = Retrier(timeout_s, self.told.append, clock=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def ask(self, left_s: float) -> str:
        self.left_s.append(left_s)
        if self.failures:
            raise self.failures.pop(0)
        return "answered"

    async def run(self) -> str:
        return await self.patience.until_answered(self.ask)


async def test_a_model_that_is_loaded_or_a_busy_server_is_waited_for_and_told_of_once() -> None:
    story = Story(LOADING, LOADING, BUSY, LOADING)
    assert await story.run() == "answered"
    assert story.told == [LOADING]
    assert story.now_s >= 3.5
    assert story.left_s == sorted(story.left_s, reverse=True)
    story.failures = [BUSY]
    await story.run()
    assert story.told == [LOADING, BUSY]  # an answer lay between


async def test_no_longer_than_the_time_there_is() -> None:
    story = Story(*[LOADING] * 100, timeout_s=10.0)
    with pytest.raises(BackendUnavailableError):
        await story.run()
    assert story.now_s <= 10.0


async def test_a_gateway_that_never_answered_is_not_waited_for() -> None:
    story = Story(GONE)
    with pytest.raises(ServerUnreachableError):
        await story.run()
    assert (story.now_s, story.told) == (0.0, [])


async def test_one_that_did_is_for_as_long_as_a_restart_takes_and_not_again_for_each_photo() -> None:
    story = Story(BUSY, *[GONE] * 100)
    with pytest.raises(ServerUnreachableError):
        await story.run()
    assert GONE_S / 2 < story.now_s <= GONE_S + 1
    ended_s = story.now_s
    with pytest.raises(ServerUnreachableError):
        await story.run()
    assert story.now_s - ended_s < 2.5
    story.failures = [GONE, LOADING]
    story.now_s = 0.0
    assert await story.run() == "answered"


async def test_what_is_the_photos_own_fault_is_not_tried_again() -> None:
    story = Story(BAD)
    with pytest.raises(ImageUnreadableError):
        await story.run()
    assert (story.now_s, story.told) == (0.0, [])
