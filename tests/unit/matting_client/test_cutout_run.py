# SPDX-License-Identifier: Apache-2.0
"""Work that is ended in the middle says truly what was done."""

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from matting_client import Answer, AsyncClient, Output, OutputSpec, Subject, Timings
from matting_client.program import cutout
from matting_client.program.cutout import CutoutPlan, CutoutRun, FileOutcome
from matting_client.program.paths.files import FileJob
from matting_client.program.retrier import Retrier

ANSWER = Answer((Output(b"result", "image/png", None, 1, 1),), "model", "1", Subject(True, None, 0.5), Timings(0, 0, 0))


class Server:
    """Answers at once."""

    async def remove_background(self, *_: Any, **__: Any) -> Answer:
        return ANSWER


class Disk:
    """Writes one result slowly, well or not."""

    def __init__(self, failure: OSError | None = None) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.failure = failure

    def write(self, *_: Any, **__: Any) -> None:
        self.begun.set()
        assert self.go_on.wait(30)
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("disk", "told"), [(Disk(), ["done"]), (Disk(OSError(errno.ENOSPC, "No space left on device")), [])]
)
async def test_a_result_that_is_being_written_is_written_to_its_end_and_nothing_begun_after_it(
    disk: Disk, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutout, "write_result", disk.write)
    photo = tmp_path / "a.png"
    photo.write_bytes(b"photo")
    outcomes: list[FileOutcome] = []
    jobs = [FileJob(photo, tmp_path / f"{number}.png") for number in range(3)]
    run = CutoutRun(
        cast("AsyncClient", Server()), jobs, CutoutPlan(OutputSpec()), Retrier(60, lambda _: None), outcomes.append
    )
    task = asyncio.create_task(run.run(concurrency=1))
    await asyncio.to_thread(disk.begun.wait, 30)
    task.cancel()
    asyncio.get_running_loop().call_soon(disk.go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [outcome.status for outcome in outcomes] == told
